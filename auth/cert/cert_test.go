package cert_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

func TestWhoIsLetIn(t *testing.T) {
	ca, other := issue(t, nil, 1, "ca", authority), issue(t, nil, 2, "other", authority)
	middle := issue(t, ca, 3, "middle", authority)
	alice, bob := issue(t, ca, 10, "alice"), issue(t, middle, 11, "bob")
	leaf := issue(t, nil, 20, "leaf")
	m := newMount(t, nil, nil)
	m.write(t, "certs/ca", map[string]any{"certificate": ca.pem(), "token_policies": "p"})
	m.write(t, "certs/leaf", map[string]any{"certificate": leaf.pem()})
	expired := func(c *x509.Certificate) { c.NotAfter = epoch.Add(-time.Second) }
	const no = "failed to match all constraints for this login certificate"
	for name, tc := range map[string]struct {
		role   string
		client engines.Client
		want   string // the role, or the refusal
	}{
		"by an authority":               {"", as(alice), "ca"},
		"by the authority's role":       {"CA", as(alice), "ca"},
		"by another role":               {"leaf", as(alice), no},
		"by no role":                    {"none", as(alice), no},
		"by a name with a slash":        {"../config", as(alice), no},
		"below an authority in between": {"", as(bob, middle), "ca"},
		"with a link missing":           {"", as(bob), no},
		"the same name, another maker":  {"", as(issue(t, other, 10, "alice")), no},
		"the same name, self-made":      {"", as(issue(t, nil, 10, "alice")), no},
		"the leaf itself":               {"", as(leaf), "leaf"},
		"the leaf by another role":      {"ca", as(leaf), no},
		"the leaf's name and number with another key": {"", as(issue(t, nil, 20, "leaf")),
			"certificate mismatch of a trusted leaf certificate"},
		"the leaf's name alone": {"", as(issue(t, nil, 21, "leaf")), no},
		"expired": {"", as(issue(t, ca, 12, "alice", expired)), "failed to verify client's certificate: x509: " +
			"certificate has expired or is not yet valid: current time 2026-01-02T03:04:05Z is after 2026-01-02T03:04:04Z"},
		"no certificate": {"", as(), "client certificate must be supplied"},
		"no TLS":         {"", engines.Client{}, "tls connection required"},
	} {
		t.Run(name, func(t *testing.T) {
			login, err := m.login(t, tc.role, tc.client)
			var got string
			if err != nil {
				got = err.Error()
			} else {
				got = login.Metadata["cert_name"]
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestLoginTellsOfTheCertificate(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority, func(c *x509.Certificate) { c.SubjectKeyId = []byte{0xab, 1} })
	alice := issue(t, ca, 77, "alice", func(c *x509.Certificate) { c.SubjectKeyId = []byte{1, 2} })
	m := newMount(t, nil, nil)
	m.write(t, "certs/web", map[string]any{"certificate": ca.pem(), "token_policies": "a,b", "token_ttl": "1h"})
	login, err := m.login(t, "", as(alice))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"cert_name": "web", "common_name": "alice", "serial_number": "77",
		"subject_key_id": "01:02", "authority_key_id": "ab:01"}
	if diff := cmp.Diff(want, login.Metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if login.DisplayName != "web" || login.Alias != "alice" || login.TTL != time.Hour || len(login.Policies) != 2 {
		t.Errorf("login: %+v", login)
	}
}

func TestRenewalIsBoundToTheKey(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	// The same person with the same authority, and both their ids: another key all the same.
	ids := func(c *x509.Certificate) { c.SubjectKeyId = alice.cert.SubjectKeyId }
	impostor := issue(t, ca, 10, "alice", ids)
	renewed := issueFor(t, alice.key, ca, 11, "alice")
	m := newMount(t, nil, nil)
	m.write(t, "certs/ca", map[string]any{"certificate": ca.pem(), "token_policies": "p"})
	login, err := m.login(t, "", as(alice))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.renew(t, login, as(alice)); err != nil {
		t.Errorf("the same certificate: %v", err)
	}
	if err := m.renew(t, login, as(renewed)); err != nil {
		t.Errorf("a new certificate for the same key: %v", err)
	}
	if err := m.renew(t, login, as(impostor)); err == nil || !strings.Contains(err.Error(), "not matching client") {
		t.Errorf("another key: %v", err)
	}
	if err := m.renew(t, login, engines.Client{}); err == nil {
		t.Error("renewed without a certificate")
	}
	m.write(t, "config", map[string]any{"disable_binding": true})
	if err := m.renew(t, login, engines.Client{}); err != nil {
		t.Errorf("unbound: %v", err)
	}
	m.write(t, "certs/ca", map[string]any{"token_policies": "q"})
	if err := m.renew(t, login, as(alice)); err == nil {
		t.Error("renewed although the role's policies are others now")
	}
	login.Internal = map[string]any{}
	if err := m.renew(t, login, as(alice)); err == nil {
		t.Error("renewed a token without the record of its login")
	}
}

func TestLoginIsNotGoodAnyMore(t *testing.T) {
	ca, other := issue(t, nil, 1, "ca", authority), issue(t, nil, 2, "other", authority)
	alice := issue(t, ca, 10, "alice")
	for name, change := range map[string]func(*mount){
		"policies": func(m *mount) { m.write(t, "certs/web", map[string]any{"token_policies": "q"}) },
		"trust":    func(m *mount) { m.write(t, "certs/web", map[string]any{"certificate": other.pem()}) },
		"revoked":  func(m *mount) { m.write(t, "crls/x", map[string]any{"crl": crl(t, ca, epoch.Add(time.Hour), 10)}) },
		"another role": func(m *mount) {
			m.write(t, "certs/a", map[string]any{"certificate": alice.pem()})
		},
		"deleted": func(m *mount) {
			if _, err := m.call(t.Context(), engines.Delete, "certs/web", nil, engines.Client{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t, nil, nil)
			m.write(t, "certs/web", map[string]any{"certificate": ca.pem(), "token_policies": "p"})
			login, err := m.login(t, "", as(alice))
			if err != nil {
				t.Fatal(err)
			}
			if err := login.StillGood(t.Context()); err != nil {
				t.Errorf("nothing changed: %v", err)
			}
			change(m)
			if err := login.StillGood(t.Context()); !errors.Is(err, auth.ErrChanged) {
				t.Errorf("%v, want ErrChanged", err)
			}
		})
	}
}

func TestChangesOfRolesCountAtOnce(t *testing.T) {
	ca, other := issue(t, nil, 1, "ca", authority), issue(t, nil, 2, "other", authority)
	alice := issue(t, ca, 10, "alice")
	m := newMount(t, nil, nil)
	for _, size := range []int{200, 1, -1} {
		m.write(t, "config", map[string]any{"role_cache_size": strconv.Itoa(size)})
		for _, role := range []string{"", "web"} {
			allowed := func() bool { _, err := m.login(t, role, as(alice)); return err == nil }
			m.write(t, "certs/web", map[string]any{"certificate": ca.pem()})
			for range 2 { // the second time from the cache
				if !allowed() {
					t.Errorf("%q: not let in", role)
				}
			}
			m.write(t, "certs/web", map[string]any{"certificate": other.pem()})
			if allowed() {
				t.Errorf("%q: let in by a role that trusts somebody else now", role)
			}
			m.write(t, "certs/web", map[string]any{"certificate": ca.pem()})
			if !allowed() {
				t.Errorf("%q: not let in again", role)
			}
			if _, err := m.call(t.Context(), engines.Delete, "certs/web", nil, engines.Client{}); err != nil {
				t.Fatal(err)
			}
			if allowed() {
				t.Errorf("%q: let in by a role that is gone", role)
			}
		}
	}
}

// The role is one of those whose authority is in the chain, and the first of these by name.
func TestWhichRoleIsTaken(t *testing.T) {
	ca, other := issue(t, nil, 1, "ca", authority), issue(t, nil, 2, "other", authority)
	m := newMount(t, nil, nil)
	m.write(t, "certs/a", map[string]any{"certificate": other.pem()})
	m.write(t, "certs/b", map[string]any{"certificate": ca.pem(), "allowed_common_names": "bob"})
	m.write(t, "certs/c", map[string]any{"certificate": ca.pem()})
	m.write(t, "certs/d", map[string]any{"certificate": ca.pem()})
	for name, want := range map[string]string{"alice": "c", "bob": "b"} {
		login, err := m.login(t, "", as(issue(t, ca, 10, name)))
		if err != nil || login.Metadata["cert_name"] != want {
			t.Errorf("%s: %v, %v, want %s", name, login, err, want)
		}
	}
}

// meddling changes what is stored while it is being read.
type meddling struct {
	storage.Storage
	key    string
	meddle func()
}

func (m *meddling) Get(ctx context.Context, key string) ([]byte, error) {
	raw, err := m.Storage.Get(ctx, key)
	if f := m.meddle; f != nil && key == m.key {
		m.meddle = nil
		f()
	}
	return raw, err
}

// What was read before a change is not kept after it.
func TestNothingStaleIsKept(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	s := &meddling{Storage: memory.New(), key: "role/web"}
	m := newMount(t, s, nil)
	m.write(t, "certs/web", map[string]any{"certificate": ca.pem()})
	s.meddle = func() {
		if _, err := m.call(t.Context(), engines.Delete, "certs/web", nil, engines.Client{}); err != nil {
			t.Error(err)
		}
	}
	_, _ = m.login(t, "web", as(alice)) // reads the role, and then it is gone
	if _, err := m.login(t, "web", as(alice)); err == nil {
		t.Error("let in by a role that is gone")
	}
}

// crl is a revocation list in PEM.
func crl(t testing.TB, ca *identity, until time.Time, serials ...int64) string {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: until.Add(-time.Hour), NextUpdate: until}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: epoch})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

func TestTheRevokedStayOut(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	middle := issue(t, ca, 3, "middle", authority)
	alice, bob, leaf := issue(t, ca, 10, "alice"), issue(t, middle, 11, "bob"), issue(t, ca, 20, "leaf")
	s := memory.New()
	m := newMount(t, s, nil)
	m.write(t, "certs/ca", map[string]any{"certificate": ca.pem()})
	m.write(t, "certs/leaf", map[string]any{"certificate": leaf.pem()})
	clients := map[string]engines.Client{"alice": as(alice), "bob": as(bob, middle), "leaf": as(leaf)}
	check := func(when string, m *mount, out ...string) {
		t.Helper()
		for name, client := range clients {
			_, err := m.login(t, "", client)
			if want := strings.Contains(strings.Join(out, " "), name); (err != nil) != want {
				t.Errorf("%s: %s: %v", when, name, err)
			}
		}
	}
	check("without a list", m)
	m.write(t, "crls/one", map[string]any{"crl": crl(t, ca, epoch, 10)})
	check("one", m, "alice")
	m.write(t, "crls/two", map[string]any{"crl": crl(t, ca, epoch, 3, 20)})
	check("both", m, "alice", "bob", "leaf")
	check("both, after a restart", newMount(t, s, nil), "alice", "bob", "leaf")
	if _, err := m.call(t.Context(), engines.Delete, "crls/two", nil, engines.Client{}); err != nil {
		t.Fatal(err)
	}
	check("one again", m, "alice")
	m.write(t, "crls/one", map[string]any{"crl": crl(t, ca, epoch.Add(time.Second))})
	check("an empty one", m)
}

func TestListsAreFetchedAgain(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	var serving atomic.Pointer[string]
	var asked atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		text := *serving.Load()
		if text == "" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = w.Write([]byte(text))
	}))
	defer web.Close()
	put := func(text string) { serving.Store(&text) }
	now := epoch
	m := newMount(t, nil, func() time.Time { return now })
	m.write(t, "certs/ca", map[string]any{"certificate": ca.pem()})
	put(crl(t, ca, epoch.Add(time.Hour)))
	m.write(t, "crls/ca", map[string]any{"url": web.URL})
	m.write(t, "crls/two", map[string]any{"url": web.URL})
	allowed := func() bool { _, err := m.login(t, "", as(alice)); return err == nil }
	refresh := m.engine.(interface{ RefreshDue() }).RefreshDue
	put(crl(t, ca, epoch.Add(2*time.Hour), 10))
	refresh()
	if !allowed() || asked.Load() != 2 {
		t.Errorf("a list that is not out of date was fetched again: %d", asked.Load())
	}
	now = now.Add(61 * time.Minute)
	refresh()
	if allowed() || asked.Load() != 4 {
		t.Errorf("the new lists do not count, or were not fetched: %d", asked.Load())
	}
	now = now.Add(time.Hour)
	put("")
	refresh()
	put("no list")
	refresh()
	if allowed() {
		t.Error("the old list was dropped when no new one came")
	}
	put(crl(t, ca, now.Add(time.Hour)) + strings.Repeat("\n", 5<<20))
	refresh()
	if allowed() {
		t.Error("the old list was dropped for one that is too long")
	}
	put(crl(t, ca, now.Add(time.Hour)))
	refresh()
	if !allowed() {
		t.Error("the newest list does not count")
	}
	for _, text := range []string{"", "no list"} {
		put(text)
		_, err := m.call(t.Context(), engines.Update, "crls/x", map[string]any{"url": web.URL}, engines.Client{})
		if err == nil {
			t.Errorf("%q was taken for a list", text)
		}
	}
}

// A worker that refreshes lists ends with the mount, and does so while there is nothing to do.
func TestRefreshingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newMount(t, nil, nil)
		time.Sleep(3 * time.Minute)
	})
}

func TestDamagedRecordsLetNobodyIn(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	for _, key := range []string{"role/ca", "crl/ca", "config"} {
		s := memory.New()
		m := newMount(t, s, nil)
		m.write(t, "config", map[string]any{"role_cache_size": "5"})
		m.write(t, "certs/ca", map[string]any{"certificate": ca.pem()})
		m.write(t, "crls/ca", map[string]any{"crl": crl(t, ca, epoch)})
		if _, err := m.login(t, "", as(alice)); err != nil {
			t.Fatal(err)
		}
		raw, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Apply(t.Context(), storage.Put(key, raw[:len(raw)/2])); err != nil {
			t.Fatal(err)
		}
		if _, err := newMount(t, s, nil).login(t, "", as(alice)); err == nil {
			t.Errorf("let in with a damaged %s", key)
		}
	}
}

// The oldest name of token_ttl is a number of seconds.
func TestLease(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	m := newMount(t, nil, nil)
	m.write(t, "certs/ca", map[string]any{"certificate": ca.pem(), "lease": "60"})
	for _, huge := range []string{"9223372036854775807", "18446744073", "9223372037", "27670116111"} {
		if got := m.writeErr(t, "certs/ca", map[string]any{"lease": huge}); got != "lease: duration is out of range" {
			t.Errorf("%s: %q", huge, got)
		}
	}
	if l, err := m.login(t, "", as(alice)); err != nil || l.TTL != time.Minute {
		t.Errorf("%+v, %v", l, err)
	}
}

// A damaged list keeps everybody out until an operator replaces it or takes it away.
func TestDamagedListsCanBeReplaced(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	for name, mend := range map[string]func(*mount){
		"written": func(m *mount) { m.write(t, "crls/ca", map[string]any{"crl": crl(t, ca, epoch)}) },
		"deleted": func(m *mount) {
			if _, err := m.call(t.Context(), engines.Delete, "crls/ca", nil, engines.Client{}); err != nil {
				t.Error(err)
			}
		},
	} {
		s := memory.New()
		if err := s.Apply(t.Context(), storage.Put("crl/ca", []byte("{"))); err != nil {
			t.Fatal(err)
		}
		m := newMount(t, s, nil)
		m.write(t, "certs/ca", map[string]any{"certificate": ca.pem()})
		if _, err := m.login(t, "", as(alice)); err == nil {
			t.Errorf("%s: let in with a damaged list", name)
		}
		mend(m)
		if _, err := m.login(t, "", as(alice)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheRefusalTellsOfTheCertificate(t *testing.T) {
	m := newMount(t, nil, nil)
	m.write(t, "config", map[string]any{"enable_metadata_on_failures": true})
	stranger := issue(t, nil, 5, strings.Repeat("x", 101))
	_, err := m.login(t, "", as(stranger))
	var public *engines.Error
	if !errors.As(err, &public) {
		t.Fatal(err)
	}
	want := strings.Repeat("x", 97) + "..."
	if got := public.Data["common_name"]; got != want {
		t.Errorf("common_name %q, want %q", got, want)
	}
	const nobody = "no client certificate found\nclient certificate must be supplied"
	if _, err := m.login(t, "", as()); err == nil || err.Error() != nobody {
		t.Errorf("without a certificate: %v", err)
	}
}
