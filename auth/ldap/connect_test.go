package ldap_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jimlambrt/gldap"

	"coffer/auth"
	"coffer/engines"
)

func TestConnections(t *testing.T) {
	other, otherKey := serverCertificate(t)
	eachDirectory(t, func(t *testing.T, d *directory) {
		for name, tc := range map[string]struct {
			config map[string]any
			want   string
		}{
			"plain":           {nil, alice},
			"a change to TLS": {map[string]any{"starttls": true, "certificate": d.certificate}, alice},
			"TLS":             {map[string]any{"url": "ldaps://" + d.tls, "certificate": d.certificate}, alice},
			"TLS 1.3": {map[string]any{"url": "ldaps://" + d.tls, "certificate": d.certificate,
				"tls_min_version": "tls13", "tls_max_version": "tls13"}, alice},
			"TLS with a certificate of one's own": {map[string]any{"url": "ldaps://" + d.tls, "certificate": d.certificate,
				"client_tls_cert": string(other), "client_tls_key": string(otherKey)}, alice},
			"an unknown authority":            {map[string]any{"url": "ldaps://" + d.tls}, trouble},
			"an unknown authority, changing":  {map[string]any{"starttls": true}, trouble},
			"another authority":               {map[string]any{"url": "ldaps://" + d.tls, "certificate": string(other)}, trouble},
			"another authority, changing":     {map[string]any{"starttls": true, "certificate": string(other)}, trouble},
			"no matter which certificate":     {map[string]any{"url": "ldaps://" + d.tls, "insecure_tls": true}, alice},
			"no matter which, changing":       {map[string]any{"starttls": true, "insecure_tls": true}, alice},
			"another name than the server's":  {map[string]any{"url": "ldaps://localhost:" + portOf(d.tls), "certificate": d.certificate}, trouble},
			"the second of three":             {map[string]any{"url": "ldap://127.0.0.1:1, LDAP://" + d.plain + ",ldap://127.0.0.1:2"}, alice},
			"none but the first is encrypted": {map[string]any{"url": "ldaps://" + d.plain + ",ldap://" + d.plain}, alice},
		} {
			t.Run(name, func(t *testing.T) {
				m := newMount(t, nil)
				m.write(t, "config", searching(d, tc.config))
				for group, policy := range map[string]string{"Dev": "developers", "ops": "operators", "posix": "posixes"} {
					m.write(t, "groups/"+group, map[string]any{"policies": policy})
				}
				m.write(t, "users/alice", map[string]any{"policies": "of-alice"})
				if got := outcome(m.login(t.Context(), "alice", "wonderland")); got != tc.want {
					t.Errorf("got %q, want %q\n%s", got, tc.want, m.log)
				}
			})
		}
	})
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// stubborn is a server that takes connections and does with them what talk does.
func stubborn(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				talk(c)
			}()
		}
	}()
	return l.Addr().String()
}

func silence(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// chatter begins an answer (a sequence with a message number) and goes on with text that never ends.
func chatter(c net.Conn) {
	_, _ = c.Write([]byte("\x30\x84\x7f\xff\xff\xff\x04\x84\x7f\xff\xff\xf0"))
	text := make([]byte, 1<<20)
	for {
		if _, err := c.Write(text); err != nil {
			return
		}
	}
}

// A directory that is slow or talks without end costs a bounded time and a bounded memory.
func TestWaitsAreBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		talk   func(net.Conn)
		config map[string]any
	}{
		"silence":                  {silence, nil},
		"silence instead of TLS":   {silence, map[string]any{"ldaps": true}},
		"silence before TLS":       {silence, map[string]any{"starttls": true}},
		"an answer without end":    {chatter, map[string]any{"request_timeout": "60"}},
		"nonsense":                 {func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, nil},
		"an end without an answer": {func(net.Conn) {}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			address := stubborn(t, tc.talk)
			m := newMount(t, nil)
			config := map[string]any{"url": "ldap://" + address, "userdn": people, "request_timeout": "1", "connection_timeout": "1"}
			for key, value := range tc.config {
				if key == "ldaps" {
					key, value = "url", "ldaps://"+address
				}
				config[key] = value
			}
			m.write(t, "config", config)
			ended := make(chan string, 1)
			go func() { ended <- outcome(m.login(context.Background(), "alice", "wonderland")) }()
			select {
			case got := <-ended:
				if got != trouble {
					t.Errorf("got %q", got)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the login still waits")
			}
		})
	}
	t.Run("a client that leaves", func(t *testing.T) {
		asked := make(chan struct{}, 1)
		address := stubborn(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			asked <- struct{}{}
			silence(c)
		})
		m := newMount(t, nil)
		m.write(t, "config", map[string]any{"url": "ldap://" + address, "userdn": people})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan string, 1)
		go func() { ended <- outcome(m.login(ctx, "alice", "wonderland")) }()
		<-asked
		cancel()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal("the login still waits")
		}
	})
}

// A referral leads to whoever the directory names; it is not followed.
func TestReferralsAreNotFollowed(t *testing.T) {
	followed := make(chan struct{}, 16)
	address := stubborn(t, func(net.Conn) { followed <- struct{}{} })
	referral := gldap.WithResponseCode(gldap.ResultReferral)
	for name, change := range map[string]func(*directory){
		"at the bind": func(d *directory) {
			d.onBind = func(*gldap.ResponseWriter, *gldap.Request) bool { return true }
		},
		"at a search": func(d *directory) {
			d.onSearch = func(w *gldap.ResponseWriter, r *gldap.Request) bool {
				response := r.NewSearchDoneResponse(referral)
				response.SetDiagnosticMessage("ldap://" + address)
				_ = w.Write(response)
				return true
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirectory(t, change)
			m := newMount(t, nil)
			m.write(t, "config", searching(d, nil))
			if got := outcome(m.login(t.Context(), "alice", "wonderland")); got != trouble {
				t.Errorf("got %q, want %q", got, trouble)
			}
			select {
			case <-followed:
				t.Error("the referral was followed")
			default:
			}
		})
	}
}

// Whom the directory is asked as, and that a name nobody has costs as many questions as a wrong password.
func TestBinds(t *testing.T) {
	d := newDirectory(t, nil)
	const dn = "uid=alice," + people
	for name, tc := range map[string]struct {
		config             map[string]any
		username, password string
		want               []string
	}{
		"a login":                   {nil, "alice", "wonderland", []string{readerDN, dn, readerDN}},
		"a wrong password":          {nil, "alice", "x", []string{readerDN, dn}},
		"an unknown name":           {nil, "nobody", "x", []string{readerDN, "uid=nobody," + people}},
		"no password":               {nil, "alice", "", nil},
		"no password, though asked": {map[string]any{"deny_null_bind": false}, "alice", "", nil},
		"groups without a name":     {map[string]any{"anonymous_group_search": true}, "alice", "wonderland", []string{readerDN, dn, readerDN, ""}},
		"by name":                   {map[string]any{"binddn": "", "bindpass": ""}, "alice", "wonderland", []string{dn}},
		"by domain": {map[string]any{"binddn": "", "bindpass": "", "upndomain": "example.org"}, "alice", "wonderland",
			[]string{"alice@example.org"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t, nil)
			m.write(t, "config", searching(d, tc.config))
			d.binds.take()
			_, _ = m.login(t.Context(), tc.username, tc.password)
			if got := d.binds.take(); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// An entry without a name is nobody's: to bind as it is to bind as nobody.
func TestNoNameIsBound(t *testing.T) {
	d := newDirectory(t, func(d *directory) {
		d.onSearch = func(w *gldap.ResponseWriter, r *gldap.Request) bool {
			_ = w.Write(r.NewSearchResponseEntry(""))
			return true
		}
	})
	m := newMount(t, nil)
	m.write(t, "config", searching(d, nil))
	if got := outcome(m.login(t.Context(), "alice", "wonderland")); got != refused {
		t.Errorf("got %q, want %q", got, refused)
	}
	if got := d.binds.take(); !slices.Equal(got, []string{readerDN}) {
		t.Errorf("bound as %q", got)
	}
}

// The names of Active Directory: userPrincipalName, and groups by tokenGroups.
func TestActiveDirectory(t *testing.T) {
	const dn = "CN=Alice,OU=Staff,DC=corp,DC=local"
	ids := map[string]string{"<SID=S-1-5-21-1-2-500>": "CN=Admins,OU=Groups,DC=corp,DC=local"}
	var filters []string
	d := newDirectory(t, func(d *directory) {
		d.onSearch = func(w *gldap.ResponseWriter, r *gldap.Request) bool {
			m, err := r.GetSearchMessage()
			if err != nil {
				return false
			}
			filters = append(filters, m.Filter)
			switch {
			case m.Scope == gldap.WholeSubtree && strings.Contains(m.Filter, "alice@corp.local"):
				_ = w.Write(r.NewSearchResponseEntry(dn))
			case m.BaseDN == dn && slices.Contains(m.Attributes, "tokenGroups"):
				found := r.NewSearchResponseEntry(dn)
				found.AddAttribute("tokenGroups", []string{"\x01\x04\x00\x00\x00\x00\x00\x05\x15\x00\x00\x00\x01\x00\x00\x00" +
					"\x02\x00\x00\x00\xf4\x01\x00\x00"})
				_ = w.Write(found)
			case m.BaseDN == dn:
				found := r.NewSearchResponseEntry(dn)
				found.AddAttribute("sAMAccountName", []string{"alice"})
				_ = w.Write(found)
			case ids[m.BaseDN] != "":
				_ = w.Write(r.NewSearchResponseEntry(ids[m.BaseDN]))
			}
			return true
		}
	})
	d.more = []entry{{dn, map[string][]string{"userPassword": {"wonderland"}}}}
	m := newMount(t, nil)
	m.write(t, "config", map[string]any{"url": "ldap://" + d.plain, "binddn": readerDN, "bindpass": readerPass,
		"userdn": "DC=corp,DC=local", "userattr": "sAMAccountName", "upndomain": "corp.local",
		"enable_samaccountname_login": true, "use_token_groups": true})
	m.write(t, "groups/admins", map[string]any{"policies": "admin"})
	if got, want := outcome(m.login(t.Context(), "alice", "wonderland")), "alice: admin; Admins"; got != want {
		t.Errorf("got %q, want %q\n%s", got, want, m.log)
	}
	want := []string{"(userPrincipalName=alice@corp.local)",
		"(|(userPrincipalName=alice@corp.local)(sAMAccountName=alice))"}
	if len(filters) < 2 || !slices.Equal(filters[:2], want) {
		t.Errorf("filters %q, want first %q", filters, want)
	}
}

func TestRenewals(t *testing.T) {
	d := newDirectory(t, nil)
	m := newMount(t, nil)
	m.write(t, "config", searching(d, map[string]any{"token_ttl": "1h"}))
	m.write(t, "groups/dev", map[string]any{"policies": "developers"})
	login, err := m.login(t.Context(), "alice", "wonderland")
	if err != nil {
		t.Fatal(err)
	}
	renew := func(internal map[string]any) string {
		renewed, err := m.engine.(engines.LoginRenewer).RenewLogin(t.Context(), &engines.Renewal{
			Holder:   &engines.Caller{Metadata: login.Metadata, Policies: append([]string{"default"}, login.Policies...)},
			Internal: internal,
		})
		if err != nil {
			return err.Error()
		}
		return renewed.TTL.String()
	}
	fails := func(why string) string { return "1 error occurred:\n\t* failed to renew entry: " + why + "\n\n" }
	const (
		changed   = "policies have changed, not renewing"
		elsewhere = "url or a TLS setting of the directory has changed since this login: log in again"
	)
	with := func(key string, value any) map[string]any {
		internal := maps.Clone(login.Internal)
		internal[key] = value
		return internal
	}
	for _, step := range []struct {
		name, want string
		path       string
		params     map[string]any
		internal   map[string]any
	}{
		{"as it was", "1h0m0s", "", nil, login.Internal},
		{"for longer", "2h0m0s", "config", map[string]any{"token_ttl": "2h"}, login.Internal},
		{"with another password", fails(refused), "", nil, with("password", "changed")},
		{"without the password", "password cannot be of zero length when passwordless binds are being denied", "", nil,
			with("password", "")},
		{"without what it is for", elsewhere, "", nil, with("servers", nil)},
		{"with more policies", changed, "groups/dev", map[string]any{"policies": "developers,more"}, login.Internal},
		{"with the policies of before", "2h0m0s", "groups/dev", map[string]any{"policies": "default,developers"}, login.Internal},
		{"with fewer policies", changed, "groups/dev", map[string]any{"policies": ""}, login.Internal},
		{"while binddn is refused", trouble, "config", map[string]any{"bindpass": "x"}, login.Internal},
		{"at another address", elsewhere, "config", map[string]any{"url": "ldap://127.0.0.1:1"}, login.Internal},
	} {
		if step.path != "" {
			m.write(t, step.path, step.params)
		}
		if got := renew(step.internal); got != step.want {
			t.Errorf("%s: got %q, want %q", step.name, got, step.want)
		}
	}
}

// TestLoginIsNotGoodAnyMore: the directory is asked again for a login that waited.
func TestLoginIsNotGoodAnyMore(t *testing.T) {
	for _, tt := range []struct {
		name, path string
		params     map[string]any
		want       string
	}{
		{"nothing", "groups/none", map[string]any{"policies": "p"}, ""},
		{"policies of a group", "groups/dev", map[string]any{"policies": "more"}, auth.ErrChanged.Error()},
		{"policies of the user", "users/alice", map[string]any{"policies": "more"}, auth.ErrChanged.Error()},
		{"groups of the user", "users/alice", map[string]any{"groups": "more"}, auth.ErrChanged.Error()},
		{"networks", "config", map[string]any{"token_bound_cidrs": "10.0.0.0/8"}, auth.ErrChanged.Error()},
		{"nobody", "config", map[string]any{"userfilter": "(uid=nobody)"}, refused},
		{"binddn is refused", "config", map[string]any{"bindpass": "x"}, trouble},
		{"another address", "config", map[string]any{"url": "ldap://127.0.0.1:1"}, auth.ErrChanged.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDirectory(t, nil)
			m := newMount(t, nil)
			m.write(t, "config", searching(d, nil))
			m.write(t, "groups/dev", map[string]any{"policies": "developers"})
			login, err := m.login(t.Context(), "alice", "wonderland")
			if err != nil {
				t.Fatal(err)
			}
			m.write(t, tt.path, tt.params)
			got := ""
			if err := login.StillGood(t.Context()); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTooManyTokenGroups(t *testing.T) {
	d := newDirectory(t, func(d *directory) {
		d.onSearch = func(w *gldap.ResponseWriter, r *gldap.Request) bool {
			m, err := r.GetSearchMessage()
			if err != nil || !slices.Contains(m.Attributes, "tokenGroups") {
				return false
			}
			found := r.NewSearchResponseEntry(m.BaseDN)
			found.AddAttribute("tokenGroups", slices.Repeat([]string{"\x01\x00\x00\x00\x00\x00\x00\x05"}, 1001))
			_ = w.Write(found)
			return true
		}
	})
	m := newMount(t, nil)
	m.write(t, "config", searching(d, map[string]any{"use_token_groups": true}))
	if got := outcome(m.login(t.Context(), "alice", "wonderland")); got != trouble {
		t.Errorf("got %q, want %q", got, trouble)
	}
}

// A batch token, which nothing renews, keeps no password.
func TestBatchTokensKeepNoPassword(t *testing.T) {
	d := newDirectory(t, nil)
	m := newMount(t, nil)
	m.write(t, "config", searching(d, map[string]any{"token_type": "batch"}))
	login, err := m.login(t.Context(), "alice", "wonderland")
	if err != nil || login.Internal != nil {
		t.Errorf("internal %v, %v", login, err)
	}
}

// All spellings that a directory could take for a name are counted as one, and a name that nobody has is told apart
// from a wrong password for the server alone.
func TestFailuresAreCountedByTheName(t *testing.T) {
	m := newMount(t, nil)
	d := newDirectory(t, nil)
	m.write(t, "config", searching(d, nil))
	for _, name := range []string{"Jöhn X", "JÖHN  x", " jo\u0308hn x ", "ｊöhn\u00a0x", "jöhn\u00ad x\u200b", "jöhn\tx\xff"} {
		match, ok := m.router.Match(t.Context(), engines.Update, "login/"+name)
		if !ok || !match.IsLogin() {
			t.Fatalf("%q: no login", name)
		}
		if got, err := match.LoginAs(&engines.Request{}); got != "jöhn x" || err != nil {
			t.Errorf("%q is counted as %q, %v", name, got, err)
		}
	}
	for name, unknown := range map[string]bool{"alice": false, "nobody": true, "alice\xff": true} {
		_, err := m.login(t.Context(), name, "x")
		if !errors.Is(err, engines.ErrCredentials) || errors.Is(err, engines.ErrNoUser) != unknown {
			t.Errorf("%q: %v, unknown: %v", name, err, errors.Is(err, engines.ErrNoUser))
		}
	}
}
