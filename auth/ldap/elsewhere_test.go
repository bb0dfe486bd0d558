package ldap_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jimlambrt/gldap"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

const (
	forgotPassword = "bindpass was forgotten, because url, rotation_url or a TLS setting has changed and it was not sent " +
		"along; write it again"
	forgotKey = "client_tls_key, and client_tls_cert with it, was forgotten, because url, rotation_url or a TLS setting " +
		"has changed and it was not sent along; write it again"
)

// overheard makes a directory that notes each password it is sent, and takes none.
func overheard(t testing.TB) (*directory, *recorder) {
	t.Helper()
	heard := &recorder{}
	return newDirectory(t, func(d *directory) {
		d.onBind = func(_ *gldap.ResponseWriter, r *gldap.Request) bool {
			if m, err := r.GetSimpleBindMessage(); err == nil && m.Password != "" {
				heard.add(string(m.Password))
			}
			return true
		}
	}), heard
}

// TestBindPasswordStaysWhereItWasGivenFor: who may write the configuration but does not know the bind password cannot
// have it sent to other servers, nor to the same ones with fewer checks.
func TestBindPasswordStaysWhereItWasGivenFor(t *testing.T) {
	certificate, key := serverCertificate(t)
	other, _ := serverCertificate(t)
	thief, heard := overheard(t)
	for name, tc := range map[string]struct {
		change map[string]any
		kept   bool
	}{
		"another address":          {map[string]any{"url": "ldap://" + thief.plain}, false},
		"a further address":        {map[string]any{"url": "ldap://" + thief.plain + ",ldap://127.0.0.1:1"}, false},
		"another rotation address": {map[string]any{"rotation_url": "ldap://" + thief.plain}, false},
		"any certificate":          {map[string]any{"insecure_tls": true}, false},
		"another authority":        {map[string]any{"certificate": string(other)}, false},
		"no authority":             {map[string]any{"certificate": ""}, false},
		"no encryption":            {map[string]any{"starttls": false}, false},
		"an older version":         {map[string]any{"tls_min_version": "tls10"}, false},
		"a newer version":          {map[string]any{"tls_max_version": "tls13"}, false},
		"another address and DN":   {map[string]any{"url": "ldap://" + thief.plain, "binddn": "cn=x"}, false},
		"the same in another form": {map[string]any{"url": " LDAP://127.0.0.1:1/,ldap://localhost:389"}, true},
		"the same authority":       {map[string]any{"certificate": string(certificate) + "\n"}, true},
		"something else":           {map[string]any{"userdn": "ou=x", "request_timeout": "3s"}, true},
		"all of it, password as well": {map[string]any{"url": "ldap://127.0.0.1:2", "bindpass": readerPass,
			"client_tls_cert": string(certificate), "client_tls_key": string(key)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := memory.New()
			m := newMount(t, s)
			m.write(t, "config", map[string]any{"url": "ldap://localhost,ldap://127.0.0.1:1", "binddn": readerDN,
				"bindpass": readerPass, "userdn": people, "starttls": true, "certificate": string(certificate),
				"client_tls_cert": string(certificate), "client_tls_key": string(key), "request_timeout": "1s"})
			resp, err := m.call(t.Context(), engines.Update, "config", tc.change)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{forgotPassword, forgotKey}
			if tc.kept {
				want = nil
			}
			if diff := cmp.Diff(want, resp.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			for _, credential := range []string{readerPass, "PRIVATE KEY"} {
				if kept := strings.Contains(stored(t, s), credential); kept != tc.kept {
					t.Errorf("%s is stored: %v", credential, kept)
				}
			}
			_, _ = m.login(t.Context(), "alice", "wonderland")
			_ = m.rotate(t)
			if names := heard.take(); slices.Contains(names, readerPass) {
				t.Error("the bind password was sent to another server")
			}
		})
	}
}

// TestBindPasswordIsNotUsedElsewhere: the binding is looked at when the password is used, whatever wrote the record.
func TestBindPasswordIsNotUsedElsewhere(t *testing.T) {
	d := newDirectory(t, nil)
	thief, heard := overheard(t)
	s := memory.New()
	m := newMount(t, s)
	m.write(t, "config", searching(d, nil))
	moved := strings.ReplaceAll(stored(t, s), d.plain, thief.plain)
	if err := s.Apply(t.Context(), storage.Put("config", []byte(moved))); err != nil {
		t.Fatal(err)
	}
	if got := outcome(m.login(t.Context(), "alice", "wonderland")); got != trouble {
		t.Errorf("got %q, want %q", got, trouble)
	}
	if got := m.rotate(t); got == "" {
		t.Error("rotated")
	}
	if names := heard.take(); len(names) > 0 {
		t.Errorf("%d passwords were sent to another server", len(names))
	}
}

// TestOldRecord: a password that was stored without its servers is for those that are stored beside it.
func TestOldRecord(t *testing.T) {
	d := newDirectory(t, nil)
	thief, heard := overheard(t)
	s := memory.New()
	old := `{"urls":"ldap://` + d.plain + `","tls":{"min":"tls12","max":"tls12"},"account":{"dn":"` + readerDN +
		`","password":"` + readerPass + `"},"users":{"base":"` + people + `","attribute":"uid","filter":""},` +
		`"groups":{"base":"` + groupsDN + `","attribute":"cn","filter":""},"token":{"policies":["everybody"]}}`
	if err := s.Apply(t.Context(), storage.Put("config", []byte(old))); err != nil {
		t.Fatal(err)
	}
	m := newMount(t, s)
	if got := outcome(m.login(t.Context(), "alice", "wonderland")); !strings.HasPrefix(got, "alice: everybody") {
		t.Errorf("login: %s", got)
	}
	m.write(t, "config", map[string]any{"url": "ldap://" + thief.plain})
	_, _ = m.login(t.Context(), "alice", "wonderland")
	if strings.Contains(stored(t, s), readerPass) || slices.Contains(heard.take(), readerPass) {
		t.Error("the bind password outlived a change of the address")
	}
}

// TestPasswordsOfUsersStayWhereTheyWereGiven: a renewal, or the end of a login that waited, sends the user's password
// only where the login sent it.
func TestPasswordsOfUsersStayWhereTheyWereGiven(t *testing.T) {
	d := newDirectory(t, nil)
	thief, heard := overheard(t)
	m := newMount(t, nil)
	m.write(t, "config", searching(d, nil))
	login, err := m.login(t.Context(), "alice", "wonderland")
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "config", map[string]any{"url": "ldap://" + thief.plain, "bindpass": "", "binddn": ""})
	_, err = m.engine.(engines.LoginRenewer).RenewLogin(t.Context(), &engines.Renewal{
		Holder: &engines.Caller{Metadata: login.Metadata, Policies: login.Policies}, Internal: login.Internal,
	})
	if err == nil {
		t.Error("renewed")
	}
	if login.StillGood(t.Context()) == nil {
		t.Error("the login is still good")
	}
	if passwords := heard.take(); len(passwords) > 0 {
		t.Errorf("%d passwords of users were sent to another server", len(passwords))
	}
}
