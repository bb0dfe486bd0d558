package policy

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
)

// ErrNoValue is returned by a Lookup for a selector that has no value for the caller, or is unknown.
var ErrNoValue = errors.New("no value")

// ErrUnknown is returned by a Lookup for a selector whose value nobody can tell at present.
var ErrUnknown = errors.New("unknown value")

// Lookup returns the value of a selector such as "identity.entity.id" for one caller. It returns
// ErrNoValue when there is none, or ErrUnknown; any other error ends Expand.
type Lookup func(selector string) (string, error)

var errUnbalanced = errors.New("unbalanced templating characters")

// Expand returns the policy with every {{selector}} in its paths replaced by the caller's value.
//
// A rule whose selector has no value is left out. A value that nobody can tell, or that would change what the path
// matches (one with "*", "+", "/", a control character, or nothing or dots alone) never grants: the rule is left out,
// or, if it denies, it denies everything below the fixed part in front of the selector.
func (p *Policy) Expand(lookup Lookup) (*Policy, error) {
	if !p.Templated {
		return p, nil
	}
	expanded := &Policy{Name: p.Name, Text: p.Text, Rules: make([]Rule, 0, len(p.Rules))}
	for _, rule := range p.Rules {
		if !rule.Templated {
			expanded.Rules = append(expanded.Rules, rule)
			continue
		}
		path, err := expandPath(rule.Path, lookup)
		uncertain := errors.Is(err, errUnsafeValue) || errors.Is(err, ErrUnknown)
		switch {
		case err == nil:
			rule.Path = path
		case uncertain && rule.Capabilities.Has(Deny):
			rule.Path = fixedPart(rule.Path) + "*"
		case uncertain, errors.Is(err, ErrNoValue):
			continue
		default:
			return nil, err
		}
		rule.Templated = false
		expanded.Rules = append(expanded.Rules, rule)
	}
	return expanded, nil
}

// errUnsafeValue is returned for a value that would change what a path matches.
var errUnsafeValue = errors.New("unsafe value")

func expandPath(path string, lookup Lookup) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(path, "{{")
		b.WriteString(before)
		if !found {
			break
		}
		selector, after, _ := strings.Cut(rest, "}}")
		value, err := lookup(strings.TrimSpace(selector))
		if err != nil {
			return "", err
		}
		if !safeValue(value) {
			return "", errUnsafeValue
		}
		b.WriteString(value)
		path = after
	}
	return b.String(), nil
}

func safeValue(value string) bool {
	return strings.Trim(value, ".") != "" && !strings.ContainsAny(value, "*+/") &&
		!strings.ContainsFunc(value, isUnprintable)
}

// fixedPart is the path in front of its first selector.
func fixedPart(path string) string {
	before, _, _ := strings.Cut(path, "{{")
	return before
}

// hasTemplate reports whether the path holds a selector, and errUnbalanced for braces that do not match.
func hasTemplate(path string) (bool, error) {
	parts := strings.Split(path, "{{")
	if strings.Contains(parts[0], "}}") {
		return false, errUnbalanced
	}
	if slices.ContainsFunc(parts[1:], func(part string) bool { return strings.Count(part, "}}") != 1 }) {
		return false, errUnbalanced
	}
	return len(parts) > 1, nil
}

// TimeValue is the value of the selectors that name a moment: "time.now", "time.now.plus.<duration>" and
// "time.now.minus.<duration>" are seconds since 1970. It returns ErrNoValue for anything else.
func TimeValue(selector string, now time.Time) (string, error) {
	rest, ok := strings.CutPrefix(selector, "time.now")
	if !ok {
		return "", ErrNoValue
	}
	if rest != "" {
		text, later := strings.CutPrefix(rest, ".plus.")
		if !later {
			if text, ok = strings.CutPrefix(rest, ".minus."); !ok {
				return "", ErrNoValue
			}
		}
		d, err := parseutil.ParseDurationSecond(text)
		if err != nil || d < 0 {
			return "", ErrNoValue
		}
		if !later {
			d = -d
		}
		now = now.Add(d)
	}
	return strconv.FormatInt(now.Unix(), 10), nil
}
