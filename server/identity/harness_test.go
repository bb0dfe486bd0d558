package identity

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

// fixedMounts are the mounts of the tests, by accessor.
type fixedMounts map[string]engines.Mount

func (m fixedMounts) ByAccessor(accessor string) (engines.Mount, bool) {
	mount, ok := m[accessor]
	return mount, ok
}

const (
	ldap = "auth_ldap_1"
	jwt  = "auth_jwt_1"
)

type fixture struct {
	t      testing.TB
	base   storage.Storage
	store  *Store
	router *engines.Router
}

func newFixture(t testing.TB) *fixture { return openFixture(t, memory.New()) }

func openFixture(t testing.TB, base storage.Storage) *fixture {
	t.Helper()
	store, err := New(t.Context(), Config{
		Storage: base, Prefix: "logical/identity/", Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Mounts: fixedMounts{ldap: {Path: "auth/ldap/", Type: "ldap"}, jwt: {Path: "auth/jwt/", Type: "jwt"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	router, err := engines.NewRouter(store.Engine())
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t: t, base: base, store: store, router: router}
}

type params = map[string]any

func (f *fixture) try(op engines.Operation, path string, p params) (map[string]any, error) {
	f.t.Helper()
	m, ok := f.router.Match(f.t.Context(), op, path)
	if !ok {
		return nil, engines.ErrUnsupportedPath
	}
	resp, err := m.Call(f.t.Context(), &engines.Request{Operation: op, Path: path, Params: p})
	if err != nil {
		return nil, err
	}
	return resp.Data, nil
}

func (f *fixture) do(op engines.Operation, path string, p params) map[string]any {
	f.t.Helper()
	data, err := f.try(op, path, p)
	if err != nil {
		f.t.Fatalf("%s %s: %v", op, path, err)
	}
	return data
}

func (f *fixture) write(path string, p params) map[string]any {
	f.t.Helper()
	return f.do(engines.Update, path, p)
}

// make writes what is new and returns its id.
func (f *fixture) make(path string, p params) string {
	f.t.Helper()
	id, ok := f.write(path, p)["id"].(string)
	if !ok {
		f.t.Fatalf("%s made nothing", path)
	}
	return id
}

// login logs in as the pipeline does: the changes are applied, then settled.
func (f *fixture) login(a token.Alias) (token.Entity, error) {
	return login(f.t.Context(), f.store, f.store.cfg.Storage, a)
}

func login(ctx context.Context, s *Store, base storage.Storage, a token.Alias) (token.Entity, error) {
	e, err := s.Login(ctx, a)
	if err != nil {
		return e, err
	}
	if len(e.Changes) > 0 {
		err = base.Apply(ctx, e.Changes...)
	}
	e.Settle(err)
	return e, err
}

func (f *fixture) mustLogin(a token.Alias) token.Entity {
	f.t.Helper()
	e, err := f.login(a)
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

func (f *fixture) policies(entity string) []string {
	f.t.Helper()
	h, err := f.store.Holder(f.t.Context(), entity)
	if err != nil {
		f.t.Fatal(err)
	}
	return h.Policies()
}

func (f *fixture) refused(entity string, want error) {
	f.t.Helper()
	if _, err := f.store.Holder(f.t.Context(), entity); !errors.Is(err, want) {
		f.t.Errorf("holder of %s: %v, want %v", entity, err, want)
	}
}

// dump is everything the store knows, as text.
func (f *fixture) dump() string {
	f.t.Helper()
	var text []byte
	err := f.store.view(f.t.Context(), func(x *index) {
		var err error
		text, err = json.MarshalIndent(map[string]any{
			"entities": x.entities, "names": x.names, "merged": x.merged, "aliases": x.aliases, "groups": x.groups,
			"groupNames": x.groupNames, "groupAliases": x.groupAliases, "memberships": x.memberships, "parents": x.parents,
			"logins": len(x.logins), "groupLogins": len(x.groupLogins),
		}, "", " ")
		if err != nil {
			f.t.Fatal(err)
		}
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}
