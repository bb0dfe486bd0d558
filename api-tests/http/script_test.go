package http

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `# A comment.
server: unsealed

=== first
# A remark.
PUT /v1/a @root
X-One: 1
{"a":
"b"}
> t = .auth.client_token
> ignore .data["x/y"].*: because
> await 204
---
200
Location: /x

{
  "a": "b"
}

=== second
POST /v1/b?x=1

looks: like a header
`

func TestParseScript(t *testing.T) {
	s, err := parseScript(sample)
	if err != nil {
		t.Fatal(err)
	}
	if s.state != unsealed || len(s.steps) != 2 {
		t.Fatalf("state %q, %d steps", s.state, len(s.steps))
	}
	want := requestSpec{
		method: "PUT", target: "/v1/a", token: "root", headers: []headerLine{{"X-One", "1"}},
		body: "{\"a\":\n\"b\"}", hasBody: true,
	}
	allow := cmp.AllowUnexported(requestSpec{}, headerLine{}, stepRules{}, capture{})
	if diff := cmp.Diff(want, s.steps[0].request, allow); diff != "" {
		t.Errorf("request of the first step (-want +got):\n%s", diff)
	}
	wantRules := stepRules{
		captures: []capture{{"t", jsonPath{"auth", "client_token"}}},
		ignore:   []jsonPath{{"data", "x/y", "*"}}, await: 204,
	}
	if diff := cmp.Diff(wantRules, s.steps[0].rules, allow); diff != "" {
		t.Errorf("rules of the first step (-want +got):\n%s", diff)
	}
	if got := s.steps[0].answer; got != "200\nLocation: /x\n\n{\n  \"a\": \"b\"\n}" {
		t.Errorf("answer of the first step: %q", got)
	}
	if got := s.steps[1].request.body; got != "looks: like a header" {
		t.Errorf("body after a blank line: %q", got)
	}
	if got := s.format(); got != sample {
		t.Errorf("format changed the script (-want +got):\n%s", cmp.Diff(sample, got))
	}
}

func TestParseScriptOfClients(t *testing.T) {
	s, err := parseScript("server: unsealed\nlistener: tls\nplugin: ldap\n\n=== a\nGET /\n> client alice\n> client = .data.id\n")
	if err != nil {
		t.Fatal(err)
	}
	rules := s.steps[0].rules
	if !s.tls || s.plugin != "ldap" || rules.client != "alice" || len(rules.captures) != 1 || rules.captures[0].name != "client" {
		t.Errorf("tls %v, plugin %q, rules %+v", s.tls, s.plugin, rules)
	}
	if s, err = parseScript(sample); err != nil || s.tls || s.plugin != "" {
		t.Errorf("a script that says nothing: tls %v, plugin %q, %v", s.tls, s.plugin, err)
	}
	r := &runner{vars: newVariables()}
	if _, _, err := r.dial("alice"); !errors.Is(err, errNoTLS) {
		t.Errorf("a client without TLS: %v", err)
	}
	if r.pki, err = newPKI(t.TempDir(), r.vars); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.dial("nobody"); !errors.Is(err, errVariable) {
		t.Errorf("an unknown client: %v", err)
	}
}

func TestParseScriptRefuses(t *testing.T) {
	const head = "server: sealed\n\n"
	tests := map[string]struct{ script, want string }{
		"no server":              {"=== a\nGET /\n", "a script starts with server"},
		"an unknown server":      {"server: half\n", "a script starts with server"},
		"no request":             {head + "=== a\n", "no request line"},
		"a bad request line":     {head + "=== a\nget /\n", "want METHOD TARGET"},
		"text after directives":  {head + "=== a\nGET /\n> await 200\nx\n", "text after the directives"},
		"ignore without reason":  {head + "=== a\nGET /\n> ignore .a\n", "ignore needs a path and a reason"},
		"a client of no name":    {head + "=== a\nGET /\n> client\n", "client needs a name"},
		"an unknown directive":   {head + "=== a\nGET /\n> hurry\n", "unknown directive"},
		"a malformed path":       {head + "=== a\nGET /\n> sort data\n", "path"},
		"two of the same title":  {head + "=== a\nGET /\n\n=== a\nGET /\n", "a second step"},
		"the line of the mishap": {head + "=== a\nGET /\n> hurry\n", "5: "},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseScript(tc.script)
			if !errors.Is(err, ErrScript) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want a script error with %q", err, tc.want)
			}
		})
	}
}

func TestExpand(t *testing.T) {
	vars := newVariables()
	vars.set("name", "value")
	vars.set("encoded", "CQYOEQ")
	vars.set("otp", "abcd")
	vars.set("lines", "a\nb")
	tests := map[string]string{
		"a ${name} b":              "a value b",
		"${repeat:ab:3}":           "ababab",
		"${repeat:[:2}":            "[[",
		"${repeat::::2}":           "::::",
		"${base64:hi}":             "aGk=",
		"${json:lines}":            `"a\nb"`,
		"${hex:410042}":            "A\x00B",
		"${patch:name:XY}":         "valXY",
		"${unmask:encoded:otp}":    "hdmu",
		"no variable, ${ no brace": "no variable, ${ no brace",
	}
	for text, want := range tests {
		if got, err := vars.expand(text); err != nil || got != want {
			t.Errorf("expand(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"${other}", "${repeat:a}", "${repeat:a:x}", "${patch:name:longer than it}",
		"${unmask:encoded:name}", "${unmask:other:other}", "${json:other}", "${hex:zz}", "${what:ever}"} {
		if got, err := vars.expand(text); err == nil {
			t.Errorf("expand(%q) = %q, want an error", text, got)
		}
	}
}

func FuzzParseScript(f *testing.F) {
	f.Add(sample)
	f.Add("server: sealed")
	f.Add("server: sealed\n\n=== a\nGET /\n> sort .a[0][\"b\"]\n---\n200")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseScript(text)
		if err != nil {
			return
		}
		again, err := parseScript(s.format())
		if err != nil {
			t.Fatalf("does not parse once formatted: %v", err)
		}
		if first, second := s.format(), again.format(); first != second {
			t.Errorf("not stable (-first +second):\n%s", cmp.Diff(first, second))
		}
	})
}
