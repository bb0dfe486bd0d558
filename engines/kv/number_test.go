package kv

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

func TestNumbersKeepTheirValue(t *testing.T) {
	long := strings.Repeat("1", 400)
	for sent, want := range map[string]string{
		// What a float holds has the form in which Vault answers it.
		"0": "0", "-0": "-0", "-0.0": "-0", "0e0": "0", "0E+99": "0", "7": "7", "-12": "-12", "1.0": "1", "1.50": "1.5", "1e0": "1",
		"1E5": "100000", "1e21": "1e+21", "1e+21": "1e+21", "100000000000000000000": "100000000000000000000", "0.1": "0.1",
		"0.000001": "0.000001", "0.0000001": "1e-7", "12e-8": "1.2e-7", "1.7976931348623157e308": "1.7976931348623157e+308",
		"5e-324": "5e-324", "9007199254740992": "9007199254740992", "999999999999999": "999999999999999",
		// What it would change stays as it was sent.
		"9007199254740993": "9007199254740993", "-123456789012345678": "-123456789012345678",
		"18446744073709551615": "18446744073709551615", "123456789012345678901234567890": "123456789012345678901234567890",
		"0.10000000000000000555": "0.10000000000000000555", "3.14159265358979323846": "3.14159265358979323846",
		"1e400": "1e400", "-1E400": "-1E400", "1e-400": "1e-400", long: long, "4.9406564584124654e-324": "4.9406564584124654e-324",
		"1e99999999999999999999": "1e99999999999999999999",
	} {
		if got := string(appendNumber(nil, sent)); got != want {
			t.Errorf("%s became %s, want %s", sent, got, want)
		}
	}
}

// FuzzNumber compares with rational numbers: what is written is equal to what was sent.
func FuzzNumber(f *testing.F) {
	for _, seed := range []string{"0", "-0.0", "1.0", "1e5", "1E-7", "9007199254740993", "0.10000000000000000555", "1e400", "12345678901234567890.5e-3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		if !json.Valid([]byte(sent)) || strings.TrimLeft(sent, "-0123456789.eE+") != "" || len(sent) > 40 {
			return
		}
		got := string(appendNumber(nil, sent))
		if got == sent {
			return
		}
		want, ok := new(big.Rat).SetString(sent)
		have, alike := new(big.Rat).SetString(got)
		if !json.Valid([]byte(got)) || !ok || !alike || want.Cmp(have) != 0 {
			t.Errorf("%s became %s", sent, got)
		}
	})
}
