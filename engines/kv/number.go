package kv

import (
	"math"
	"strconv"
	"strings"
)

// exactDigits is how many decimal digits every whole number may have to be the only one with its 64-bit float.
const exactDigits = 15

// appendNumber appends a number of JSON. Vault's version 2 reads numbers as 64-bit floats, so 1.0 is answered as 1
// and 1E5 as 100000: a number that a float holds has the same form here. One that a float would change, like
// 123456789012345678, stays as it was sent.
func appendNumber(b []byte, text string) []byte {
	if isShortInteger(text) {
		return append(b, text...)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return append(b, text...)
	}
	start := len(b)
	b = appendFloat(b, f)
	if !sameNumber(text, string(b[start:])) {
		return append(b[:start], text...)
	}
	return b
}

// isShortInteger reports whether a number is whole, is written without a fraction or an exponent, and has digits that
// no float changes: most numbers are.
func isShortInteger(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	if len(digits) > exactDigits {
		return false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return true
}

// appendFloat writes a finite number as encoding/json does, which is ECMAScript's form.
func appendFloat(b []byte, f float64) []byte {
	if abs := math.Abs(f); abs == 0 || (abs >= 1e-6 && abs < 1e21) {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	if n := len(b); n >= 4 && b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' {
		b[n-2] = b[n-1] // e-09 to e-9
		b = b[:n-1]
	}
	return b
}

// sameNumber reports whether two numbers of JSON are equal, to the last digit. It reports false for exponents that do
// not fit an int.
func sameNumber(x, y string) bool {
	a, ok := decimalOf(x)
	if !ok {
		return false
	}
	b, ok := decimalOf(y)
	return ok && a == b
}

// decimal is a number as 0.digits times ten to the power of exponent. Its digits neither begin nor end with a zero,
// so equal numbers are equal decimals; zero has no digits and the exponent 0.
type decimal struct {
	negative bool
	digits   string
	exponent int
}

func decimalOf(text string) (decimal, bool) {
	var d decimal
	mantissa, negative := strings.CutPrefix(text, "-")
	d.negative = negative
	exponent := 0
	if e := strings.IndexAny(mantissa, "eE"); e >= 0 {
		var err error
		if exponent, err = strconv.Atoi(mantissa[e+1:]); err != nil || exponent > math.MaxInt32 || exponent < -math.MaxInt32 {
			return decimal{}, false
		}
		mantissa = mantissa[:e]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	significant := strings.TrimLeft(whole+fraction, "0")
	if significant == "" {
		return d, true
	}
	d.digits = strings.TrimRight(significant, "0")
	d.exponent = exponent + len(whole) - (len(whole) + len(fraction) - len(significant))
	return d, true
}
