package policy

import (
	"slices"
	"testing"
	"time"
)

// TestRestricted asks what is permitted whichever of the other policies is added.
func TestRestricted(t *testing.T) {
	const own = `
		path "secret/*" { capabilities = ["create", "read", "update", "sudo"] }
		path "secret/own" { capabilities = ["read"] }`
	others := []string{
		`path "secret/closed" { capabilities = ["deny"] }`,
		`path "secret/narrow/*" { capabilities = ["read"] }`,
		`path "secret/*" { capabilities = ["delete"] denied_parameters = { "bad" = [] } }`,
		`path "*" { capabilities = ["deny"] }`,
		`path "other" { capabilities = ["read"] }`,
		`path "team/{{identity.groups.names.g.id}}/x" { capabilities = ["deny"] }`,
		`path "+/own" { capabilities = ["deny"] }`,
	}
	acls := make([]*ACL, len(others))
	for i, text := range others {
		p, err := Parse("other", text)
		if err != nil {
			t.Fatal(err)
		}
		if p, err = p.Expand(func(string) (string, error) { return "", ErrUnknown }); err != nil {
			t.Fatal(err)
		}
		acls[i] = Compile(p)
	}
	p, err := Parse("own", own+`
		path "team/*" { capabilities = ["read"] }`)
	if err != nil {
		t.Fatal(err)
	}
	plain := Compile(p)
	restricted := plain.Restricted(acls)
	for _, test := range []struct {
		path          string
		cap           Capability
		params        map[string]any
		plain, wanted bool
	}{
		{"secret/x", Read, nil, true, true},
		{"secret/closed", Read, nil, true, false},
		{"secret/narrow/x", Read, nil, true, true},
		{"secret/narrow/x", Update, nil, true, false},
		{"secret/x", Update, map[string]any{"good": "1"}, true, true},
		{"secret/x", Update, map[string]any{"bad": "1"}, true, false},
		{"secret/x", Delete, nil, false, false}, // nothing is gained
		{"other", Read, nil, false, false},
		{"secret/own", Read, nil, true, true}, // a wider deny does not reach it
		{"team/a/x", Read, nil, true, false},
		{"nowhere", Read, nil, false, false},
	} {
		r := Request{Capability: test.cap, Path: test.path, Params: test.params, Now: time.Now()}
		if d := plain.Decide(r); d.Allowed != test.plain {
			t.Errorf("plain %s %s: %+v", test.cap, test.path, d)
		}
		d := restricted.Decide(r)
		if d.Allowed != test.wanted || !d.Allowed && d.Reason == "" {
			t.Errorf("%s %s: %+v; want %v", test.cap, test.path, d, test.wanted)
		}
		shown := restricted.Capabilities(test.path, Spellings{}, time.Now())
		if may := slices.Contains(shown, test.cap.String()); test.params == nil && may != test.wanted {
			t.Errorf("%s %s: shown %q", test.cap, test.path, shown)
		}
	}
	if d := restricted.Decide(Request{Capability: Read, Path: "secret/narrow/x", Now: time.Now()}); d.Sudo {
		t.Error("sudo where a narrower rule has none")
	}
	root := Compile(Root())
	if got := root.Restricted(acls); !got.Decide(Request{Capability: Delete, Path: "secret/closed"}).Root {
		t.Error("root is restricted")
	}
}
