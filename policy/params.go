package policy

import (
	"encoding/json"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// anyKey is the parameter key that stands for every other key.
const anyKey = "*"

// maxNumberText bounds the digits and the exponent of numbers that are compared exactly.
const maxNumberText = 64

// checkParams applies the parameter rules of all active grants to the request's parameters. It returns
// why they are refused, or "".
func checkParams(active []*grant, params map[string]any) string {
	restricted := false
	for _, g := range active {
		for _, key := range g.required {
			if _, ok := params[strings.ToLower(key)]; !ok {
				return "required parameter " + strconv.Quote(key) + " is missing"
			}
		}
		if _, all := g.denied[anyKey]; all && len(params) > 0 {
			return "every parameter is denied"
		}
		restricted = restricted || len(g.allowed) > 0
	}
	for key, value := range params {
		key = strings.ToLower(key)
		if deniedParam(active, key, value) {
			return "parameter " + strconv.Quote(key) + " is denied"
		}
		if restricted && !allowedParam(active, key, value) {
			return "parameter " + strconv.Quote(key) + " is not allowed"
		}
	}
	return ""
}

func deniedParam(active []*grant, key string, value any) bool {
	for _, g := range active {
		values, ok := g.denied[key]
		if ok && (len(values) == 0 || anyDenied(values, value)) {
			return true
		}
	}
	return false
}

// allowedParam looks for the key in every grant: a value must be allowed by one of them. The key "*" only
// counts when no grant names the key itself.
func allowedParam(active []*grant, key string, value any) bool {
	named, others := false, false
	for _, g := range active {
		if _, ok := g.allowed[anyKey]; ok {
			others = true
		}
		values, ok := g.allowed[key]
		if !ok {
			continue
		}
		if len(values) == 0 {
			return true
		}
		named = true
	}
	if !named {
		return others
	}
	return allAllowed(active, key, value)
}

// allAllowed reports whether the value, or each element of a list, is among the values that the grants
// allow for key. A string counts as a comma-separated list, because that is how parameters read it.
func allAllowed(active []*grant, key string, value any) bool {
	if amongAllowed(active, key, value) {
		return true
	}
	elements, ok := elementsOf(value)
	if !ok {
		return false
	}
	for _, element := range elements {
		if !amongAllowed(active, key, element) {
			return false
		}
	}
	return true
}

func amongAllowed(active []*grant, key string, value any) bool {
	for _, g := range active {
		for _, item := range g.allowed[key] {
			if matchesValue(item, value) {
				return true
			}
		}
	}
	return false
}

func anyDenied(values []any, value any) bool {
	denied := func(v any) bool {
		return slices.ContainsFunc(values, func(item any) bool { return matchesValue(item, v) || sameNumber(item, v) })
	}
	if denied(value) {
		return true
	}
	elements, _ := elementsOf(value)
	return slices.ContainsFunc(elements, denied)
}

// elementsOf returns the elements of a list or of a comma-separated string.
func elementsOf(value any) ([]any, bool) {
	switch v := value.(type) {
	case []any:
		return v, true
	case []string:
		elements := make([]any, len(v))
		for i := range v {
			elements[i] = v[i]
		}
		return elements, true
	case string:
		if v == "" {
			return nil, true
		}
		parts := strings.Split(v, ",")
		elements := make([]any, len(parts))
		for i, part := range parts {
			elements[i] = strings.TrimSpace(part)
		}
		return elements, true
	default:
		return nil, false
	}
}

// matchesValue compares a policy's value with a request's. Numbers never match, as in Vault: a number of
// the policy is an int or a float64, one of a request a json.Number.
func matchesValue(item, value any) bool {
	pattern, isText := item.(string)
	text, ok := value.(string)
	if isText && ok {
		return globMatches(pattern, text)
	}
	return reflect.DeepEqual(item, value)
}

// globMatches matches a pattern with a "*" at its beginning, its end or both. The pattern "*" is only
// equal to itself, as in Vault.
func globMatches(pattern, text string) bool {
	if len(pattern) < 2 {
		return pattern == text
	}
	inner, leading := strings.CutPrefix(pattern, "*")
	inner, trailing := strings.CutSuffix(inner, "*")
	switch {
	case leading && trailing:
		return strings.Contains(text, inner)
	case leading:
		return strings.HasSuffix(text, inner)
	case trailing:
		return strings.HasPrefix(text, inner)
	default:
		return pattern == text
	}
}

// sameNumber compares numbers by value. Only denials ask: in Vault a denied number denies nothing, which
// is a hole not worth having.
func sameNumber(item, value any) bool {
	number, ok := value.(json.Number)
	if !ok || len(number) > maxNumberText {
		return false
	}
	var want *big.Float
	switch item := item.(type) {
	case int:
		want = new(big.Float).SetInt64(int64(item))
	case float64:
		want = big.NewFloat(item)
	default:
		return false
	}
	got, ok := new(big.Float).SetPrec(want.Prec()).SetString(number.String())
	return ok && got.Cmp(want) == 0
}

// mergeKey adds the values of a key: no values at all stand for any value, and win.
func mergeKey(params map[string][]any, key string, values []any) {
	known, ok := params[key]
	switch {
	case !ok:
		params[key] = values
	case len(known) == 0 || len(values) == 0:
		params[key] = []any{}
	default:
		params[key] = append(slices.Clip(known), values...)
	}
}
