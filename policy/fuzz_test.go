package policy

import (
	"strings"
	"testing"
	"time"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", defaultText, responseWrappingText, `path "x" { capabilities = ["read"] }`,
		`{"path":{"x/+/y*":{"capabilities":["read"],"allowed_parameters":{"a":[1,true,"x*",["y"],{"k":"v"}]}}}}`,
		`path "a/{{identity.entity.id}}/*" { policy = "write" min_wrapping_ttl = "1h" max_wrapping_ttl = 7200 }`,
		`path "x" { hours = ["Mon-Fri 09:00-17:00 Europe/Berlin"] expiration = "2030-01-01T00:00:00Z" }`,
		`path "x" { control_group = { ttl = "1h" factor "a" { identity { group_names = ["g"] approvals = 1 } } } }`,
		"path \"x\" { comment = <<EOT\n}\nEOT\n }", `a = [[[[[[`, `{"a":{"b":{"c":`, "/* ",
		"path \"${a}\" {}", "{\"path\":null}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse("p", text)
		if err != nil {
			return
		}
		acl := Compile(p)
		now := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
		for _, rule := range p.Rules {
			if strings.HasPrefix(rule.Path, "/") {
				continue // the second of two slashes: matches nothing canonical
			}
			d := acl.Decide(Request{Capability: Read, Path: strings.TrimSuffix(rule.Path, "*"), Now: now})
			if d.Root || (d.Allowed && d.Rule == "") {
				t.Errorf("decision %+v", d)
			}
		}
		acl.Summary(now)
	})
}

func FuzzDecide(f *testing.F) {
	f.Add("a/+/b*", "a/*", "a/x/bc", uint16(Read))
	f.Add("*", "+/+", "/", uint16(List))
	f.Add("", "a//+", "a//", uint16(Deny))
	f.Add("+/a/+", "a*", "\x00", uint16(Update))
	f.Fuzz(func(t *testing.T, rule1, rule2, path string, want uint16) {
		if len(rule1)+len(rule2)+len(path) > 4096 {
			return
		}
		rules := map[string]Capability{}
		p := &Policy{Name: "p"}
		for rule, caps := range map[string]Capability{rule1: Read | List, rule2: Deny} {
			if strings.HasPrefix(rule, "/") || strings.Contains(rule, "+*") {
				return
			}
			rules[rule] |= caps
			p.Rules = append(p.Rules, Rule{Path: rule, Capabilities: caps})
		}
		capability := []Capability{Read, List, Update, Deny, 0}[want%5]
		if capability == List && path != "" && !strings.HasSuffix(path, "/") {
			path += "/"
		}
		d := Compile(p).Decide(Request{Capability: capability, Path: path})
		if expected := refDecide(rules, capability, path) && capability != Deny; d.Allowed != expected {
			t.Errorf("%s %q with %q: allowed %v, want %v", capability, path, rules, d.Allowed, expected)
		}
	})
}

func FuzzExpand(f *testing.F) {
	f.Add("secret/{{x}}/*", "bob")
	f.Add("{{x}}{{x}}*", "*")
	f.Add("a/{{x}}", "../b")
	f.Fuzz(func(t *testing.T, path, value string) {
		templated, err := hasTemplate(path)
		if err != nil || !templated {
			return
		}
		p := &Policy{Name: "p", Templated: true, Rules: []Rule{{Path: path, Capabilities: Read, Templated: true}}}
		expanded, err := p.Expand(func(string) (string, error) { return value, nil })
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range expanded.Rules {
			if strings.ContainsAny(value, "*+/") || value == "" || strings.Count(rule.Path, "/") != strings.Count(
				withoutSelectors(path), "/") {
				t.Errorf("%q with %q grants on %q", path, value, rule.Path)
			}
		}
	})
}

// withoutSelectors takes the selectors out of a path, which may hold slashes themselves.
func withoutSelectors(path string) string {
	before, rest, found := strings.Cut(path, "{{")
	if !found {
		return path
	}
	_, after, _ := strings.Cut(rest, "}}")
	return before + withoutSelectors(after)
}

func FuzzCanonicalize(f *testing.F) {
	for _, seed := range []string{"foo", " Foo ", "a/b", "..", "İ", "ſ", "a\x00", "K"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		once, err := Canonicalize(name)
		if err != nil {
			return
		}
		if twice, err := Canonicalize(once); err != nil || twice != once {
			t.Errorf("Canonicalize(%q) = %q, and of that %q, %v", name, once, twice, err)
		}
	})
}
