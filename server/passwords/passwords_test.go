package passwords_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"coffer/engines"
	"coffer/policy"
	"coffer/server/passwords"
	"coffer/storage"
	"coffer/storage/memory"
)

func parse(t testing.TB, text string) *passwords.Policy {
	t.Helper()
	p, err := passwords.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The texts for what Vault refuses are in api-tests/http; here is what coffer refuses alone.
func TestRefusals(t *testing.T) {
	const head = "1 error occurred:\n\t* invalid password policy: "
	for _, tt := range []struct{ name, text, want string }{
		{"too long", "length = 20 #" + strings.Repeat("x", 65536), head + "text is longer than 65536 bytes\n\n"},
		{"not UTF-8", "length = 20 # \xff", head + "not valid UTF-8\n\n"},
		{"a rule that no character meets", "length = 20\nrule \"charset\" { min-chars = 1 }\nrule \"charset\" { charset = \"a\" }",
			head + "1 error occurred:\n\t* a rule has min-chars but no charset\n\n\n\n"},
		{"a minimum that no other can pay for", "length = 5\nrule \"charset\" {\n charset = \"a\"\n min-chars = -5\n}\n" +
			"rule \"charset\" {\n charset = \"b\"\n min-chars = 6\n}",
			head + "1 error occurred:\n\t* specified rules require at least 6 characters but 5 is specified\n\n\n\n"},
		{"a fraction", "length = 20.5\nrule \"charset\" { charset = \"a\" }", head + "failed to decode configuration: " +
			"1 error(s) decoding:\n\n* 'length' expected type 'int', got unconvertible type 'float64', value: '20.5'\n\n"},
		{"twice in JSON", `{"length": 4, "length": 20, "rule": {"charset": {"charset": "a"}}}`,
			head + "unable to decode: \"length\" is there twice\n\n"},
		{"twice in a rule in JSON", `{"length": 4, "rule": [{"charset": {"charset": "a", "charset": "b"}}]}`,
			head + "unable to decode: \"charset\" is there twice\n\n"},
		{"huge minimums", "length = 5\nrule \"charset\" {\n charset = \"a\"\n min-chars = 9223372036854775807\n}\n" +
			"rule \"charset\" {\n charset = \"b\"\n min-chars = 9223372036854775807\n}",
			head + "1 error occurred:\n\t* specified rules require at least 131072 characters but 5 is specified\n\n\n\n"},
	} {
		_, err := passwords.Parse(tt.text)
		if !errors.Is(err, engines.ErrInvalid) || err.Error() != tt.want {
			t.Errorf("%s: %v; want %s", tt.name, err, tt.want)
		}
	}
}

// What has no meaning is named, so that the writer can be told.
func TestUnknownKeys(t *testing.T) {
	p := parse(t, "length = 4\nLENGTH = 5\ncolour = 1\nrule \"charset\" {\n Charset = \"a\"\n min_chars = 2\n}\n"+
		"rule \"charset\" {\n charset = \"b\"\n min_chars = 2\n}")
	if got := strings.Join(p.Unknown, " "); got != "LENGTH colour min_chars" || p.Length != 4 {
		t.Errorf("%q and length %d", got, p.Length)
	}
}

// Rules that chance meets too seldom are refused when they are written, not when a password is needed.
func TestRareRules(t *testing.T) {
	p := parse(t, "length = 20\nrule \"charset\" { charset = \"abcdefghijklmnopqrstuvwxyz\" }\n"+
		"rule \"charset\" {\n charset = \"1\"\n min-chars = 15\n}")
	if err := p.Check(); !errors.Is(err, engines.ErrInvalid) || !strings.Contains(err.Error(), passwords.ErrRare.Error()) {
		t.Errorf("Check: %v", err)
	}
	if got, err := p.Generate(); !errors.Is(err, passwords.ErrRare) {
		t.Errorf("Generate: %q, %v", got, err)
	}
}

// The policy of Vault's documentation, one that asks for much, one with overlapping charsets, and one with more
// characters than a byte can tell.
func TestGenerate(t *testing.T) {
	wide := func(from rune) string {
		var s strings.Builder
		for c := range rune(200) {
			s.WriteRune(from + c)
		}
		return s.String()
	}
	charset := func(set, least string) string {
		return "rule \"charset\" {\n charset = \"" + set + "\"\n min-chars = " + least + "\n}\n"
	}
	const lower, upper, digits = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	for _, tt := range []struct {
		name, text string
		least      map[string]int
		length     int
	}{
		{"common", "length = 20\n" + charset(lower, "1") + charset(upper, "1") + charset(digits, "1") + charset("!@#$%^&*", "1"),
			map[string]int{lower: 1, upper: 1, digits: 1, "!@#$%^&*": 1}, 20},
		{"much", "length = 20\n" + charset(lower, "5") + charset(upper, "5") + charset(digits, "5") + charset("!@#$%^&*", "5"),
			map[string]int{lower: 5, upper: 5, digits: 5, "!@#$%^&*": 5}, 20},
		{"overlapping", "length = 8\n" + charset("aabc", "3") + charset("cdd", "3"), map[string]int{"abc": 3, "cd": 3}, 8},
		{"wide", "length = 100\n" + charset(wide('一'), "1") + charset(wide('大'), "10"),
			map[string]int{wide('一'): 1, wide('大'): 10}, 100},
	} {
		p := parse(t, tt.text)
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		for range 20 {
			got, err := p.Generate()
			if err != nil || utf8.RuneCountInString(got) != tt.length {
				t.Fatalf("%s: %q, %v", tt.name, got, err)
			}
			all := ""
			for set, least := range tt.least {
				all += set
				count := 0
				for _, c := range got {
					if strings.ContainsRune(set, c) {
						count++
					}
				}
				if count < least {
					t.Errorf("%s: %q has %d of %q", tt.name, got, count, set)
				}
			}
			if rest := strings.Trim(got, all); rest != "" {
				t.Errorf("%s: %q has characters of no rule", tt.name, got)
			}
		}
	}
}

func TestStore(t *testing.T) {
	base := memory.New()
	s := passwords.New(base)
	p := parse(t, "length = 4\nrule \"charset\" { charset = \"a\" }")
	for _, name := range []string{"b", "a/c", "A", "generate"} {
		if err := s.Set(t.Context(), name, p); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := s.List(t.Context()); err != nil || strings.Join(names, " ") != "A b generate a/c" {
		t.Errorf("List: %v, %v", names, err)
	}
	if got, err := s.Password(t.Context(), "a/c"); err != nil || got != "aaaa" {
		t.Errorf("Password: %q, %v", got, err)
	}
	for _, name := range []string{"none", "a", "", "../b", "a//c", " b", "b ", "a/./c", "b\x00", "\xff", "a/c/"} {
		got, err := s.Password(t.Context(), name)
		if !errors.Is(err, engines.ErrInvalid) || !strings.HasPrefix(err.Error(), "there is no password policy ") {
			t.Errorf("Password of %q: %q, %v", name, got, err)
		}
		if name == "none" || name == "a" {
			continue
		}
		if err := s.Set(t.Context(), name, p); !errors.Is(err, policy.ErrName) {
			t.Errorf("Set of %q: %v", name, err)
		}
	}
	if err := base.Apply(t.Context(), storage.Put("core/password-policy/b", []byte("{}"))); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Password(t.Context(), "b"); err == nil || errors.Is(err, engines.ErrInvalid) {
		t.Errorf("by a damaged record: %q, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "length = 20\nrule \"charset\" {\n charset = \"abc\"\n min-chars = 2\n}", "rule { charset {} }",
		`{"length":20,"rule":[{"charset":{"charset":"abc","min-chars":1}}]}`, `{"length":1e9,"rule":{"charset":[{},{}]}}`,
		"length = [[[[", "{\"rule\":null}", "length = 0x7fffffff", `{"length":4,"length":5,"rule":[[{"charset":1}]]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := passwords.Parse(text)
		if err != nil {
			if !errors.Is(err, engines.ErrInvalid) {
				t.Errorf("%v", err)
			}
			return
		}
		got, err := p.Generate()
		if err == nil && utf8.RuneCountInString(got) != p.Length || err != nil && !errors.Is(err, passwords.ErrRare) {
			t.Errorf("%q of length %d, %v", got, p.Length, err)
		}
	})
}
