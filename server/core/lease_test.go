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
	// before is called within the handler, during while the secret is made, when they are set.
	before, during func()
	// makes is what making a secret ends in once it is made.
	makes error
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
	if e.before != nil {
		e.before()
	}
	return &engines.Response{Data: map[string]any{"user": p.Name}, Secret: &engines.Secret{
		TTL: p.TTL, MaxTTL: p.MaxTTL, Renewable: true, Internal: map[string]any{"user": p.Name},
		Changes: []storage.Op{storage.Put("issued/"+p.Name, nil)},
		Make: func(context.Context) (engines.Made, error) {
			e.mu.Lock()
			e.alive[p.Name] = true
			e.mu.Unlock()
			if e.during != nil {
				e.during()
			}
			return engines.Made{Data: map[string]any{"password": "p"}}, e.makes
		},
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
	c = newLeaseServer(store, db)
	key, token, err := c.InitDev(t.Context(), engines.Token{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	root = token.Reveal()
	must(t, c, root, engines.Update, "sys/mounts/db", map[string]any{"type": "db"})
	return c, key, root
}

func newLeaseServer(store storage.Storage, db *issued) *core.Core {
	return core.New(core.Config{
		Storage: store, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Types: map[mounts.Kind]map[string]engines.Factory{mounts.Secret: {"db": db.factory, "kv": db.factory}},
		Settings: core.Settings{DefaultLeaseTTL: time.Hour, MaxLeaseTTL: 24 * time.Hour, StorageType: "inmem",
			LogLevel: new(slog.LevelVar)},
		Build: core.Build{Version: "1.21.2", Date: "2026-01-01T00:00:00Z"},
	})
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
		if resp.Data["user"] != "a" || resp.Data["password"] != "p" {
			t.Errorf("%v", resp.Data)
		}
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

// TestSecretOfATokenThatIsRevokedMeanwhile revokes the token while the engine issues a secret for it.
func TestSecretOfATokenThatIsRevokedMeanwhile(t *testing.T) {
	for _, moment := range []string{"in the handler", "while it is made"} {
		inLeases(t, func(t *testing.T, c *core.Core, _, root string, db *issued) {
			mayIssue(t, c, root)
			token := newToken(t, c, root, map[string]any{"policies": []any{"p"}})
			revoke := func() { must(t, c, token, engines.Update, "auth/token/revoke-self", nil) }
			if moment == "in the handler" {
				db.before = revoke
			} else {
				db.during = revoke
			}
			if _, err := do(t.Context(), c, token, engines.Update, "db/creds/a", nil); !errors.Is(err, engines.ErrDenied) {
				t.Errorf("%s: %v, want ErrDenied", moment, err)
			}
			if names := db.names(); len(names) != 0 {
				t.Errorf("%s: it outlives the token: %v", moment, names)
			}
		})
	}
}

// TestSecretThatIsNotMade is taken back, and the client is told what the engine says.
func TestSecretThatIsNotMade(t *testing.T) {
	inLeases(t, func(t *testing.T, c *core.Core, _, root string, db *issued) {
		db.makes = engines.Failed("half of it failed")
		if _, err := do(t.Context(), c, root, engines.Update, "db/creds/a", nil); !errors.Is(err, db.makes) {
			t.Errorf("%v, want %v", err, db.makes)
		}
		if names := db.names(); len(names) != 0 {
			t.Errorf("half a secret lives: %v", names)
		}
		db.breakDown(true)
		if _, err := do(t.Context(), c, root, engines.Update, "db/creds/a", nil); !errors.Is(err, db.makes) {
			t.Errorf("%v, want %v", err, db.makes)
		}
		db.breakDown(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if names := db.names(); len(names) != 0 {
			t.Errorf("it is not taken back later: %v", names)
		}
	})
}

// TestMountThatIsRemovedWhileASecretIsMade: the removal waits for the request, and takes the secret back.
func TestMountThatIsRemovedWhileASecretIsMade(t *testing.T) {
	for _, moment := range []string{"in the handler", "while it is made"} {
		inLeases(t, func(t *testing.T, c *core.Core, _, root string, db *issued) {
			removed := make(chan struct{})
			remove := func() {
				go func() {
					defer close(removed)
					must(t, c, root, engines.Delete, "sys/mounts/db", nil)
				}()
				synctest.Wait()
			}
			if moment == "in the handler" {
				db.before = remove
			} else {
				db.during = remove
			}
			_, err := do(t.Context(), c, root, engines.Update, "db/creds/a", nil)
			<-removed
			if names := db.names(); len(names) != 0 {
				t.Errorf("%s: it outlives the mount: %v (%v)", moment, names, err)
			}
		})
	}
}

// crashing is a store whose contents are copied before and after each commit.
type crashing struct {
	*memory.Store
	copies [][]storage.Op
}

// Apply implements storage.Storage.
func (c *crashing) Apply(ctx context.Context, batch ...storage.Op) error {
	c.copies = append(c.copies, c.Contents())
	err := c.Store.Apply(ctx, batch...)
	c.copies = append(c.copies, c.Contents())
	return err
}

// TestCrashWhileASecretIsMade lets the server die at each step of issuing a secret, and start again on what was stored
// then: what was made is either leased to the client or taken back.
func TestCrashWhileASecretIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, store := newIssued(), &crashing{Store: memory.New()}
		c, key, root := leaseServer(t, store, db)
		store.copies = nil
		db.during = func() { store.copies = append(store.copies, store.Contents()) }
		must(t, c, root, engines.Update, "db/creds/a", nil)
		sealNow(t, c)
		if len(store.copies) < 5 {
			t.Fatalf("%d steps", len(store.copies))
		}
		// The first copy is from before anything was announced, the last one has the lease that the client was given.
		for step := 1; step < len(store.copies); step++ {
			made := newIssued()
			made.alive["a"] = true // as if it had been made: who crashed may not know
			after := restart(t, store.copies[step], key, made)
			synctest.Wait()
			alive := len(made.names()) == 1
			_, err := do(t.Context(), after, root, engines.List, "sys/leases/lookup/db/creds/a/", nil)
			if want := step == len(store.copies)-1; alive != want || (err == nil) != want {
				t.Errorf("step %d: alive %v, leases: %v, want %v", step, alive, err, want)
			}
			sealNow(t, after)
		}
	})
}

// restart opens a server on a copy of what was stored.
func restart(t *testing.T, contents []storage.Op, key string, db *issued) *core.Core {
	t.Helper()
	store := memory.New()
	if err := store.Apply(t.Context(), contents...); err != nil {
		t.Fatal(err)
	}
	c := newLeaseServer(store, db)
	if _, err := c.Unseal(t.Context(), core.Call{Params: map[string]any{"key": key}}); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNoSecretIsForgotten makes every call to storage fail in both forms while a secret is issued: either the
// client has its lease, or the secret was taken back.
func TestNoSecretIsForgotten(t *testing.T) {
	for _, call := range []storagetest.Call{storagetest.Get, storagetest.Apply} {
		for _, form := range []storagetest.Form{
			storagetest.NotWritten, storagetest.WrittenButFailed, storagetest.WrittenLater, storagetest.DroppedLater,
		} {
			for nth := range 4 {
				synctest.Test(t, func(t *testing.T) {
					db := newIssued()
					faulty := storagetest.NewFaulty(memory.New())
					c, _, root := leaseServer(t, faulty, db)
					defer sealNow(t, c)
					faulty.Fail(call, nth+1, form)
					resp, err := do(t.Context(), c, root, engines.Update, "db/creds/a", nil)
					time.Sleep(time.Minute) // what is left is taken back as soon as storage serves again
					synctest.Wait()
					if alive := len(db.names()) == 1; alive != (err == nil) {
						t.Errorf("%s %d, %s: %v, %v, alive %v", call, nth+1, form, resp, err, alive)
					}
				})
			}
		}
	}
}
