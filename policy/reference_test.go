package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// The reference below decides as the rules are told, path by path and without any index. TestReference
// compares it with Decide on random rules and paths.

// refMatches tells whether a rule's path matches a path.
func refMatches(rule, path string) bool {
	glob := strings.HasSuffix(rule, "*")
	want := strings.Split(strings.TrimSuffix(rule, "*"), "/")
	if !slices.Contains(want, "+") {
		if glob {
			return strings.HasPrefix(path, strings.TrimSuffix(rule, "*"))
		}
		return rule == path
	}
	have := strings.Split(path, "/")
	if len(have) < len(want) || (!glob && len(have) > len(want)) {
		return false
	}
	for i, segment := range want {
		switch {
		case glob && i == len(want)-1:
			if !strings.HasPrefix(strings.Join(have[i:], "/"), segment) {
				return false
			}
		case segment != "+" && segment != have[i]:
			return false
		}
	}
	return true
}

// refLess tells whether rule a counts less than rule b where both match.
func refLess(a, b string) bool {
	first := func(p string) int {
		if strings.HasPrefix(p, "+/") || p == "+" {
			return 0
		}
		if i := strings.Index(p+"/", "/+/"); i >= 0 {
			return i + 1
		}
		if strings.HasSuffix(p, "*") {
			return len(p) - 1
		}
		return len(p)
	}
	plus := func(p string) (n int) {
		for _, s := range strings.Split(p, "/") {
			if s == "+" {
				n++
			}
		}
		return n
	}
	switch {
	case first(a) != first(b):
		return first(a) < first(b)
	case strings.HasSuffix(a, "*") != strings.HasSuffix(b, "*"):
		return strings.HasSuffix(a, "*")
	case plus(a) != plus(b):
		return plus(a) > plus(b)
	case len(a) != len(b):
		return len(a) < len(b)
	default:
		return a < b
	}
}

func refIsPattern(rule string) bool {
	return strings.HasSuffix(rule, "*") || slices.Contains(strings.Split(rule, "/"), "+")
}

// refBest returns the rule path that decides; exact asks for rules without wildcards only.
func refBest(rules map[string]Capability, path string, exact bool) (string, bool) {
	best, found := "", false
	for rule := range rules {
		if refIsPattern(rule) == exact || !refMatches(rule, path) {
			continue
		}
		if !found || refLess(best, rule) {
			best, found = rule, true
		}
	}
	return best, found
}

func refDecide(rules map[string]Capability, want Capability, path string) bool {
	grants := func(rule string) bool { return rules[rule]&Deny == 0 && rules[rule]&want != 0 }
	if rule, ok := refBest(rules, path, true); ok {
		return grants(rule)
	}
	if want == List && strings.HasSuffix(path, "/") {
		name := strings.TrimSuffix(path, "/")
		if rule, ok := refBest(rules, name, true); ok {
			return grants(rule)
		}
		if rule, ok := refBest(rules, path, false); ok && rules[rule]&Deny != 0 {
			return false
		}
		if rule, ok := refBest(rules, name, false); ok {
			return grants(rule)
		}
	}
	rule, ok := refBest(rules, path, false)
	return ok && grants(rule)
}

// randomPath makes a path of few letters, so that rules meet often.
func randomPath(r *rand.Rand, segments []string) string {
	parts := make([]string, 1+r.IntN(4))
	for i := range parts {
		parts[i] = segments[r.IntN(len(segments))]
	}
	return strings.Join(parts, "/")
}

func TestReference(t *testing.T) {
	const seed = 20260105
	r := rand.New(rand.NewPCG(seed, 1))
	ruleSegments := []string{"a", "b", "ab", "+", "+", "", "+a", "a*"}
	pathSegments := []string{"a", "b", "ab", "abc", "", "+a", "c"}
	caps := []Capability{Read, List, Read | List, Deny, 0, Update | List}
	answers := map[bool]int{}
	for range 4000 {
		rules := make(map[string]Capability)
		p := &Policy{Name: "p"}
		for range 1 + r.IntN(9) {
			path := strings.TrimPrefix(randomPath(r, ruleSegments), "/")
			if r.IntN(3) == 0 && !strings.HasSuffix(path, "+") {
				path += "*"
			}
			if strings.Contains(path, "+*") {
				continue
			}
			c := caps[r.IntN(len(caps))]
			rules[path] |= c
			p.Rules = append(p.Rules, Rule{Path: path, Capabilities: c})
		}
		acl := Compile(p)
		for range 25 {
			path := randomPath(r, pathSegments)
			want := []Capability{Read, List, Update}[r.IntN(3)]
			if want == List && path != "" && !strings.HasSuffix(path, "/") {
				path += "/"
			}
			expected := refDecide(rules, want, path)
			answers[expected]++
			d := acl.Decide(Request{Capability: want, Path: path})
			if d.Allowed != expected {
				t.Fatalf("%s %q with %v: allowed %v by %q, want %v", want, path, rules, d.Allowed, d.Rule, expected)
			}
			checkViews(t, acl, rules, d, want, path)
		}
	}
	if answers[true] < 1000 || answers[false] < 1000 {
		t.Errorf("answers %v: the generator makes too few of a kind", answers)
	}
}

// checkViews compares the other answers of an ACL with a decision.
func checkViews(t *testing.T, acl *ACL, rules map[string]Capability, d Decision, want Capability, path string) {
	t.Helper()
	folder := strings.HasSuffix(path, "/")
	shown := slices.Contains(acl.Capabilities(path, Spellings{}, time.Time{}), want.String())
	if strings.HasPrefix(path, "/") || folder != (want == List) {
		shown = d.Allowed // Capabilities drops the leading slash and takes "d/" for a folder
	}
	if shown != d.Allowed {
		t.Fatalf("capabilities of %q with %v: %v, but allowed %v",
			path, rules, acl.Capabilities(path, Spellings{}, time.Time{}), d.Allowed)
	}
	mount, _, ok := strings.Cut(path, "/")
	if d.Allowed && ok && mount != "" && !acl.Visible(mount+"/", time.Time{}) {
		t.Fatalf("%s %q is allowed with %v, but %s/ is not visible", want, path, rules, mount)
	}
}

// TestManyPolicies splits rules over policies in random order: the answer must not depend on it.
func TestManyPolicies(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	rules := []Rule{
		{Path: "a", Capabilities: Read}, {Path: "a", Capabilities: List}, {Path: "b/*", Capabilities: Read},
		{Path: "b/*", Capabilities: Deny}, {Path: "c/+", Capabilities: Read, Allowed: map[string][]any{"x": {"1"}}},
		{Path: "c/+", Capabilities: Update, Allowed: map[string][]any{"x": {"2"}, "y": {}}},
		{Path: "c/+", Capabilities: Patch, Required: []string{"x"}, MinWrappingTTL: time.Minute},
	}
	var first string
	for range 50 {
		r.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
		policies := make([]*Policy, 3)
		for i := range policies {
			policies[i] = &Policy{Name: fmt.Sprint(i)}
		}
		for _, rule := range rules {
			p := policies[r.IntN(len(policies))]
			p.Rules = append(p.Rules, rule)
		}
		acl := Compile(policies...)
		var got strings.Builder
		for _, path := range []string{"a", "b/x", "c/x"} {
			for _, wrap := range []time.Duration{0, time.Hour} {
				for _, x := range []string{"1", "2", "3"} {
					d := acl.Decide(Request{Capability: Update, Path: path, WrapTTL: wrap, Params: map[string]any{"x": x}})
					fmt.Fprint(&got, path, " ", wrap, " ", x, " ", d.Allowed, "\n")
				}
			}
			fmt.Fprint(&got, acl.Capabilities(path, Spellings{}, time.Time{}), "\n")
		}
		if first == "" {
			first = got.String()
		}
		if got.String() != first {
			t.Fatalf("the order of rules matters:\n%s\nand\n%s", first, got.String())
		}
	}
}
