package token

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"coffer/engines"
	"coffer/policy"
	"coffer/storage"
	"coffer/storage/memory"
)

// fakeLeases remembers when leases end.
type fakeLeases struct {
	mu      sync.Mutex
	expires map[string]time.Time
	// revoking is what Revoking returns.
	revoking func(path string, issued time.Time) bool
}

func (f *fakeLeases) Issue(_ string, at time.Time) (time.Time, func()) { return at, func() {} }

func (f *fakeLeases) Revoking() func(string, time.Time) bool { return f.revoking }

func (f *fakeLeases) SetToken(id string, ends time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expires[id] = ends
}

func (f *fakeLeases) RemoveToken(_ context.Context, id, _ string) ([]storage.Op, func(), error) {
	return nil, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.expires, id)
	}, nil
}

// fakePolicies knows the policies p, q and default, and gives sudo to holders of "su".
type fakePolicies struct{}

func (fakePolicies) Exists(_ context.Context, name string) (bool, error) {
	return strings.Contains(" p q su default root ", " "+name+" "), nil
}

func (fakePolicies) Sudo(_ context.Context, c *engines.Caller, _ string) (bool, error) {
	for _, name := range c.Policies {
		if name == "su" || name == policy.RootName {
			return true, nil
		}
	}
	return false, nil
}

type fixedTTLs struct{}

func (fixedTTLs) DefaultTTL() time.Duration { return 768 * time.Hour }
func (fixedTTLs) MaxTTL() time.Duration     { return 768 * time.Hour }

// fixture is a store with its engine, and a clock that the test moves.
type fixture struct {
	t       testing.TB
	store   *Store
	leases  *fakeLeases
	base    storage.Storage
	router  *engines.Router
	root    *Entry
	clockMu sync.Mutex
	clock   time.Time
}

func (f *fixture) now() time.Time {
	f.clockMu.Lock()
	defer f.clockMu.Unlock()
	return f.clock
}

func (f *fixture) pass(d time.Duration) {
	f.clockMu.Lock()
	defer f.clockMu.Unlock()
	f.clock = f.clock.Add(d)
}

const cubbyholes = "logical/cubbyhole/"

func newFixture(t testing.TB) *fixture { return openFixture(t, memory.New()) }

// openFixture opens a store over base and makes a root token in it.
func openFixture(t testing.TB, base storage.Storage) *fixture {
	t.Helper()
	f := &fixture{
		t: t, leases: &fakeLeases{expires: map[string]time.Time{}}, base: base,
		clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	var err error
	f.store, err = NewStore(t.Context(), Config{
		Storage: base, Leases: f.leases, Policies: fakePolicies{}, Sudo: fakePolicies{}, Now: f.now,
		CubbyholePrefix: cubbyholes,
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.router, err = engines.NewRouter(f.store.Engine(engines.Config{TTLs: fixedTTLs{}})); err != nil {
		t.Fatal(err)
	}
	root, err := f.store.CreateRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.root = f.entry(root)
	return f
}

func (f *fixture) entry(token engines.Token) *Entry {
	f.t.Helper()
	e, err := f.store.Authenticate(context.Background(), token)
	if err != nil {
		f.t.Fatalf("Authenticate: %v", err)
	}
	return e
}

type params = map[string]any

// call runs a request of the holder of e.
func (f *fixture) call(e *Entry, op engines.Operation, path string, p params) (*engines.Response, error) {
	m, ok := f.router.Match(context.Background(), op, path)
	if !ok {
		return nil, engines.ErrUnsupportedPath
	}
	return m.Call(context.Background(), &engines.Request{
		Operation: op, Path: path, Params: p, Caller: e.Caller, Token: e.Caller.Token,
		Mount: &engines.Mount{Path: "auth/token/", Type: "token"},
	})
}

// make makes a token and returns its entry.
func (f *fixture) make(by *Entry, p params) *Entry { return f.makeAt(by, "create", p) }

func (f *fixture) makeAt(by *Entry, path string, p params) *Entry {
	f.t.Helper()
	resp, err := f.call(by, engines.Update, path, p)
	if err != nil {
		f.t.Fatalf("%s %v: %v", path, p, err)
	}
	return f.entry(resp.Auth.Token)
}

// write runs a write that must succeed.
func (f *fixture) write(e *Entry, path string, p params) *engines.Response {
	f.t.Helper()
	resp, err := f.call(e, engines.Update, path, p)
	if err != nil {
		f.t.Fatalf("%s %v: %v", path, p, err)
	}
	return resp
}

func (f *fixture) lookup(e *Entry) map[string]any {
	f.t.Helper()
	return f.write(f.root, "lookup", params{"token": e.Caller.Token.Reveal()}).Data
}

func (f *fixture) alive(e *Entry) bool {
	f.t.Helper()
	_, err := f.store.Authenticate(context.Background(), e.Caller.Token)
	if err != nil && !errors.Is(err, ErrBadToken) {
		f.t.Fatal(err)
	}
	return err == nil
}

// keys are all keys in the store.
func keysOf(t testing.TB, s storage.Storage) []string {
	t.Helper()
	keys, err := below(context.Background(), s, "", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func texts(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
