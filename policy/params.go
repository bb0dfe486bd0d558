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

// Schema tells how the engine that serves a request reads its parameters. Without it values are compared as they
// were sent, which is right for an engine that keeps them so.
type Schema interface {
	// Param returns the parameter of that name. It reports false for a name that the engine does not read, and
	// for a parameter that it takes as it was sent.
	Param(name string) (Param, bool)
}

// Param is one parameter that an engine reads.
type Param struct {
	// Others are the other names of the parameter. A rule on one of its names holds for all.
	Others []string
	// Read returns a value as the engine will read it. It reports false for a value that the engine will refuse.
	Read func(value any) (Value, bool)
	// Allow is Read for rules that allow values. It tells values apart that the engine only reads alike under some
	// configuration. Nil is Read itself.
	Allow func(value any) (Value, bool)
}

// Value is a parameter's value as an engine reads it: equal values of different spelling have equal Values.
type Value struct {
	// Texts is the canonical text of the value, or of each element of a list.
	Texts []string
	// Globs is set when the value is text, to which a "*" in a rule applies.
	Globs bool
}

// checkParams applies the parameter rules of all active grants to the request's parameters. It returns
// why they are refused, or "".
func checkParams(active []*grant, params map[string]any, schema Schema) string {
	restricted := false
	for _, g := range active {
		for _, key := range g.required {
			if _, ok := params[FoldASCII(key)]; !ok {
				return "required parameter " + strconv.Quote(key) + " is missing"
			}
		}
		if _, all := g.denied[anyKey]; all && len(params) > 0 {
			return "every parameter is denied"
		}
		restricted = restricted || len(g.allowed) > 0
	}
	for key, value := range params {
		s := sent{key: FoldASCII(key), value: value}
		if schema != nil {
			s.param, s.typed = schema.Param(key)
		}
		if s.typed {
			s.read, s.typed = s.param.Read(value)
			s.unreadable = !s.typed
		}
		if s.denied(active) {
			return "parameter " + strconv.Quote(s.key) + " is denied"
		}
		if restricted && !s.allowed(active) {
			return "parameter " + strconv.Quote(s.key) + " is not allowed"
		}
	}
	return ""
}

// sent is one parameter of a request.
type sent struct {
	key   string
	value any
	// typed is set when the engine's reading of the value is known: param and read.
	typed bool
	param Param
	read  Value
	// unreadable is set when the engine reads the parameter, but not this value as a whole.
	unreadable bool
}

func (s *sent) denied(active []*grant) bool {
	for _, g := range active {
		other := func(name string) bool { return s.deniedAs(g, name) }
		if s.deniedAs(g, s.key) || slices.ContainsFunc(s.param.Others, other) {
			return true
		}
	}
	return false
}

func (s *sent) deniedAs(g *grant, key string) bool {
	values, ok := g.denied[key]
	switch {
	case !ok:
		return false
	case len(values) == 0 || s.unreadable || anyDenied(values, s.value):
		return true // what cannot be read may hold what is denied
	default:
		return s.typed && slices.ContainsFunc(values, s.matchesAny)
	}
}

// matchesAny reports whether a rule's value is the value that was sent, or one of its elements.
func (s *sent) matchesAny(item any) bool {
	want, ok := s.param.Read(asSent(item))
	if !ok {
		return false
	}
	if text, isText := item.(string); isText && s.read.Globs &&
		slices.ContainsFunc(s.read.Texts, func(read string) bool { return globMatches(text, read) }) {
		return true
	}
	return slices.Equal(want.Texts, s.read.Texts) ||
		len(want.Texts) == 1 && slices.ContainsFunc(s.read.Texts, want.covers)
}

// covers reports whether the value of a rule, which has one text, is or matches a text that was sent.
func (v *Value) covers(text string) bool {
	return v.Texts[0] == text || v.Globs && globMatches(v.Texts[0], text)
}

// asSent gives a number of a rule the type of a number in a request.
func asSent(item any) any {
	switch item := item.(type) {
	case int:
		return json.Number(strconv.Itoa(item))
	case float64:
		return json.Number(strconv.FormatFloat(item, 'g', -1, 64))
	default:
		return item
	}
}

// allowed looks at the rules on each name of the parameter: rules on another name than the sent one only
// restrict.
func (s *sent) allowed(active []*grant) bool {
	for _, other := range s.param.Others {
		if named(active, other) && !s.allowedAs(active, other) {
			return false
		}
	}
	return s.allowedAs(active, s.key)
}

func named(active []*grant, key string) bool {
	return slices.ContainsFunc(active, func(g *grant) bool { _, ok := g.allowed[key]; return ok })
}

// allowedAs looks for the key in every grant: a value must be allowed by one of them. The key "*" only
// counts when no grant names the key itself.
func (s *sent) allowedAs(active []*grant, key string) bool {
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
	if s.typed {
		return s.allAllowed(active, key)
	}
	return allAllowed(active, key, s.value)
}

// allAllowed reports whether the value as the engine reads it, or each element of a list, is among the values
// that the grants allow for key.
func (s *sent) allAllowed(active []*grant, key string) bool {
	read, readAs := s.read, s.param.Read
	if s.param.Allow != nil {
		var ok bool
		readAs = s.param.Allow
		if read, ok = readAs(s.value); !ok {
			return false
		}
	}
	open := slices.Clone(read.Texts)
	for _, g := range active {
		for _, item := range g.allowed[key] {
			want, ok := readAs(asSent(item))
			if !ok {
				continue
			}
			if slices.Equal(want.Texts, read.Texts) {
				return true
			}
			if len(want.Texts) == 1 {
				open = slices.DeleteFunc(open, want.covers)
			}
		}
	}
	return len(open) == 0 && (len(read.Texts) > 0 || isEmpty(s.value))
}

// isEmpty reports whether a value says plainly that it has no elements. Vault allows such a value; what only becomes
// empty by being read, it does not.
func isEmpty(value any) bool {
	elements, ok := elementsOf(value)
	return ok && len(elements) == 0
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
