package policy

import (
	"errors"
	"testing"
	"time"
)

func TestExpand(t *testing.T) {
	const text = `
path "secret/{{identity.entity.name}}/*" { capabilities = ["read"] }
path "deny/{{ identity.entity.name }}/x" { capabilities = ["deny"] }
path "deny/*" { capabilities = ["read"] }
path "two/{{identity.entity.name}}/{{identity.entity.name}}" { capabilities = ["read"] }
path "fixed" { capabilities = ["read"] }`
	p, err := Parse("p", text)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		value string
		err   error
		// allowed and refused are paths to read.
		allowed, refused []string
	}{
		{"plain value", "bob", nil, []string{"secret/bob/x", "two/bob/bob", "deny/bob/y", "fixed"},
			[]string{"secret/eve/x", "deny/bob/x", "two/bob/eve"}},
		{"no value", "", ErrNoValue, []string{"fixed", "deny/bob/x"}, []string{"secret/bob/x", "secret//x"}},
		{"empty", "", nil, []string{"fixed"}, []string{"secret/bob/x", "secret//x", "deny/bob/x", "deny/y"}},
		{"star", "*", nil, []string{"fixed"}, []string{"secret/bob/x", "secret/*/x", "deny/bob/x", "deny/y"}},
		{"plus", "+", nil, []string{"fixed"}, []string{"secret/bob/x", "secret/+/x", "deny/bob/x"}},
		{"plus inside", "a+b", nil, nil, []string{"secret/a+b/x"}},
		{"slash", "a/b", nil, nil, []string{"secret/a/b/x", "deny/y"}},
		{"dots", "..", nil, nil, []string{"secret/../x", "deny/y"}},
		{"control character", "a\nb", nil, nil, []string{"secret/a\nb/x"}},
		{"selector", "{{identity.entity.id}}", nil, nil, []string{"secret/bob/x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			expanded, err := p.Expand(func(selector string) (string, error) {
				if selector != "identity.entity.name" {
					t.Errorf("selector %q", selector)
				}
				return tt.value, tt.err
			})
			if err != nil {
				t.Fatal(err)
			}
			acl := Compile(expanded)
			for _, path := range tt.allowed {
				if d := acl.Decide(Request{Capability: Read, Path: path}); !d.Allowed {
					t.Errorf("read %s: refused: %s", path, d.Reason)
				}
			}
			for _, path := range tt.refused {
				if d := acl.Decide(Request{Capability: Read, Path: path}); d.Allowed {
					t.Errorf("read %s: allowed by %s", path, d.Rule)
				}
			}
		})
	}
}

func TestExpandFails(t *testing.T) {
	p, err := Parse("p", `path "a/{{x}}" { capabilities = ["read"] }`)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("storage is gone")
	if _, err := p.Expand(func(string) (string, error) { return "", broken }); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func TestUnexpandedRulesGrantNothing(t *testing.T) {
	p, err := Parse("p", `
path "a/{{x}}" { capabilities = ["read"] }
path "b/*" { capabilities = ["read"] }
path "b/c/{{x}}/d" { capabilities = ["deny"] }`)
	if err != nil {
		t.Fatal(err)
	}
	acl := Compile(p)
	for path, want := range map[string]bool{"a/{{x}}": false, "a/x": false, "b/x": true, "b/c/y": false} {
		if got := acl.Decide(Request{Capability: Read, Path: path, Now: time.Now()}).Allowed; got != want {
			t.Errorf("read %s: allowed %v, want %v", path, got, want)
		}
	}
}

func TestTimeValue(t *testing.T) {
	now := time.Unix(1_700_000_000, 999)
	for selector, want := range map[string]string{
		"time.now": "1700000000", "time.now.plus.1h": "1700003600", "time.now.minus.60": "1699999940",
		"time.now.plus.0": "1700000000", "time.now.plus.1d": "1700086400",
	} {
		if got, err := TimeValue(selector, now); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", selector, got, err, want)
		}
	}
	for _, selector := range []string{
		"", "time", "time.", "time.then", "time.nowhere", "time.now.", "time.now.plus", "time.now.plus.x", "time.now.times.2",
		"time.now.plus.-5", "time.now.minus.-5", "identity.entity.id",
	} {
		if got, err := TimeValue(selector, now); !errors.Is(err, ErrNoValue) {
			t.Errorf("%s: %q, %v", selector, got, err)
		}
	}
}
