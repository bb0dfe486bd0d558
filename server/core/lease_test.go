package core_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"coffer/engines"
	"coffer/server/core"
	"coffer/server/mounts"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// issuer is a small engine that issues leased secrets: all that the next such engine needs.
type issuer struct {
	*issued
}

// issued outlives the engine, as the users of a database do.
type issued struct {
	mu sync.Mutex
	// alive are the secrets that work; guarded by mu, as is broken.
	alive  map[string]bool
	broken bool
	// before is called within the handler, when it is set.
	before func()
}

func newIssued() *issued { return &issued{alive: make(map[string]bool)} }

func (i *issued) factory(context.Context, engines.Config) (engines.Engine, error) {
	return issuer{i}, nil
}

func (i *issued) names() (names []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for name := range maps.Keys(i.alive) {
		names = append(names, name)
	}
	return names
}

func (i *issued) breakDown(broken bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.broken = broken
}

type credsParams struct {
	Name   string        `path:"name"`
	TTL    time.Duration `param:"ttl"`
	MaxTTL time.Duration `param:"max_ttl"`
}

func (e issuer) Routes() *engines.Routes {
	return engines.Compile(engines.Path("creds/{name}", "Issue a secret.", engines.OnUpdate(e.issue)))
}

func (e issuer) issue(_ context.Context, _ *engines.Request, p credsParams) (*engines.Response, error) {
	e.mu.Lock()
	e.alive[p.Name] = true
	e.mu.Unlock()
	if e.before != nil {
		e.before()
	}
	return &engines.Response{Data: map[string]any{"user": p.Name}, Secret: &engines.Secret{
		TTL: p.TTL, MaxTTL: p.MaxTTL, Renewable: true, Internal: map[string]any{"user": p.Name},
	}}, nil
}

func (issuer) RenewSecret(context.Context, engines.Lease, time.Duration) (engines.LeaseGrant, error) {
	return engines.LeaseGrant{}, nil
}

func (e issuer) RevokeSecret(_ context.Context, l engines.Lease) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken {
		return errors.New("the database is away")
	}
	if user, _ := l.Internal["user"].(string); user == "" || l.Path != "creds/"+user {
		return errors.New("not what was issued")
	}
	delete(e.alive, l.Internal["user"].(string))
	return nil
}

// leaseServer is an unsealed server with the engine at db/.
func leaseServer(t *testing.T, store storage.Storage, db *issued) (c *core.Core, key, root string) {
	t.Helper()
	c = core.New(core.Config{
		Storage: store, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Types: map[mounts.Kind]map[string]engines.Factory{mounts.Secret: {"db": db.factory, "kv": db.factory}},
		Settings: core.Settings{DefaultLeaseTTL: time.Hour, MaxLeaseTTL: 24 * time.Hour, StorageType: "inmem",
			LogLevel: new(slog.LevelVar)},
		Build: core.Build{Version: "1.21.2", Date: "2026-01-01T00:00:00Z"},
	})
	key, token, err := c.InitDev(t.Context(), engines.Token{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	root = token.Reveal()
	must(t, c, root, engines.Update, "sys/mounts/db", map[string]any{"type": "db"})
	return c, key, root
}

// mayIssue writes the policy p, which permits issuing secrets and making tokens.
func mayIssue(t *testing.T, c *core.Core, root string) {
	t.Helper()
	must(t, c, root, engines.Update, "sys/policies/acl/p", map[string]any{"policy": `
		path "db/*" { capabilities = ["update"] }
		path "auth/token/create" { capabilities = ["update"] }`})
}

func sealNow(t *testing.T, c *core.Core) {
	t.Helper()
	if err := c.Seal(); err != nil {
		t.Error(err)
	}
}

// inLeases runs a test in a bubble with a server whose engine issues leases.
func inLeases(t *testing.T, f func(t *testing.T, c *core.Core, key, root string, db *issued)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		db := newIssued()
		c, key, root := leaseServer(t, memory.New(), db)
		defer sealNow(t, c)
		f(t, c, key, root, db)
	})
}

func TestLeasedSecretEndsOnTimeAcrossASeal(t *testing.T) {
	inLeases(t, func(t *testing.T, c *core.Core, key, root string, db *issued) {
		resp := must(t, c, root, engines.Update, "db/creds/a", nil)
		if s := resp.Secret; !strings.HasPrefix(s.LeaseID, "db/creds/a/") || s.TTL != time.Hour || !s.Renewable {
			t.Fatalf("%+v", s)
		}
		look := must(t, c, root, engines.Update, "sys/leases/lookup", map[string]any{"lease_id": resp.Secret.LeaseID})
		if look.Data["renewable"] != true {
			t.Errorf("lookup: %v", look.Data)
		}
		time.Sleep(30 * time.Minute)
		sealNow(t, c)
		if _, err := c.Unseal(t.Context(), core.Call{Params: map[string]any{"key": key}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(29 * time.Minute)
		synctest.Wait()
		if len(db.names()) != 1 {
			t.Error("it ended early")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(db.names()) != 0 {
			t.Error("it lives on")
		}
	})
}

func TestLeasesOfSecretsStayWithinTheLimits(t *testing.T) {
	inLeases(t, func(t *testing.T, c *core.Core, _, root string, db *issued) {
		must(t, c, root, engines.Update, "sys/mounts/db/tune", map[string]any{"max_lease_ttl": "2h"})
		resp := must(t, c, root, engines.Update, "db/creds/a", map[string]any{"ttl": "5h"})
		if resp.Secret.TTL != 2*time.Hour || len(resp.Warnings) != 1 {
			t.Errorf("%v, %q", resp.Secret.TTL, resp.Warnings)
		}
		resp = must(t, c, root, engines.Update, "db/creds/b", map[string]any{"ttl": "40m", "max_ttl": "1h"})
		id := map[string]any{"lease_id": resp.Secret.LeaseID, "increment": "50m"}
		time.Sleep(30 * time.Minute)
		if s := must(t, c, root, engines.Update, "sys/leases/renew", id).Secret; s.TTL != 30*time.Minute {
			t.Errorf("renewed for %v", s.TTL)
		}
		// One second before the end another renewal gives one second.
		time.Sleep(30*time.Minute - time.Second)
		must(t, c, root, engines.Update, "sys/leases/renew", id)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if names := db.names(); len(names) != 1 || names[0] != "a" {
			t.Errorf("alive past max_ttl: %v", names)
		}
		if _, err := do(t.Context(), c, root, engines.Update, "sys/leases/renew", id); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("renewal of what is gone: %v", err)
		}
	})
}

func TestLeasedSecretEndsWithItsToken(t *testing.T) {
	inLeases(t, func(t *testing.T, c *core.Core, _, root string, db *issued) {
		mayIssue(t, c, root)
		service := newToken(t, c, root, map[string]any{"policies": []any{"p"}})
		batch := newToken(t, c, service, map[string]any{"policies": []any{"p"}, "type": "batch", "ttl": "10m"})
		must(t, c, service, engines.Update, "db/creds/service", nil)
		must(t, c, batch, engines.Update, "db/creds/parent", nil)
		resp := must(t, c, batch, engines.Update, "db/creds/batch", nil)
		if resp.Secret.TTL != 10*time.Minute {
			t.Errorf("a batch token for 10 minutes got a secret for %v", resp.Secret.TTL)
		}
		time.Sleep(9 * time.Minute)
		must(t, c, root, engines.Update, "sys/leases/renew", map[string]any{"lease_id": resp.Secret.LeaseID})
		must(t, c, service, engines.Update, "auth/token/revoke-self", nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if names := db.names(); len(names) != 0 {
			t.Errorf("they outlive the token: %v", names)
		}
	})
}

func TestRenewalNeverOutlivesABatchToken(t *testing.T) {
	inLeases(t, func(t *testing.T, c *core.Core, _, root string, db *issued) {
		mayIssue(t, c, root)
		batch := newToken(t, c, root, map[string]any{"policies": []any{"p"}, "type": "batch", "ttl": "10m", "no_parent": true})
		id := map[string]any{"lease_id": must(t, c, batch, engines.Update, "db/creds/a", nil).Secret.LeaseID}
		time.Sleep(9 * time.Minute)
		must(t, c, root, engines.Update, "sys/leases/renew", id)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if names := db.names(); len(names) != 0 {
			t.Errorf("it outlives the token: %v", names)
		}
	})
}

func TestNothingIsGivenInATokensLastUse(t *testing.T) {
	inLeases(t, func(t *testing.T, c *core.Core, _, root string, db *issued) {
		mayIssue(t, c, root)
		once := newToken(t, c, root, map[string]any{"policies": []any{"p"}, "num_uses": "1"})
		if _, err := do(t.Context(), c, once, engines.Update, "db/creds/a", nil); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
		if names := db.names(); len(names) != 0 {
			t.Errorf("a secret that nobody got lives: %v", names)
		}
	})
}

func TestRemovedMountTakesItsSecretsBack(t *testing.T) {
	inLeases(t, func(t *testing.T, c *core.Core, key, root string, db *issued) {
		must(t, c, root, engines.Update, "db/creds/a", nil)
		db.breakDown(true)
		if _, err := do(t.Context(), c, root, engines.Delete, "sys/mounts/db", nil); err == nil {
			t.Fatal("removed though what it issued lives")
		}
		if _, err := do(t.Context(), c, root, engines.Update, "db/creds/b", nil); !errors.Is(err, engines.ErrNotFound) {
			t.Errorf("half removed it still serves: %v", err)
		}
		// The next unseal does not fail for it, and finishes once the engine can.
		sealNow(t, c)
		db.breakDown(false)
		if _, err := c.Unseal(t.Context(), core.Call{Params: map[string]any{"key": key}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if names := db.names(); len(names) != 0 {
			t.Errorf("they outlive the mount: %v", names)
		}
		must(t, c, root, engines.Update, "sys/mounts/db", map[string]any{"type": "db"})
	})
}

func TestMovedMountTakesItsSecretsBack(t *testing.T) {
	inLeases(t, func(t *testing.T, c *core.Core, _, root string, db *issued) {
		must(t, c, root, engines.Update, "db/creds/a", nil)
		must(t, c, root, engines.Update, "sys/remount", map[string]any{"from": "db", "to": "other"})
		synctest.Wait()
		if names := db.names(); len(names) != 0 {
			t.Errorf("they outlive the path: %v", names)
		}
		must(t, c, root, engines.Update, "other/creds/a", nil)
	})
}

// TestSecretOfAMountThatIsRemovedMeanwhile removes the mount while its engine issues a secret.
func TestSecretOfAMountThatIsRemovedMeanwhile(t *testing.T) {
	inLeases(t, func(t *testing.T, c *core.Core, _, root string, db *issued) {
		db.before = func() { must(t, c, root, engines.Delete, "sys/mounts/db", nil) }
		if _, err := do(t.Context(), c, root, engines.Update, "db/creds/a", nil); !errors.Is(err, engines.ErrNotFound) {
			t.Errorf("%v, want ErrNotFound", err)
		}
		if names := db.names(); len(names) != 0 {
			t.Errorf("it outlives the mount: %v", names)
		}
	})
}

// TestSecretOfATokenThatIsRevokedMeanwhile revokes the token while the engine issues a secret for it.
func TestSecretOfATokenThatIsRevokedMeanwhile(t *testing.T) {
	inLeases(t, func(t *testing.T, c *core.Core, _, root string, db *issued) {
		mayIssue(t, c, root)
		token := newToken(t, c, root, map[string]any{"policies": []any{"p"}})
		db.before = func() { must(t, c, token, engines.Update, "auth/token/revoke-self", nil) }
		if _, err := do(t.Context(), c, token, engines.Update, "db/creds/a", nil); !errors.Is(err, engines.ErrDenied) {
			t.Errorf("%v, want ErrDenied", err)
		}
		if names := db.names(); len(names) != 0 {
			t.Errorf("it outlives the token: %v", names)
		}
	})
}

// TestNoSecretIsForgotten makes every call to storage fail in both forms while a secret is issued: either the
// client has its lease, or the secret was taken back.
func TestNoSecretIsForgotten(t *testing.T) {
	for _, call := range []storagetest.Call{storagetest.Get, storagetest.Apply} {
		for _, form := range []storagetest.Form{storagetest.NotWritten, storagetest.WrittenButFailed} {
			synctest.Test(t, func(t *testing.T) {
				db := newIssued()
				faulty := storagetest.NewFaulty(memory.New())
				c, _, root := leaseServer(t, faulty, db)
				defer sealNow(t, c)
				faulty.Fail(call, 1, form)
				resp, err := do(t.Context(), c, root, engines.Update, "db/creds/a", nil)
				if alive := len(db.names()) == 1; alive != (err == nil) {
					t.Errorf("%s, %s: %v, %v, alive %v", call, form, resp, err, alive)
				}
			})
		}
	}
}
