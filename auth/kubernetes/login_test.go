package kubernetes

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"coffer/auth"
	"coffer/engines"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestLogin(t *testing.T) {
	a := newAPI(t)
	m := configured(t, a, nil)
	k := esoToken()
	k.audience = []string{"kubernetes", "vault"}
	jwt := signed(t, jose.ES256, newKey(t), k.claims())
	a.knows(jwt, "prod", "eso", "u-1")
	resp, err := m.call(t.Context(), engines.Update, "login", object{"role": "app", "jwt": jwt})
	if err != nil {
		t.Fatal(err)
	}
	meta := map[string]string{"service_account_name": "eso", "service_account_namespace": "prod",
		"service_account_secret_name": "", "service_account_uid": "u-1"}
	want := &engines.Login{DisplayName: "prod-eso", Policies: []string{"p"}, TTL: 10 * time.Minute, Alias: "u-1",
		AliasMetadata: meta, Metadata: map[string]string{"role": "app"}, Internal: map[string]any{"role": "app"}}
	for name, value := range meta {
		want.Metadata[name] = value
	}
	resp.Login.StillGood = nil // see below
	if diff := cmp.Diff(want, resp.Login, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("login (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Bearer " + reviewer}, a.bearers); diff != "" {
		t.Errorf("bearers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]string{{"vault"}}, a.asked); diff != "" {
		t.Errorf("audiences (-want +got):\n%s", diff)
	}
}

func TestLoginIsNotGoodAnyMore(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*mount, *api)
		want   string
	}{
		{"nothing", func(*mount, *api) {}, ""},
		{"another role", func(m *mount, _ *api) { m.must(t, "role/other", bound(object{})) }, ""},
		{"the role's policies", func(m *mount, _ *api) { m.must(t, "role/app", object{"token_policies": "q"}) },
			auth.ErrChanged.Error()},
		{"the role deleted", func(m *mount, _ *api) { m.do(t, engines.Delete, "role/app", nil) }, auth.ErrChanged.Error()},
		{"the ServiceAccount deleted", func(_ *mount, a *api) {
			a.mu.Lock()
			defer a.mu.Unlock()
			clear(a.tokens)
		}, errDenied.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAPI(t)
			m := configured(t, a, nil)
			jwt := signed(t, jose.ES256, newKey(t), esoToken().claims())
			a.knows(jwt, "prod", "eso", "u-1")
			resp, err := m.call(t.Context(), engines.Update, "login", object{"role": "app", "jwt": jwt})
			if err != nil {
				t.Fatal(err)
			}
			tt.change(m, a)
			got := ""
			if err := resp.Login.StillGood(t.Context()); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
