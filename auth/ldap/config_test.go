package ldap_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/auth/ldap"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

func TestWhatCannotServeALoginIsRefused(t *testing.T) {
	one, oneKey := serverCertificate(t)
	two, _ := serverCertificate(t)
	for name, tc := range map[string]struct {
		params map[string]any
		want   string // the beginning of the refusal
	}{
		"a filter that is no template":    {map[string]any{"userfilter": "({{.UserAttr}"}, "invalid userfilter: "},
		"a filter that is no filter":      {map[string]any{"userfilter": "({{.UserAttr}}={{.Username}}"}, "invalid userfilter: "},
		"a filter with another field":     {map[string]any{"userfilter": "(uid={{.Password}})"}, "invalid userfilter: "},
		"a filter with a group's field":   {map[string]any{"userfilter": "(uid={{.UserDN}})"}, "invalid userfilter: "},
		"a filter with a function":        {map[string]any{"userfilter": `(uid={{printf "%99999999d" 1}})`}, "invalid userfilter: "},
		"a filter with a pipe":            {map[string]any{"userfilter": `(uid={{.Username | len}})`}, "invalid userfilter: "},
		"a filter with a loop":            {map[string]any{"groupfilter": `{{range .}}(uid={{.Username}}){{end}}`}, "invalid groupfilter: "},
		"a filter with a variable":        {map[string]any{"groupfilter": `(uid={{$x := .Username}})`}, "invalid groupfilter: "},
		"a filter with a second template": {map[string]any{"groupfilter": `{{define "x"}}y{{end}}(uid={{.Username}})`}, "invalid groupfilter: "},
		"a name for an attribute":         {map[string]any{"userfilter": "({{.Username}}=x)"}, "invalid userfilter: "},
		"a filter that is too long":       {map[string]any{"userfilter": "(uid=" + strings.Repeat("x", 9000) + ")"}, "invalid userfilter: "},
		"no authority":                    {map[string]any{"certificate": "x"}, "failed to parse server tls cert: "},
		"a key for an authority":          {map[string]any{"certificate": string(oneKey)}, "failed to parse server tls cert: "},
		"a certificate without its key":   {map[string]any{"client_tls_cert": string(one)}, "both client_tls_cert and client_tls_key must be set"},
		"a certificate with another's key": {map[string]any{"client_tls_cert": string(two), "client_tls_key": string(oneKey)},
			"failed to parse client X509 key pair: "},
		"an unknown version": {map[string]any{"tls_min_version": "ssl3"}, "invalid 'tls_min_version'"},
		"an old version":     {map[string]any{"tls_max_version": "tls11"}, "invalid 'tls_max_version'"},
		"versions in a twist": {map[string]any{"tls_min_version": "tls13", "tls_max_version": "tls12"},
			"'tls_max_version' must be greater than or equal to 'tls_min_version'"},
		"unknown aliases":                    {map[string]any{"dereference_aliases": "often"}, "invalid 'dereference_aliases'"},
		"filters side by side":               {map[string]any{"groupfilter": "(a=b)(c=d)"}, "invalid groupfilter: "},
		"filters in a row that does not end": {map[string]any{"groupfilter": "((a=b)(c=d)"}, "invalid groupfilter: "},
		"a name for an attribute in a row":   {map[string]any{"groupfilter": "((a=b)({{.Username}}=d))"}, "invalid groupfilter: "},
		"a negative timeout":                 {map[string]any{"request_timeout": "-1"}, "Field validation failed: "},
		"a token of odd lives":               {map[string]any{"token_ttl": "2h", "token_max_ttl": "1h"}, "'token_ttl' cannot be greater than 'token_max_ttl'"},
	} {
		t.Run(name, func(t *testing.T) {
			s := memory.New()
			m := newMount(t, s)
			_, err := m.call(t.Context(), engines.Update, "config", tc.params)
			if !errors.Is(err, engines.ErrInvalid) || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if _, err := s.Get(t.Context(), "config"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("something was stored: %v", err)
			}
		})
	}
}

// Filters in a row within parentheses all have to match, and nothing else is read in another way.
func TestFiltersInARow(t *testing.T) {
	for text, want := range map[string]string{
		"((a=b)(c=d))":                   "(&(a=b)(c=d))",
		"((a=b)(c=d)(e=f))":              "(&(a=b)(c=d)(e=f))",
		"((|(a=b)(c=d))(e=f))":           "(&(|(a=b)(c=d))(e=f))",
		"((!(a=b))(c=d))":                "(&(!(a=b))(c=d))",
		"(|(a=b)((c=d)(e=f)))":           "(|(a=b)(&(c=d)(e=f)))",
		"(((a=b)(c=d))(e=f))":            "(&(&(a=b)(c=d))(e=f))",
		"((a=x{{.Username}})(c=d((e))":   "(&(a=xann)(c=d((e))",
		"((a=b))":                        "((a=b))",
		"(&(a=b)(c=(({{.Username}}))":    "(&(a=b)(c=((ann))",
		"(a:1.2.3:={{.Username}})":       "(a:1.2.3:=ann)",
		"(&(objectClass=x)(!(a=b)))":     "(&(objectClass=x)(!(a=b)))",
		"(|(member=a)(memberUid=(b&|!))": "(|(member=a)(memberUid=(b&|!))",
	} {
		if got, err := ldap.Filled(text, "ann"); err != nil || got != want {
			t.Errorf("%s: got %s, want %s (%v)", text, got, want, err)
		}
	}
}

// What is not sent stays, and passwords and keys are not shown.
func TestConfigIsKeptAndShown(t *testing.T) {
	certificate, key := serverCertificate(t)
	s := memory.New()
	m := newMount(t, s)
	read := func(m *mount) map[string]any {
		resp, err := m.call(t.Context(), engines.Read, "config", nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Data
	}
	want := read(m)
	m.write(t, "config", map[string]any{"url": "LDAPS://One,ldap://two", "binddn": "cn=X", "bindpass": "canary-password",
		"userattr": "UID", "client_tls_cert": string(certificate), "client_tls_key": string(key), "token_policies": "p"})
	m.write(t, "config", map[string]any{"starttls": true, "request_timeout": "7s"})
	want["url"], want["binddn"], want["userattr"], want["starttls"] = "ldaps://one,ldap://two", "cn=X", "uid", true
	want["request_timeout"], want["token_policies"] = int64(7), []string{"p"}
	got := read(newMount(t, s))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"canary-password", "PRIVATE KEY", "CERTIFICATE"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the configuration shows %s", secret)
		}
	}
}

func TestUsersAndGroups(t *testing.T) {
	m := newMount(t, nil)
	list := func(path string) []string {
		resp, err := m.call(t.Context(), engines.List, path, nil)
		if errors.Is(err, engines.ErrNotFound) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		names, _ := resp.Data["keys"].([]string)
		return names
	}
	read := func(path string) map[string]any {
		resp, err := m.call(t.Context(), engines.Read, path, nil)
		if errors.Is(err, engines.ErrNotFound) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return resp.Data
	}
	m.write(t, "users/Alice/In Wonderland", map[string]any{"groups": " B,a,b", "policies": "Q, p"})
	m.write(t, "users/..", map[string]any{})
	m.write(t, "groups/über", map[string]any{"policies": "root,p"})
	if diff := cmp.Diff([]string{"..", "alice/in wonderland"}, list("users/")); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	want := map[string]any{"groups": "a,b", "policies": []string{"p", "q"}}
	if diff := cmp.Diff(want, read("users/ALICE/in wonderland")); diff != "" {
		t.Errorf("user (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"policies": []string{"root"}}, read("groups/üBER")); diff != "" {
		t.Errorf("group (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"policies": []string{"root"}}, read("groups/Über")); diff != "" {
		t.Errorf("the group with another Ü (-want +got):\n%s", diff)
	}
	m.write(t, "config", map[string]any{"case_sensitive_names": true})
	m.write(t, "users/Bob", map[string]any{"groups": "B,a,b"})
	if got := read("users/bob"); got != nil {
		t.Errorf("bob, though it was Bob: %v", got)
	}
	if got := read("users/Bob")["groups"]; got != "B,a,b" {
		t.Errorf("groups %v", got)
	}
	for _, path := range []string{"users/Bob", "users/..", "users/alice/in wonderland", "users/nobody", "groups/über"} {
		if _, err := m.call(t.Context(), engines.Delete, path, nil); err != nil {
			t.Errorf("delete %s: %v", path, err)
		}
	}
	if users, groups := list("users/"), list("groups/"); users != nil || groups != nil {
		t.Errorf("left: %v, %v", users, groups)
	}
	for _, name := range []string{strings.Repeat("x", 513), "\xff"} {
		if _, err := m.call(t.Context(), engines.Update, "users/"+name, nil); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("a name of %d bytes: %v", len(name), err)
		}
	}
}

// A record that cannot be read lets nobody in.
func TestDamagedRecords(t *testing.T) {
	d := newDirectory(t, nil)
	for _, key := range []string{"config", "user/alice", "group/dev"} {
		s := memory.New()
		m := newMount(t, s)
		m.write(t, "config", searching(d, nil))
		m.write(t, "users/alice", map[string]any{"policies": "p"})
		m.write(t, "groups/dev", map[string]any{"policies": "p"})
		if err := s.Apply(t.Context(), storage.Put(key, []byte(`{"`))); err != nil {
			t.Fatal(err)
		}
		if _, err := m.login(t.Context(), "alice", "wonderland"); err == nil {
			t.Errorf("let in with a damaged %s", key)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add("({{.UserAttr}}={{.Username}})", "alice")
	f.Add("(|({{ .UserAttr }}={{- .Username -}})(mail={{.Username}}))", "*)(uid=*")
	f.Add(`(uid={{printf "%d" 1}})`, `\2a`)
	f.Add("({{.Username}}=x)", "uid>")
	f.Add("((a={{.Username}})(c=d))", ")(")
	f.Add("{{define `filter`}}(a=b){{end}}", "\x00")
	f.Fuzz(func(t *testing.T, template, name string) {
		before, after, err := ldap.Render(template, name)
		if err != nil {
			return
		}
		if before != after {
			t.Errorf("%q with %q: the filter's form is %s, was %s", template, name, after, before)
		}
	})
}

func FuzzSecurityID(f *testing.F) {
	f.Add([]byte("\x01\x01\x00\x00\x00\x00\x00\x05\x12\x00\x00\x00"))
	f.Add([]byte{1, 255})
	f.Add([]byte("\x01\x01\x00\x00\x00\x00\x00\x05\x12\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		text, err := ldap.SecurityID(raw)
		if err == nil && !strings.HasPrefix(text, "S-") {
			t.Errorf("%x is %q", raw, text)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"urls":"ldap://x","users":{"filter":"({{.UserAttr}}={{.Username}})"}}`))
	f.Add([]byte(`{"deref":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := memory.New()
		if err := s.Apply(t.Context(), storage.Put("config", raw)); err != nil {
			t.Fatal(err)
		}
		_, _ = newMount(t, s).call(t.Context(), engines.Read, "config", nil)
	})
}
