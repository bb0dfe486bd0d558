package http

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errVariable is returned for ${…} that cannot be computed, because an earlier step did not capture it for instance.
var errVariable = errors.New("no such variable")

// minNamed is the length from which a variable's value is replaced by its name in answers: shorter ones may occur by
// chance.
const minNamed = 8

// variables are the captured and built-in values of one run of a script.
type variables struct {
	values map[string]string
	order  []string // Names, longest value first.
}

func newVariables() *variables { return &variables{values: map[string]string{}} }

func (v *variables) set(name, value string) {
	v.values[name] = value
	v.order = v.order[:0]
	for name := range v.values {
		v.order = append(v.order, name)
	}
	slices.SortFunc(v.order, func(a, b string) int {
		if d := len(v.values[b]) - len(v.values[a]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
}

// nameValues puts ${name} wherever the value of a variable occurs.
func (v *variables) nameValues(text string) string {
	for _, name := range v.order {
		if value := v.values[name]; len(value) >= minNamed {
			text = strings.ReplaceAll(text, value, "${"+name+"}")
		}
	}
	return text
}

var variablePattern = regexp.MustCompile(`\$\{([^}]*)\}`)

// expand fills in ${…}.
func (v *variables) expand(text string) (string, error) {
	var failed error
	out := variablePattern.ReplaceAllStringFunc(text, func(match string) string {
		value, err := v.compute(match[2 : len(match)-1])
		if err != nil {
			failed = fmt.Errorf("%s: %w", match, err)
		}
		return value
	})
	return out, failed
}

func (v *variables) compute(expression string) (string, error) {
	function, args, isCall := strings.Cut(expression, ":")
	if !isCall {
		value, ok := v.values[expression]
		if !ok {
			return "", errVariable
		}
		return value, nil
	}
	switch function {
	case "repeat":
		at := strings.LastIndex(args, ":")
		count, err := strconv.Atoi(args[at+1:])
		if at < 0 || err != nil {
			return "", errVariable
		}
		return strings.Repeat(args[:at], count), nil
	case "base64":
		return base64.StdEncoding.EncodeToString([]byte(args)), nil
	case "hex":
		raw, err := hex.DecodeString(args)
		return string(raw), err
	case "now":
		seconds, err := strconv.Atoi(args)
		return strconv.FormatInt(time.Now().Unix()+int64(seconds), 10), err
	case "pubkey":
		text, err := publicPEM(args)
		if err == nil {
			v.set(expression, strings.ReplaceAll(text, `\n`, "\n")) // So that answers show the name.
		}
		return text, err
	case "account":
		return serviceAccount(args)
	case "query":
		name, parameter, _ := strings.Cut(args, ":")
		address, err := url.Parse(v.values[name])
		if err != nil {
			return "", err
		}
		return address.Query().Get(parameter), nil
	case "totp":
		name, offset, _ := strings.Cut(args, ":")
		return totpCode(v.values[name], offset, time.Now())
	case "json":
		value, ok := v.values[args]
		if !ok {
			return "", errVariable
		}
		raw, err := json.Marshal(value)
		return string(raw), err
	case "unmask":
		encoded, otp, _ := strings.Cut(args, ":")
		return unmask(v.values[encoded], v.values[otp])
	case "patch":
		name, tail, _ := strings.Cut(args, ":")
		value := v.values[name]
		if len(value) < len(tail) {
			return "", errVariable
		}
		return value[:len(value)-len(tail)] + tail, nil
	case "spoil":
		value, ok := v.values[args]
		if !ok || len(value) < spoilt {
			return "", errVariable
		}
		return strings.Map(otherDigit, value[:spoilt]) + value[spoilt:], nil
	}
	return "", errVariable
}

// spoilt is how many characters at the beginning of a key become others. Its end stays: in a share of Shamir's it
// tells the shares apart, and two that have it in common are refused for that.
const spoilt = 8

func otherDigit(digit rune) rune {
	if digit == '0' {
		return '1'
	}
	return '0'
}

// unmask decodes the token that generate-root hides with a one-time pad.
func unmask(encoded, otp string) (string, error) {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil || len(raw) != len(otp) || otp == "" {
		return "", errVariable
	}
	for i := range raw {
		raw[i] ^= otp[i]
	}
	return string(raw), nil
}
