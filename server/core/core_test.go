package core_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coffer/engines"
	"coffer/engines/kv"
	"coffer/server/core"
	"coffer/server/mounts"
	"coffer/storage"
	"coffer/storage/memory"
)

func newCore(store storage.Storage) *core.Core {
	return core.New(core.Config{
		Storage: store, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Types: map[mounts.Kind]map[string]engines.Factory{mounts.Secret: {"kv": kv.Factory}},
		Settings: core.Settings{DefaultLeaseTTL: 768 * time.Hour, MaxLeaseTTL: 768 * time.Hour, StorageType: "inmem",
			LogLevel: new(slog.LevelVar)},
		Build: core.Build{Version: "1.21.2", Date: "2026-01-01T00:00:00Z"},
	})
}

// server is an unsealed core with KV version 2 at secret/, its unseal key and root token.
func server(t *testing.T, store storage.Storage) (c *core.Core, key, root string) {
	t.Helper()
	c = newCore(store)
	key, token, err := c.InitDev(t.Context(), engines.Token{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Seal(); err != nil {
			t.Error(err)
		}
	})
	return c, key, token.Reveal()
}

func do(ctx context.Context, c *core.Core, token string, op engines.Operation, path string, params map[string]any) (
	*engines.Response, error,
) {
	reply, err := c.Handle(ctx, core.Call{
		ID: "id", Operation: op, Path: path, Params: params, Token: engines.NewToken(token),
		Client: engines.Client{Addr: netip.MustParseAddr("127.0.0.1")},
	})
	return reply.Response, err
}

func must(t *testing.T, c *core.Core, token string, op engines.Operation, path string, params map[string]any) *engines.Response {
	t.Helper()
	resp, err := do(t.Context(), c, token, op, path, params)
	if err != nil {
		t.Fatalf("%s %s: %v", op, path, err)
	}
	return resp
}

func newToken(t *testing.T, c *core.Core, root string, params map[string]any) string {
	t.Helper()
	return must(t, c, root, engines.Update, "auth/token/create", params).Auth.Token.Reveal()
}

func TestRefusalsHaveVaultsThreeForms(t *testing.T) {
	c, _, root := server(t, memory.New())
	plain := newToken(t, c, root, map[string]any{"policies": []any{"default"}})
	for name, tc := range map[string]struct {
		token, path, text string
		kind              error
	}{
		"no token":                    {"", "secret/data/x", "permission denied", engines.ErrDenied},
		"no token, unknown mount":     {"", "nope/x", "permission denied", engines.ErrDenied},
		"bad token":                   {"hvs.bad", "secret/data/x", engines.Numbered("permission denied", "invalid token"), engines.ErrDenied},
		"policy":                      {plain, "secret/data/x", engines.Numbered("permission denied"), engines.ErrDenied},
		"policy, unknown mount":       {plain, "nope/x", engines.Numbered("permission denied"), engines.ErrDenied},
		"unknown mount":               {root, "nope/x", `no handler for route "nope/x". route entry not found.`, engines.ErrNotFound},
		"unknown path":                {root, "sys/nope", engines.Numbered("unsupported path"), engines.ErrUnsupportedPath},
		"sudo without the capability": {plain, "auth/token/accessors/", engines.Numbered("permission denied"), engines.ErrDenied},
	} {
		op := engines.Read
		if strings.HasSuffix(tc.path, "/") {
			op = engines.List
		}
		_, err := do(t.Context(), c, tc.token, op, tc.path, nil)
		if !errors.Is(err, tc.kind) || err.Error() != tc.text {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSealedServesNothingAndUnsealFindsEverything(t *testing.T) {
	c, key, root := server(t, memory.New())
	must(t, c, root, engines.Update, "secret/data/x", map[string]any{"data": map[string]any{"k": "v"}})
	if err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	if _, err := do(t.Context(), c, root, engines.Read, "secret/data/x", nil); !errors.Is(err, engines.ErrSealed) {
		t.Errorf("while sealed: %v, want ErrSealed", err)
	}
	if _, err := c.Unseal(t.Context(), core.Call{Params: map[string]any{"key": key}}); err != nil {
		t.Fatal(err)
	}
	if resp := must(t, c, root, engines.Read, "secret/data/x", nil); !strings.Contains(string(resp.Encoded), `{"k":"v"}`) {
		t.Error("the secret is gone")
	}
}

func TestLimitedTokenIsUsedExactlySoOften(t *testing.T) {
	c, _, root := server(t, memory.New())
	limited := newToken(t, c, root, map[string]any{"num_uses": "7", "policies": []any{"default"}})
	var served atomic.Int32
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if _, err := do(t.Context(), c, limited, engines.Read, "auth/token/lookup-self", nil); err == nil {
				served.Add(1)
			} else if !errors.Is(err, engines.ErrDenied) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := served.Load(); n != 7 {
		t.Errorf("a token for 7 uses was used %d times", n)
	}
}

func TestTokenIsBoundToItsNetworks(t *testing.T) {
	c, _, root := server(t, memory.New())
	role := map[string]any{"bound_cidrs": []any{"10.0.0.0/8"}, "allowed_policies": []any{"default"}}
	must(t, c, root, engines.Update, "auth/token/roles/far", role)
	far := must(t, c, root, engines.Update, "auth/token/create/far", nil).Auth.Token.Reveal()
	_, err := do(t.Context(), c, far, engines.Read, "auth/token/lookup-self", nil)
	if !errors.Is(err, engines.ErrDenied) || err.Error() != "permission denied" {
		t.Errorf("from another network: %v", err)
	}
}

func TestDenyHoldsForListsOfTheFolderAndItsCase(t *testing.T) {
	c, _, root := server(t, memory.New())
	must(t, c, root, engines.Update, "secret/data/r/x", map[string]any{"data": map[string]any{"k": "v"}})
	must(t, c, root, engines.Update, "sys/policies/acl/p", map[string]any{"policy": `
		path "secret/metadata/*" { capabilities = ["list"] }
		path "secret/metadata/r/*" { capabilities = ["deny"] }
		path "secret/data/*" { capabilities = ["read"] }
		path "secret/data/r/x" { capabilities = ["deny"] }`})
	token := newToken(t, c, root, map[string]any{"policies": []any{"p"}})
	if _, err := do(t.Context(), c, token, engines.List, "secret/metadata/r/", nil); !errors.Is(err, engines.ErrDenied) {
		t.Errorf("list of a denied folder: %v, want ErrDenied", err)
	}
	if _, err := do(t.Context(), c, token, engines.Read, "secret/data/r/x", nil); !errors.Is(err, engines.ErrDenied) {
		t.Errorf("read of a denied secret: %v, want ErrDenied", err)
	}
	// Another case is another secret, which does not exist.
	if _, err := do(t.Context(), c, token, engines.Read, "secret/data/r/X", nil); !errors.Is(err, engines.ErrNotFound) {
		t.Errorf("read in another case: %v, want ErrNotFound", err)
	}
}

func TestRuleOutsideItsHoursGrantsNothing(t *testing.T) {
	c, _, root := server(t, memory.New())
	must(t, c, root, engines.Update, "secret/data/x", map[string]any{"data": map[string]any{"k": "v"}})
	for hours, granted := range map[string]bool{"Mon-Sun 00:00-24:00 UTC": true, otherDay(): false} {
		policy := fmt.Sprintf(`path "secret/data/x" { capabilities = ["read"] hours = [%q] }`, hours)
		must(t, c, root, engines.Update, "sys/policies/acl/hours", map[string]any{"policy": policy})
		token := newToken(t, c, root, map[string]any{"policies": []any{"hours"}})
		_, err := do(t.Context(), c, token, engines.Read, "secret/data/x", nil)
		if granted != (err == nil) {
			t.Errorf("%s: %v", hours, err)
		}
	}
}

// otherDay is a window on a day at least two days away, so that the test does not depend on the time.
func otherDay() string {
	return time.Now().UTC().Add(72 * time.Hour).Weekday().String()[:3] + " 00:00-24:00 UTC"
}

func TestFailedCreationLeavesNothing(t *testing.T) {
	store := memory.New()
	c, _, root := server(t, store)
	before := len(store.Contents())
	for _, params := range []map[string]any{
		{"ttl": "soon"}, {"type": "nope"}, {"num_uses": "-1"}, {"policies": []any{"default"}, "period": "x"},
	} {
		if _, err := do(t.Context(), c, root, engines.Update, "auth/token/create", params); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%v: %v, want ErrInvalid", params, err)
		}
	}
	if after := len(store.Contents()); after != before {
		t.Errorf("%d records more than before", after-before)
	}
}

func TestTokensLeaveNothingBehind(t *testing.T) {
	store := memory.New()
	c, _, root := server(t, store)
	before := len(store.Contents())
	for range 50 {
		token := newToken(t, c, root, map[string]any{"ttl": "1h", "policies": []any{"default"}})
		must(t, c, token, engines.Update, "cubbyhole/a/b", map[string]any{"k": "v"})
		must(t, c, token, engines.Update, "auth/token/revoke-self", nil)
		if _, err := do(t.Context(), c, token, engines.Read, "auth/token/lookup-self", nil); !errors.Is(err, engines.ErrDenied) {
			t.Fatalf("a revoked token: %v", err)
		}
	}
	if after := len(store.Contents()); after != before {
		t.Errorf("%d records more than before", after-before)
	}
}

func TestInitThatCannotStoreLeavesNothing(t *testing.T) {
	store := memory.New()
	c := newCore(store)
	bad := core.Call{Params: map[string]any{"secret_shares": "1", "secret_threshold": "1", "root_token_pgp_key": "AAAA"}}
	if _, err := c.Init(t.Context(), bad); err == nil {
		t.Fatal("a worthless PGP key was accepted")
	}
	if n := len(store.Contents()); n != 0 {
		t.Errorf("%d records were stored", n)
	}
}
