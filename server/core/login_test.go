package core_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/auth/approle"
	"coffer/auth/userpass"
	"coffer/engines"
	"coffer/engines/kv"
	"coffer/server/core"
	"coffer/server/lockout"
	"coffer/server/mounts"
	"coffer/storage/memory"
)

// lockAfter is how many failures lock a user out in these tests, and lockFor for how long.
const (
	lockAfter = 5
	lockFor   = 15 * time.Minute
)

// loginServer is an unsealed server with the methods mounted under their names.
func loginServer(t *testing.T, store *memory.Store) (c *core.Core, root string) {
	t.Helper()
	c, _, root = loginServerAndKey(t, store)
	return c, root
}

// loginServerAndKey is loginServer with the unseal key.
func loginServerAndKey(t *testing.T, store *memory.Store) (c *core.Core, key, root string) {
	t.Helper()
	c = core.New(core.Config{
		Storage: store, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Types: map[mounts.Kind]map[string]engines.Factory{mounts.Auth: {
			"approle": approle.Factory, "userpass": userpass.NewFactory(userpass.NewHasher(2)),
		}, mounts.Secret: {"kv": kv.Factory}},
		Settings: core.Settings{DefaultLeaseTTL: 768 * time.Hour, MaxLeaseTTL: 768 * time.Hour, StorageType: "inmem",
			LogLevel: new(slog.LevelVar), Lockout: func(string) lockout.Policy {
				return lockout.Policy{Threshold: lockAfter, Duration: lockFor, CounterReset: lockFor}
			}},
		Build: core.Build{Version: "1.21.2", Date: "2026-01-01T00:00:00Z"},
	})
	key, token, err := c.InitDev(t.Context(), engines.Token{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	root = token.Reveal()
	for _, typ := range []string{"approle", "userpass"} {
		must(t, c, root, engines.Update, "sys/auth/"+typ, map[string]any{"type": typ})
	}
	return c, key, root
}

// testHash is the bcrypt hash, of the least cost, of "pw".
const testHash = "$2a$04$PiVrMtRskzN9JI612b8fjOz2DSg3E/uKIS3prXl2OHB0T/pDiAkui"

func addUser(t *testing.T, c *core.Core, root, name string) {
	t.Helper()
	must(t, c, root, engines.Update, "auth/userpass/users/"+name, map[string]any{"password_hash": testHash})
}

func login(t *testing.T, c *core.Core, name, password string) error {
	t.Helper()
	_, err := do(t.Context(), c, "", engines.Update, "auth/userpass/login/"+name, map[string]any{"password": password})
	return err
}

func TestLimitedSecretIDBuysExactlySoManyTokens(t *testing.T) {
	for _, typ := range []string{"service", "batch"} {
		t.Run(typ, func(t *testing.T) {
			c, root := loginServer(t, memory.New())
			defer sealNow(t, c)
			must(t, c, root, engines.Update, "auth/approle/role/r", map[string]any{"role_id": "r", "token_type": typ})
			id := must(t, c, root, engines.Update, "auth/approle/role/r/secret-id", map[string]any{"num_uses": "7"}).Data["secret_id"]
			var won atomic.Int32
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() {
					resp, err := do(t.Context(), c, "", engines.Update, "auth/approle/login",
						map[string]any{"role_id": "r", "secret_id": id})
					switch {
					case err == nil && !resp.Auth.Token.IsZero():
						won.Add(1)
					case !errors.Is(err, engines.ErrCredentials) && !errors.Is(err, engines.ErrDenied):
						t.Error(err)
					}
				})
			}
			all.Wait()
			if n := won.Load(); n != 7 {
				t.Errorf("a secret id for 7 uses bought %d tokens", n)
			}
		})
	}
}

func TestFailedLoginLeavesNothing(t *testing.T) {
	store := memory.New()
	c, root := loginServer(t, store)
	defer sealNow(t, c)
	must(t, c, root, engines.Update, "auth/approle/role/r", map[string]any{"role_id": "r", "token_policies": "root"})
	limited := map[string]any{"num_uses": "3", "ttl": "1h"}
	id := must(t, c, root, engines.Update, "auth/approle/role/r/secret-id", limited).Data["secret_id"]
	addUser(t, c, root, "me")
	must(t, c, root, engines.Update, "auth/userpass/users/far", map[string]any{
		"password_hash": testHash, "token_bound_cidrs": "10.0.0.0/8"})
	before := store.Contents()
	for _, tc := range []struct {
		path   string
		params map[string]any
	}{
		{"auth/approle/login", map[string]any{"role_id": "r", "secret_id": "x"}},
		{"auth/approle/login", map[string]any{"role_id": "x", "secret_id": id}},
		{"auth/approle/login", map[string]any{"role_id": "r", "secret_id": id}}, // as root
		{"auth/userpass/login/me", map[string]any{"password": "x"}},
		{"auth/userpass/login/me", map[string]any{"password": ""}},
		{"auth/userpass/login/me", map[string]any{"password": []any{"pw"}}},
		{"auth/userpass/login/you", map[string]any{"password": "pw"}},
		{"auth/userpass/login/far", map[string]any{"password": "pw"}},
		{"auth/userpass/login/a b", map[string]any{"password": "pw"}},
	} {
		if resp, err := do(t.Context(), c, "", engines.Update, tc.path, tc.params); err == nil {
			t.Errorf("%s: %+v", tc.path, resp)
		}
	}
	if diff := cmp.Diff(before, store.Contents()); diff != "" {
		t.Errorf("stored (-before +after):\n%s", diff)
	}
}

func TestLockoutCannotBePassedByAnotherSpelling(t *testing.T) {
	c, root := loginServer(t, memory.New())
	defer sealNow(t, c)
	addUser(t, c, root, "user")
	for _, name := range []string{"User", "user", "USER", "uSer", "usER"} {
		if err := login(t, c, name, "no"); !errors.Is(err, engines.ErrCredentials) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"user", "User", "USER"} {
		if err := login(t, c, name, "pw"); !errors.Is(err, engines.ErrDenied) {
			t.Errorf("%s after %d failures: %v", name, lockAfter, err)
		}
	}
	for _, name := range []string{" user", "user ", "user\t", "user/", "./user"} {
		if err := login(t, c, name, "pw"); err == nil {
			t.Errorf("%q came through", name)
		}
	}
}

// However many guesses are made at once, after so many failures none comes through.
func TestLockoutCannotBePassedAllAtOnce(t *testing.T) {
	c, root := loginServer(t, memory.New())
	defer sealNow(t, c)
	addUser(t, c, root, "user")
	var refused atomic.Int32
	var all sync.WaitGroup
	for range 60 {
		all.Go(func() {
			err := login(t, c, "user", "no")
			if errors.Is(err, engines.ErrCredentials) {
				refused.Add(1)
			} else if !errors.Is(err, engines.ErrDenied) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := refused.Load(); n != lockAfter {
		t.Errorf("%d guesses were answered, want %d", n, lockAfter)
	}
}

func TestUnknownUserIsAnsweredLikeAWrongPassword(t *testing.T) {
	c, root := loginServer(t, memory.New())
	defer sealNow(t, c)
	addUser(t, c, root, "known")
	for i := range lockAfter + 2 {
		known, unknown := login(t, c, "known", "no"), login(t, c, "unknown", "no")
		if known == nil || unknown == nil || known.Error() != unknown.Error() ||
			errors.Is(known, engines.ErrInvalid) != errors.Is(unknown, engines.ErrInvalid) {
			t.Errorf("attempt %d: known %v, unknown %v", i, known, unknown)
		}
	}
}

func TestLockEndsOnTimeAndOutlivesASeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		c, root := loginServer(t, store)
		addUser(t, c, root, "user")
		for range lockAfter {
			_ = login(t, c, "user", "no") // counted
		}
		time.Sleep(lockFor - time.Second)
		if err := login(t, c, "user", "pw"); !errors.Is(err, engines.ErrDenied) {
			t.Errorf("before its end: %v", err)
		}
		time.Sleep(time.Second)
		if err := login(t, c, "user", "pw"); err != nil {
			t.Errorf("after its end: %v", err)
		}
		sealNow(t, c)
		synctest.Wait()
	})
}

func TestRenewalDoesNotPassTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root := loginServer(t, memory.New())
		for _, typ := range []string{"token_max_ttl", "token_explicit_max_ttl"} {
			must(t, c, root, engines.Update, "auth/userpass/users/me",
				map[string]any{"password_hash": testHash, "token_ttl": "10m", typ: "30m"})
			token := must(t, c, "", engines.Update, "auth/userpass/login/me", map[string]any{"password": "pw"}).Auth.Token.Reveal()
			renew := func() *engines.Response {
				return must(t, c, token, engines.Update, "auth/token/renew-self", map[string]any{"increment": "1h"})
			}
			for range 2 {
				time.Sleep(9 * time.Minute)
				renew()
			}
			// The role's settings of later cannot make the token's life longer than it was bound to.
			time.Sleep(12*time.Minute - time.Second)
			if left := renew().Auth.LeaseDuration; left > time.Second {
				t.Errorf("%s: a second before its end the token got %s", typ, left)
			}
			time.Sleep(time.Second)
			if _, err := do(t.Context(), c, token, engines.Read, "auth/token/lookup-self", nil); !errors.Is(err, engines.ErrDenied) {
				t.Errorf("%s: after its end: %v", typ, err)
			}
			must(t, c, root, engines.Delete, "auth/userpass/users/me", nil)
		}
		sealNow(t, c)
		synctest.Wait()
	})
}

func TestExplicitEndStaysThoughTheUserGetsALongerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, root := loginServer(t, memory.New())
		user := "auth/userpass/users/me"
		must(t, c, root, engines.Update, user, map[string]any{"password_hash": testHash, "token_explicit_max_ttl": "30m"})
		token := must(t, c, "", engines.Update, "auth/userpass/login/me", map[string]any{"password": "pw"}).Auth.Token.Reveal()
		must(t, c, root, engines.Update, user, map[string]any{"token_explicit_max_ttl": "10h", "token_period": "5h"})
		resp := must(t, c, token, engines.Update, "auth/token/renew-self", map[string]any{"increment": "9h"})
		if got := resp.Auth.LeaseDuration; got > 30*time.Minute {
			t.Errorf("the token got %s", got)
		}
		sealNow(t, c)
		synctest.Wait()
	})
}

// slow is an auth method whose logins do something on the way.
type slow struct{ meanwhile func() }

func (s slow) Routes() *engines.Routes {
	return engines.Compile(engines.Path("login", "Log in.", engines.Unauthenticated(), engines.OnUpdate(
		func(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
			s.meanwhile()
			return &engines.Response{Login: &engines.Login{Policies: []string{"p"}}}, nil
		})))
}

// TestLoginAtAMountThatGoes takes the method away while it works: its mount has no tokens then, and gets none.
func TestLoginAtAMountThatGoes(t *testing.T) {
	for name, tc := range map[string]struct{ typ, path, from string }{
		"removed":            {engines.DefaultServiceToken, "sys/auth/slow", ""},
		"moved":              {engines.DefaultServiceToken, "sys/remount", "auth/slow"},
		"with a batch token": {engines.BatchToken, "sys/auth/slow", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			var c *core.Core
			var root string
			gone := make(chan struct{})
			method := slow{func() {
				go func() { // the removal waits for this login
					defer close(gone)
					if tc.from == "" {
						must(t, c, root, engines.Delete, tc.path, nil)
						return
					}
					must(t, c, root, engines.Update, tc.path, map[string]any{"from": tc.from, "to": "auth/other"})
				}()
				synctest.Wait()
			}}
			c = core.New(core.Config{
				Storage: memory.New(), Logger: slog.New(slog.DiscardHandler), Now: time.Now,
				Types: map[mounts.Kind]map[string]engines.Factory{
					mounts.Auth: {"slow": func(context.Context, engines.Config) (engines.Engine, error) {
						return method, nil
					}},
					mounts.Secret: {"kv": kv.Factory},
				},
				Settings: core.Settings{DefaultLeaseTTL: time.Hour, MaxLeaseTTL: time.Hour, StorageType: "inmem",
					LogLevel: new(slog.LevelVar)},
				Build: core.Build{Version: "1.21.2", Date: "2026-01-01T00:00:00Z"},
			})
			_, token, err := c.InitDev(t.Context(), engines.Token{}, 2)
			if err != nil {
				t.Fatal(err)
			}
			root = token.Reveal()
			must(t, c, root, engines.Update, "sys/auth/slow", map[string]any{"type": "slow",
				"config": map[string]any{"token_type": tc.typ}})
			resp, err := do(t.Context(), c, "", engines.Update, "auth/slow/login", nil)
			if !errors.Is(err, engines.ErrNotFound) {
				t.Errorf("%s: %+v, %v, want ErrNotFound", name, resp, err)
			}
			<-gone
			keys, _ := must(t, c, root, engines.List, "auth/token/accessors/", nil).Data["keys"].([]string)
			if len(keys) != 1 {
				t.Errorf("%s: %d tokens live, want the root token alone", name, len(keys))
			}
			sealNow(t, c)
		})
	}
}
