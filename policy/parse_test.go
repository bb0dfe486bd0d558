package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestParseErrors holds texts that Vault 1.21.2 answers with, word for word, up to the empty line.
func TestParseErrors(t *testing.T) {
	const group = `factor "a" { identity { group_names = ["x"] approvals = 1 } }`
	tests := []struct{ text, want string }{
		{`path "x" { foo = 1 }`, "1 error occurred:\n\t* path \"x\": invalid key \"foo\" on line 1\n\n"},
		{"path \"x\" { foo = 1 bar = 2 }\npath \"y\" { baz = 1 }", "2 errors occurred:\n\t* path \"x\": invalid key " +
			"\"foo\" on line 1\n\t* path \"x\": invalid key \"bar\" on line 1\n\n"},
		{"path \"x\" { }\nq = 1", "1 error occurred:\n\t* invalid key \"q\" on line 2\n\n"},
		{`path "x" { foo { } }`, "1 error occurred:\n\t* path \"x\": invalid key \"foo\" on line 0\n\n"},
		{`PATH "x" { }`, "1 error occurred:\n\t* invalid key \"PATH\" on line 0\n\n"},
		{`path "x" { Capabilities = [] }`, "1 error occurred:\n\t* path \"x\": invalid key \"Capabilities\" on line 1\n\n"},
		{`path "x" { capabilities = ["reed"] }`, `path "x": invalid capability "reed"`},
		{`path "x" { capabilities = ["Read"] }`, `path "x": invalid capability "Read"`},
		{`path "x" { capabilities = [1] }`, `path "x": invalid capability "1"`},
		{`path "x" { policy = "rx" }`, `path "x": invalid policy "rx"`},
		{`path "x" { capabilities=["zz"] policy="q" }`, `path "x": invalid policy "q"`},
		{`path "x" { capabilities="read" }`, `path "x": At 1:25: unknown slice type: *ast.LiteralType`},
		{`path "x" { capabilities={a=1} }`,
			`path "x": At 1:26: root.Capabilities[0]: unknown type for string *ast.ObjectItem`},
		{`path "x" { policy=["read"] }`, `path "x": At 1:19: root.Policy: unknown type for string *ast.ListType`},
		{`path "x" { capabilities=["read"] allowed_parameters=["a"] }`,
			`path "x": At 1:53: root.allowed_parameters: not an object type for map (*ast.ListType)`},
		{`path "x" { capabilities=["read"] denied_parameters=["a"] }`,
			`path "x": At 1:52: root.denied_parameters: not an object type for map (*ast.ListType)`},
		{`path "x" { required_parameters=[true] }`,
			`path "x": At 1:33: root.required_parameters[0]: unknown type for string *ast.LiteralType`},
		{`path "x" { mfa_methods=1 }`, `path "x": At 1:24: unknown slice type: *ast.LiteralType`},
		{`path "x" { subscribe_event_types=1 }`, `path "x": At 1:34: unknown slice type: *ast.LiteralType`},
		{`path "x" { min_wrapping_ttl="abc" }`, `error parsing min_wrapping_ttl: time: invalid duration "abc"`},
		{`path "x" { max_wrapping_ttl=["1"] }`, `error parsing max_wrapping_ttl: could not parse duration from input`},
		{`path "x" { min_wrapping_ttl="1m" max_wrapping_ttl="10s" }`,
			`max_wrapping_ttl cannot be less than min_wrapping_ttl`},
		{`path "x/+*" { capabilities=["zz"] }`, `path "x/+*": invalid use of wildcards ('+*' is forbidden)`},
		{`path "x/{{a" { }`, `failed to validate policy templating: unbalanced templating characters`},
		{`path "x/a}}" { }`, `failed to validate policy templating: unbalanced templating characters`},
		{`path "a{{b{{c}}" { }`, `failed to validate policy templating: unbalanced templating characters`},
		{`path "a}}b{{" { }`, `failed to validate policy templating: unbalanced templating characters`},
		{`path "x" { control_group={ ttl="4h" } }`, `no control group factors provided`},
		{`path "x" { control_group={ factor "a" { } } }`, `no control_group factor provided`},
		{`path "x" { control_group={ factor "a" { identity { approvals=1 } } } }`,
			`must provide more than one identity group and approvals > 0`},
		{`path "x" { control_group={ ttl="x" ` + group + ` } }`,
			`error parsing control group max ttl: time: invalid duration "x"`},
		{`path "x" { control_group=5 }`,
			`path "x": At 1:26: root.control_group: not an object type for struct (*ast.LiteralType)`},
		{`path "x" {`, `At 1:12: object expected closing RBRACE got: EOF`},
		{`path "x" }`, `At 1:10: key 'path "x"' expected start of object ('{') or assignment ('=')`},
		{`path "x" { capabilities=["read"] capabilities=["list"] }`,
			`The argument "capabilities" at 1:34 was already set. Each argument can only be defined once`},
		{`path = "x"`, `path "path": cannot check HCL keys of type *ast.LiteralType`},
		{`{"path":[]}`, `path "path": cannot check HCL keys of type *ast.ListType`},
		{`{"path":{"x":[1]}}`, "1 error occurred:\n\t* path \"path\": invalid key \"x\" on line 1\n\n"},
		{`5`, `At 1:1: expected: IDENT | STRING | ASSIGN | LBRACE got: NUMBER`},
		{`name=["x"]`, `At 1:6: root.name: unknown type for string *ast.ListType`},
		{"path \"x\u0000\" { }", "At 1:14: literal not terminated"},

		// What follows is ours.
		{`path "x" { capabilities=["read"] hours=["Mon 9-17 UTC"] }`,
			`path "x": hours: "Mon 9-17 UTC": "9" is not a time such as "09:00"`},
		{`path "x" { hours=["Mon 09:00-17:00"] }`, `path "x": hours: "Mon 09:00-17:00" is not a time window such as ` +
			`"Mon-Fri 09:00-17:00 Europe/Berlin"`},
		{`path "x" { hours="daily" }`, `path "x": At 1:18: unknown slice type: *ast.LiteralType`},
		{`path "x" { expiration="tomorrow" }`, `path "x": expiration: "tomorrow" is not an RFC 3339 time`},
		{strings.Repeat("#", maxText+1), "text is longer than 1048576 bytes"},
		{`a=` + strings.Repeat("[", 100_000), "nested deeper than 64 levels"},
		{`{"a":` + strings.Repeat("[", 100_000), "nested deeper than 64 levels"},
		{`a=` + strings.Repeat("]", 1000) + strings.Repeat("{", 1000), "nested deeper than 64 levels"},
		{`a=[` + strings.Repeat("1,", maxTokens), "more than 200000 words"},
		{strings.Repeat("path \"x\" { }\n", maxRules+1), "more than 10000 path rules"},
	}
	for _, tt := range tests {
		_, err := Parse("p", tt.text)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("Parse(%.60q): error %v, want ErrInvalid", tt.text, err)
			continue
		}
		if diff := cmp.Diff("failed to parse policy: "+tt.want, err.Error()); diff != "" {
			t.Errorf("Parse(%.60q) (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestParseAccepts(t *testing.T) {
	tests := []struct {
		name, text string
		want       []Rule
	}{
		{"nothing", ` `, []Rule{}},
		{"comment", "# nothing", []Rule{}},
		{"name", `name = "zz"`, []Rule{}},
		{"empty rule", `path "x" { }`, []Rule{{Path: "x"}}},
		{"unquoted", `path x { capabilities = ["read", ] }`, []Rule{{Path: "x", Capabilities: Read}}},
		{"without label", `path { capabilities = ["read"] }`, []Rule{{Path: "path", Capabilities: Read}}},
		{"two labels", `path "a" "b" { capabilities = ["read"] }`, []Rule{{Path: "a", Capabilities: Read}}},
		{"json", `{"path":{"/x":{"capabilities":["read","deny"]}}}`, []Rule{{Path: "x", Capabilities: Deny}}},
		{"json list", `{"path":[{"x":{"policy":"read"}},{"y":{}}]}`,
			[]Rule{{Path: "x", Capabilities: Read | List}, {Path: "y"}}},
		{"unclosed json, as in Vault", `{"path":{"x":{"capabilities":["read"]}}`, []Rule{{Path: "x", Capabilities: Read}}},
		{"comments", `path "x" { comment = 1 subscribe_event_types = ["kv*"] mfa_methods = ["m"] }`, []Rule{{Path: "x"}}},
		{"parameters", `path "x" {
			allowed_parameters = { "A" = ["x", 5, true, ["l"], { "k" = "v" }] "*" = [] }
			denied_parameters { "B" = [] }
			required_parameters = ["C", 1]
			min_wrapping_ttl = 1.5
			max_wrapping_ttl = "1d"
		}`, []Rule{{
			Path:           "x",
			Allowed:        map[string][]any{"a": {"x", 5, true, []any{"l"}, map[string]any{"k": "v"}}, "*": {}},
			Denied:         map[string][]any{"b": {}},
			Required:       []string{"C", "1"},
			MinWrappingTTL: time.Second, MaxWrappingTTL: 24 * time.Hour,
		}}},
		{"keys that differ in case", `path "x" { allowed_parameters = { "a" = ["x"] "A" = [] } }`,
			[]Rule{{Path: "x", Allowed: map[string][]any{"a": {}}}}},
		{"negative wrapping time", `path "x" { min_wrapping_ttl = "-5s" max_wrapping_ttl = "" }`, []Rule{{Path: "x"}}},
		{"expiration", `path "x" { expiration = "2030-01-02T03:04:05Z" }`,
			[]Rule{{Path: "x", Expiration: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}}},
		{"template", `path "a/{{ identity.entity.id }}/*" { }`,
			[]Rule{{Path: "a/{{ identity.entity.id }}/*", Templated: true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse("p", tt.text)
			if err != nil {
				t.Fatal(err)
			}
			want := &Policy{Name: "p", Text: tt.text, Rules: tt.want, Templated: tt.name == "template"}
			if diff := cmp.Diff(want, p); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseWindowErrors(t *testing.T) {
	tests := map[string]string{
		"":                                "is not a time window",
		"Mon 09:00-17:00":                 "is not a time window",
		"Mon 09:00 - 17:00 UTC":           "is not a time window",
		"Moon 09:00-17:00 UTC":            `unknown day "Moon"`,
		"Mon- 09:00-17:00 UTC":            `unknown day ""`,
		"Mon,,Tue 09:00-17:00 UTC":        `unknown day ""`,
		"Mon-Tue-Wed 09:00-17:00 UTC":     `unknown day "Tue-Wed"`,
		"Monday 09:00-17:00 UTC":          `unknown day "Monday"`,
		"Mon 9:00-17:00 UTC":              `"9:00" is not a time such as`,
		"Mon 09:00 UTC":                   `"09:00" is not a time range`,
		"Mon 09:0a-17:00 UTC":             `"09:0a" is not a time such as`,
		"Mon +9:00-17:00 UTC":             `"+9:00" is not a time such as`,
		"Mon 09:60-17:00 UTC":             `"09:60" is not a time of day`,
		"Mon 09:00-24:01 UTC":             `"24:01" is not a time of day`,
		"Mon 24:00-06:00 UTC":             "24:00 can only end a time range",
		"Mon 09:00-09:00 UTC":             "is empty",
		"Mon 09:00-17:00 Local":           `unknown time zone "Local"`,
		"Mon 09:00-17:00 Mars/Phobos":     `unknown time zone "Mars/Phobos"`,
		"Mon 09:00-17:00 ../../etc/hosts": `unknown time zone "../../etc/hosts"`,
		"Mon 09:00-17:00 /etc/hosts":      `unknown time zone "/etc/hosts"`,
		strings.Repeat(" ", 300):          "longer than 256 bytes",
	}
	for text, want := range tests {
		if _, err := ParseWindow(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseWindow(%q): error %v, want one with %q", text, err, want)
		}
	}
}

func TestWindowString(t *testing.T) {
	w, err := ParseWindow("  Mon-Fri   09:00-17:00 Europe/Berlin ")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := w.String(), "Mon-Fri 09:00-17:00 Europe/Berlin"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

func TestCanonicalize(t *testing.T) {
	good := map[string]string{
		"foo": "foo", " Foo\t": "foo", "FOO bar": "foo bar", "a/b": "a/b", "Ä": "Ä", "O\u212aS": "o\u212as", "ADMİN": "admİn", "foo+bar*": "foo+bar*", "a.b": "a.b",
		"ROOT": "root", `a\b`: `a\b`,
	}
	for name, want := range good {
		if got, err := Canonicalize(name); err != nil || got != want {
			t.Errorf("Canonicalize(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
	bad := []string{"", "  ", "..", "a..b", "a/../b", "a/", "/a", "a//b", "./a", "a/ b", "a\x00b", "a\nb", "a\u200bb",
		"a\u00a0b", "\xff", strings.Repeat("x", maxNameLength+1)}
	for _, name := range bad {
		if got, err := Canonicalize(name); !errors.Is(err, ErrName) {
			t.Errorf("Canonicalize(%q) = %q, %v, want ErrName", name, got, err)
		}
	}
}

func TestBuiltin(t *testing.T) {
	grants := map[string]string{
		"auth/token/lookup-self": "read", "auth/token/renew-self": "update", "auth/token/revoke-self": "update",
		"sys/capabilities-self": "update", "sys/internal/ui/resultant-acl": "read", "sys/renew": "update",
		"sys/leases/renew": "update", "sys/leases/lookup": "update", "cubbyhole/x/y": "create delete list read update",
		"sys/wrapping/wrap": "update", "sys/wrapping/lookup": "update", "sys/wrapping/unwrap": "update",
		"sys/tools/hash": "update", "sys/tools/hash/sha2-256": "update", "sys/control-group/request": "update",
		"identity/oidc/provider/x/authorize": "read update", "identity/entity/id/1": "deny", "sys/mounts": "deny",
	}
	acl := Compile(Default())
	for path, want := range grants {
		if got := strings.Join(acl.Capabilities(path, Spellings{}, time.Time{}), " "); got != want {
			t.Errorf("default grants %q on %s, want %q", got, path, want)
		}
	}
	own, err := Default().Expand(func(selector string) (string, error) { return selector, nil })
	if err != nil {
		t.Fatal(err)
	}
	if !Compile(own).Decide(Request{Capability: Read, Path: "identity/entity/name/identity.entity.name"}).Allowed {
		t.Error("default does not grant reading one's own entity")
	}
	wrap := Compile(ResponseWrapping())
	if !wrap.Decide(Request{Capability: Update, Path: "sys/wrapping/unwrap"}).Allowed {
		t.Error("response-wrapping does not grant unwrapping")
	}
	if !Compile(ControlGroup()).Decide(Request{Capability: Read, Path: "cubbyhole/control-group"}).Allowed {
		t.Error("control-group does not grant its cubbyhole")
	}
	if !Compile(Root()).Decide(Request{Capability: Delete, Path: "x"}).Root {
		t.Error("root is not root")
	}
}
