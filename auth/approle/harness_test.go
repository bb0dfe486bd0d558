package approle_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"coffer/auth/approle"
	"coffer/engines"
	"coffer/storage"
)

type fixedTTLs struct{}

func (fixedTTLs) DefaultTTL() time.Duration { return 768 * time.Hour }
func (fixedTTLs) MaxTTL() time.Duration     { return 768 * time.Hour }

// mount is a mount of the method with what a server has around it.
type mount struct {
	storage storage.Storage
	router  *engines.Router
}

// open makes a mount over s that ends with the test.
func open(ctx context.Context, t testing.TB, s storage.Storage) *mount {
	t.Helper()
	m, err := tryOpen(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tryOpen(ctx context.Context, s storage.Storage) (*mount, error) {
	e, err := approle.Factory(ctx, engines.Config{
		Mount: engines.Mount{Path: "auth/approle/", Type: "approle"}, Storage: s, Logger: slog.New(slog.DiscardHandler),
		Now: time.Now, TTLs: fixedTTLs{}, Background: func(work func(context.Context)) { go work(ctx) },
	})
	if err != nil {
		return nil, err
	}
	router, err := engines.NewRouter(e)
	if err != nil {
		return nil, err
	}
	return &mount{storage: s, router: router}, nil
}

// do makes a request. Like the server it commits what a login costs and then releases it.
func (m *mount) do(ctx context.Context, op engines.Operation, path string, params map[string]any) (*engines.Response, error) {
	match, ok := m.router.Match(ctx, op, path)
	if !ok {
		return nil, engines.ErrUnsupportedPath
	}
	req := &engines.Request{Operation: op, Path: path, Params: params,
		Client: engines.Client{Addr: netip.MustParseAddr("127.0.0.1")}}
	if op == engines.Update && match.ChecksExistence() {
		exists, err := match.Exists(ctx, req)
		if err != nil {
			return nil, err
		}
		if !exists {
			req.Operation = engines.Create
		}
	}
	resp, err := match.Call(ctx, req)
	if err != nil || resp.Login == nil {
		return resp, err
	}
	if resp.Login.Release != nil {
		defer resp.Login.Release()
	}
	if len(resp.Login.Spend) > 0 {
		err = m.storage.Apply(ctx, resp.Login.Spend...)
	}
	return resp, err
}

func (m *mount) must(t testing.TB, op engines.Operation, path string, params map[string]any) *engines.Response {
	t.Helper()
	resp, err := m.do(t.Context(), op, path, params)
	if err != nil {
		t.Fatalf("%s %s: %v", op, path, err)
	}
	return resp
}

// secretID issues a secret id of the role.
func (m *mount) secretID(t testing.TB, role string, params map[string]any) (id, accessor string) {
	t.Helper()
	data := m.must(t, engines.Update, "role/"+role+"/secret-id", params).Data
	return text(t, data["secret_id"]), text(t, data["secret_id_accessor"])
}

func text(t testing.TB, v any) string {
	t.Helper()
	s, ok := v.(string)
	if !ok {
		t.Fatalf("%v is no text", v)
	}
	return s
}

// login tries to log in; ok is false for wrong credentials, any other error ends the test.
func (m *mount) login(t testing.TB, roleID, secretID string) (l *engines.Login, ok bool) {
	t.Helper()
	resp, err := m.do(t.Context(), engines.Update, "login", map[string]any{"role_id": roleID, "secret_id": secretID})
	if errors.Is(err, engines.ErrCredentials) {
		return nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	return resp.Login, true
}

// yielding is a storage that lets others go first at every call, so that what can run at once does.
type yielding struct{ storage.Storage }

func (y yielding) Get(ctx context.Context, key string) ([]byte, error) {
	runtime.Gosched()
	defer runtime.Gosched()
	return y.Storage.Get(ctx, key)
}

func (y yielding) Apply(ctx context.Context, batch ...storage.Op) error {
	runtime.Gosched()
	defer runtime.Gosched()
	return y.Storage.Apply(ctx, batch...)
}
