package userpass_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"coffer/auth"
	"coffer/auth/userpass"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// mount is a mount of the method.
type mount struct {
	engine engines.Engine
	router *engines.Router
}

func open(t testing.TB, s storage.Storage) *mount {
	t.Helper()
	e, err := userpass.NewFactory(userpass.NewHasher(2))(t.Context(), engines.Config{
		Mount: engines.Mount{Path: "auth/userpass/", Type: "userpass"}, Storage: s, Logger: slog.New(slog.DiscardHandler),
		Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	router, err := engines.NewRouter(e)
	if err != nil {
		t.Fatal(err)
	}
	return &mount{e, router}
}

func (m *mount) do(ctx context.Context, op engines.Operation, path string, params map[string]any) (*engines.Response, error) {
	match, ok := m.router.Match(ctx, op, path)
	if !ok {
		return nil, engines.ErrUnsupportedPath
	}
	req := &engines.Request{Operation: op, Path: path, Params: params,
		Client: engines.Client{Addr: netip.MustParseAddr("127.0.0.1")}}
	return match.Call(ctx, req)
}

func (m *mount) must(t testing.TB, op engines.Operation, path string, params map[string]any) *engines.Response {
	t.Helper()
	resp, err := m.do(t.Context(), op, path, params)
	if err != nil {
		t.Fatalf("%s %s: %v", op, path, err)
	}
	return resp
}

// weak is a hash of the least cost.
func weak(t testing.TB, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func TestPasswordIsStoredAsAHashAlone(t *testing.T) {
	store := memory.New()
	m := open(t, store)
	m.must(t, engines.Update, "users/me", map[string]any{"password": "correct horse"})
	for _, record := range store.Contents() {
		if got := string(record.Value); len(got) == 0 || containsPassword(got) {
			t.Errorf("%s: %s", record.Key, got)
		}
	}
	resp := m.must(t, engines.Read, "users/me", nil)
	for name := range resp.Data {
		if name == "password" || name == "password_hash" || name == "hash" {
			t.Errorf("a read shows %s", name)
		}
	}
	if resp := m.must(t, engines.Update, "login/me", map[string]any{"password": "correct horse"}); resp.Login == nil {
		t.Error("no login")
	}
}

func containsPassword(s string) bool {
	for i := range s {
		if len(s)-i >= 7 && s[i:i+7] == "correct" {
			return true
		}
	}
	return false
}

func TestHashesThatAreNoneOrTooMuchAreRefused(t *testing.T) {
	m := open(t, memory.New())
	rest := "no9FZQ0MNW8D.Po4yGApA.1UohozWZsp/WTp6FNSfIkUpA9/xXm1O"
	for hash, ok := range map[string]bool{
		"$2a$10$" + rest: true, "$2b$12$" + rest: true, "$2y$16$" + rest: true,
		"$2a$17$" + rest: false, "$2a$31$" + rest: false, "$2x$10$" + rest: false, "$2a$xx$" + rest: false,
		"$2a$10$": false, "plain": false,
	} {
		_, err := m.do(t.Context(), engines.Update, "users/me", map[string]any{"password_hash": hash})
		if ok != (err == nil) {
			t.Errorf("%s: %v", hash, err)
		}
	}
}

func TestRenewalAsksTheUser(t *testing.T) {
	m := open(t, memory.New())
	m.must(t, engines.Update, "users/me", map[string]any{"password_hash": weak(t, "pw"), "token_policies": "B,a", "token_ttl": "5m"})
	renewer, ok := m.engine.(engines.LoginRenewer)
	if !ok {
		t.Fatal("tokens cannot be renewed")
	}
	holder := &engines.Caller{Policies: []string{"a", "b", "default"}, Metadata: map[string]string{"username": "me"}}
	l, err := renewer.RenewLogin(t.Context(), &engines.Renewal{Holder: holder})
	if err != nil || l.TTL != 5*time.Minute {
		t.Errorf("%+v, %v", l, err)
	}
	m.must(t, engines.Update, "users/me/policies", map[string]any{"token_policies": "a,c"})
	if _, err := renewer.RenewLogin(t.Context(), &engines.Renewal{Holder: holder}); !errors.Is(err, engines.ErrFailed) {
		t.Errorf("with other policies: %v", err)
	}
	m.must(t, engines.Delete, "users/me", nil)
	if _, err := renewer.RenewLogin(t.Context(), &engines.Renewal{Holder: holder}); !errors.Is(err, engines.ErrNoRenewal) {
		t.Errorf("without the user: %v", err)
	}
}

func TestWhoWaitsForAHashGivesUpWithItsRequest(t *testing.T) {
	h := userpass.NewHasher(0) // never a slot
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := h.Matches(ctx, netip.Addr{}, nil, []byte("pw")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("compare: %v", err)
		}
		if _, err := h.Hash(ctx, netip.Addr{}, []byte("pw")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hash: %v", err)
		}
	})
}

// TestFloodOfOneClient: who guesses from one address keeps himself waiting, and is refused in the end.
func TestFloodOfOneClient(t *testing.T) {
	h := userpass.NewHasher(0)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		attempt := func(client string) error {
			_, err := h.Matches(ctx, netip.MustParseAddr(client), nil, []byte("pw"))
			return err
		}
		for range 64 {
			go func() { _ = attempt("10.0.0.1") }()
		}
		synctest.Wait()
		if err := attempt("10.0.0.1"); !errors.Is(err, auth.ErrBusy) {
			t.Errorf("one more: %v", err)
		}
		if err := attempt("10.0.0.2"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("another client: %v", err)
		}
	})
}

func TestOnlySoManyHashesAtATime(t *testing.T) {
	h := userpass.NewHasher(2)
	hash := []byte(weak(t, "pw"))
	var right atomic.Int32
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			password := []byte("pw")
			if i%2 == 1 {
				password = []byte("no")
			}
			ok, err := h.Matches(t.Context(), netip.Addr{}, hash, password)
			if err != nil {
				t.Error(err)
			}
			if ok {
				right.Add(1)
			}
		})
	}
	all.Wait()
	if n := right.Load(); n != 25 {
		t.Errorf("%d passwords were right, want 25", n)
	}
}

// A fault at any point leaves the old password or the new one.
func TestFaultsLeaveAWholeUser(t *testing.T) {
	storagetest.EachFault(t, func(*testing.T) storage.Storage { return memory.New() },
		func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
			open(t, base).must(t, engines.Update, "users/me", map[string]any{"password_hash": weak(t, "old")})
			_, err := open(t, faulty).do(t.Context(), engines.Update, "users/me/password", map[string]any{"password_hash": weak(t, "new")})
			after := open(t, base)
			worked := 0
			for _, password := range []string{"old", "new"} {
				if _, loginErr := after.do(t.Context(), engines.Update, "login/me", map[string]any{"password": password}); loginErr == nil {
					worked++
					if err == nil && password == "old" {
						t.Error("the old password is still good")
					}
				}
			}
			if worked != 1 {
				t.Errorf("%d passwords work", worked)
			}
		})
}
