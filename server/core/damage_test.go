package core_test

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/auth/approle"
	"coffer/auth/userpass"
	barrierseal "coffer/barrier/seal"
	"coffer/engines"
	"coffer/engines/kv"
	"coffer/server/core"
	"coffer/server/lockout"
	"coffer/server/mounts"
	"coffer/storage"
	"coffer/storage/memory"
)

// damageCore is a sealed server over store, under a seal or Shamir's.
func damageCore(store storage.Storage, auto barrierseal.Auto) *core.Core {
	return core.New(core.Config{
		Storage: store, Seal: auto, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Types: map[mounts.Kind]map[string]engines.Factory{mounts.Auth: {
			"approle": approle.Factory, "userpass": userpass.NewFactory(userpass.NewHasher(2)),
		}, mounts.Secret: {"kv": kv.Factory}},
		Settings: core.Settings{DefaultLeaseTTL: 768 * time.Hour, MaxLeaseTTL: 768 * time.Hour, StorageType: "inmem",
			LogLevel: new(slog.LevelVar), RawStorage: true, Lockout: func(string) lockout.Policy {
				return lockout.Policy{Threshold: lockAfter, Duration: lockFor, CounterReset: lockFor}
			}},
		Build: core.Build{Version: "1.21.2", Date: "2026-01-01T00:00:00Z"},
	})
}

// everything is a server that stores at least one of every kind of record, and two of nearly every kind.
type everything struct {
	*core.Core
	// seal opens it: a share would have memory scrubbed each time.
	seal  barrierseal.Auto
	roots []string
	// paths are read in pairs: one damaged record leaves one of each.
	pairs [][2]string
}

func newEverything(t *testing.T, store storage.Storage) *everything {
	t.Helper()
	auto := newKeyFiles("one").seal("one")
	e := &everything{Core: damageCore(store, auto), seal: auto}
	_, token, err := e.InitDev(t.Context(), engines.Token{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	root := token.Reveal()
	e.roots = []string{root, newToken(t, e.Core, root, map[string]any{"policies": []any{"root"}, "no_parent": true})}
	set := func(path string, params map[string]any) map[string]any {
		resp := must(t, e.Core, root, engines.Update, path, params)
		if resp == nil {
			return nil
		}
		return resp.Data
	}
	pair := func(one, other string, params map[string]any) {
		set(one, params)
		set(other, params)
		e.pairs = append(e.pairs, [2]string{one, other})
	}
	set("sys/auth/userpass", map[string]any{"type": "userpass"})
	set("sys/auth/approle", map[string]any{"type": "approle"})
	set("sys/auth/people", map[string]any{"type": "userpass"})
	set("sys/mounts/kv1", map[string]any{"type": "kv"})
	set("sys/auth/token/tune", map[string]any{"description": "tuned"})
	pair("secret/data/x", "kv1/x", map[string]any{"data": map[string]any{"k": "v"}})
	set("cubbyhole/x", map[string]any{"k": "v"})
	pair("sys/policy/p", "sys/policy/q", map[string]any{"policy": `path "secret/*" { capabilities = ["read"] }`})
	pair("sys/policies/password/p", "sys/policies/password/q", map[string]any{"policy": onlyAs})
	pair("auth/userpass/users/ann", "auth/people/users/ann", map[string]any{"password_hash": testHash})
	pair("auth/token/roles/r", "auth/token/roles/s", map[string]any{"allowed_policies": "p"})
	pair("auth/approle/role/r", "auth/approle/role/s", map[string]any{"token_policies": "p"})
	e.pairs = e.pairs[:len(e.pairs)-1] // they have a mount and its key in common
	set("auth/approle/role/r/secret-id", map[string]any{})
	entity := fmt.Sprint(set("identity/entity", map[string]any{"name": "e", "policies": "p"})["id"])
	other := fmt.Sprint(set("identity/entity", map[string]any{"name": "f", "policies": "p"})["id"])
	e.pairs = append(e.pairs, [2]string{"identity/entity/id/" + entity, "identity/entity/id/" + other})
	accessor := must(t, e.Core, root, engines.Read, "sys/auth/userpass", nil).Data["accessor"]
	set("identity/entity-alias", map[string]any{"name": "ann", "canonical_id": entity, "mount_accessor": accessor})
	group := fmt.Sprint(set("identity/group", map[string]any{"name": "g", "policies": "p", "member_entity_ids": entity})["id"])
	group2 := fmt.Sprint(set("identity/group", map[string]any{"name": "h", "policies": "q"})["id"])
	e.pairs = append(e.pairs, [2]string{"identity/group/id/" + group, "identity/group/id/" + group2})
	method := fmt.Sprint(set("identity/mfa/method/totp", map[string]any{"issuer": "x"})["method_id"])
	method2 := fmt.Sprint(set("identity/mfa/method/totp", map[string]any{"issuer": "y"})["method_id"])
	e.pairs = append(e.pairs, [2]string{"identity/mfa/method/totp/" + method, "identity/mfa/method/totp/" + method2})
	set("identity/mfa/method/totp/admin-generate", map[string]any{"method_id": method, "entity_id": entity})
	pair("identity/mfa/login-enforcement/a", "identity/mfa/login-enforcement/b",
		map[string]any{"mfa_method_ids": method, "identity_entity_ids": other})
	set("identity/oidc/config", map[string]any{"issuer": "https://coffer.test"})
	pair("identity/oidc/key/k", "identity/oidc/key/l", map[string]any{"algorithm": "EdDSA", "allowed_client_ids": "*"})
	pair("identity/oidc/role/k", "identity/oidc/role/l", map[string]any{"key": "k"})
	set("sys/config/cors", map[string]any{"allowed_origins": "https://pages.test"})
	newToken(t, e.Core, root, map[string]any{"policies": []any{"p"}})
	must(t, e.Core, "", engines.Update, "auth/userpass/login/ann", map[string]any{"password": "pw"})
	for range lockAfter {
		if login(t, e.Core, "ann", "wrong") == nil {
			t.Fatal("logged in with a wrong password")
		}
	}
	set("sys/audit/a", map[string]any{"type": "file", "options": map[string]any{"file_path": "discard"}})
	return e
}

// over is the same server over another store, sealed.
func (e *everything) over(store storage.Storage) *everything {
	other := *e
	other.Core = damageCore(store, e.seal)
	return &other
}

// copied returns a store with what another one holds, after change.
func copied(t *testing.T, contents []storage.Op, change func(storage.Op) storage.Op) *memory.Store {
	t.Helper()
	batch := make([]storage.Op, len(contents))
	for i, op := range contents {
		batch[i] = change(storage.Put(op.Key, slices.Clone(op.Value)))
	}
	store := memory.New()
	if err := store.Apply(t.Context(), batch...); err != nil {
		t.Fatal(err)
	}
	return store
}

// found reads everything and returns what sys/damaged tells, by key.
func (e *everything) found(t *testing.T) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	if _, err := e.ask(t, engines.Update, "sys/damaged/check"); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(10 * time.Second); ; <-time.After(time.Millisecond) {
		resp, err := e.ask(t, engines.Read, "sys/damaged")
		if err != nil {
			t.Fatal(err)
		}
		if resp.Data["checking"] == true {
			if time.Now().After(limit) {
				t.Fatal("the check does not end")
			}
			continue
		}
		records, _ := resp.Data["records"].([]any)
		for _, r := range records {
			r, _ := r.(map[string]any)
			found[fmt.Sprint(r["key"])] = r
		}
		return found
	}
}

// ask asks with one of the root tokens that can be read.
func (e *everything) ask(t *testing.T, op engines.Operation, path string) (resp *engines.Response, err error) {
	t.Helper()
	for _, root := range e.roots {
		if resp, err = do(t.Context(), e.Core, root, op, path, nil); err == nil {
			return resp, nil
		}
	}
	return nil, err
}

// wantServed wants one of each pair.
func (e *everything) wantServed(t *testing.T, what string) {
	t.Helper()
	for _, pair := range e.pairs {
		_, err := e.ask(t, engines.Read, pair[0])
		_, other := e.ask(t, engines.Read, pair[1])
		if err != nil && other != nil {
			t.Errorf("%s: neither of %q is served: %v, %v", what, pair, err, other)
		}
	}
}

// rootsOfTrust are the records without which the server stays sealed: those below the barrier tell how it is opened and
// what was stored last, and behind it everything hangs on two.
var rootsOfTrust = []string{"core/keyring", "core/encryptions/", "core/manifest/", "core/seal-config", "core/root-key",
	"core/recovery-key", "core/cluster", "sys/token/keys"}

func isRootOfTrust(err error) bool {
	return slices.ContainsFunc(rootsOfTrust, func(key string) bool { return strings.Contains(err.Error(), key) })
}

// TestOneFlippedBit flips a bit in each stored record, one at a time: the server opens, names that record and no
// other, serves the rest, and serves without it for good once it was given up.
func TestOneFlippedBit(t *testing.T) {
	base := memory.New()
	whole := newEverything(t, base)
	keys := map[string]bool{}
	whole.walk(t, "", keys)
	if err := whole.Seal(); err != nil {
		t.Fatal(err)
	}
	contents := base.Contents()
	sealed := map[string]int{}
	named := map[string]bool{}
	for i, damaged := range contents {
		if strings.HasPrefix(damaged.Key, "core/manifest/") && i%16 != 0 && !strings.HasSuffix(damaged.Key, "root") {
			continue // they are all alike
		}
		store := copied(t, contents, func(op storage.Op) storage.Op {
			if op.Key == damaged.Key && len(op.Value) > 0 {
				op.Value[len(op.Value)/2] ^= 0x10
			}
			return op
		})
		e := whole.over(store)
		if err := e.AutoUnseal(t.Context()); err != nil {
			if !isRootOfTrust(err) && !slices.Contains(rootsOfTrust, damaged.Key) {
				t.Errorf("one record keeps the server sealed: %s: %v", damaged.Key, err)
			}
			sealed[strings.SplitN(damaged.Key, "/", 2)[0]]++
			continue
		}
		if !strings.HasPrefix(damaged.Key, "barrier/") {
			t.Errorf("the server opens with a bit of %s flipped", damaged.Key)
		}
		for key := range e.giveUpOne(t) {
			if named[key] {
				t.Errorf("%s was named before", key)
			}
			named[key] = true
		}
		if err := e.Seal(); err != nil {
			t.Error(err)
		}
	}
	if sealed["barrier"] != 2 {
		t.Errorf("%d records behind the barrier keep the server sealed; want the cluster and the tokens' keys", sealed["barrier"])
	}
	for key := range keys {
		if !named[key] && !slices.Contains(rootsOfTrust, key) {
			t.Errorf("a damaged %s was named by nobody", key)
		}
	}
}

// giveUpOne wants one record in sys/damaged and all else served; then it gives it up, and wants all served.
func (e *everything) giveUpOne(t *testing.T) map[string]map[string]any {
	t.Helper()
	found := e.found(t)
	if len(found) != 1 {
		t.Errorf("found %v; want one record", slices.Collect(maps.Keys(found)))
	}
	for key, record := range found {
		if record["kind"] != "audit" {
			e.wantServed(t, key)
		} else if _, err := e.ask(t, engines.Read, "secret/data/x"); err == nil {
			t.Error("served though nobody knows the audit devices")
		}
		health, err := e.Health(t.Context())
		if err != nil || health.DamagedRecords != 1 {
			t.Errorf("%s: health %+v, %v", key, health, err)
		}
		if _, err := e.ask(t, engines.Delete, "sys/damaged/"+fmt.Sprint(record["id"])); err != nil {
			t.Errorf("%s cannot be given up: %v", key, err)
		}
		e.wantServed(t, key+" was given up")
		if err := e.Seal(); err != nil {
			t.Fatal(err)
		}
		if err := e.AutoUnseal(t.Context()); err != nil {
			t.Fatalf("%s was given up: %v", key, err)
		}
		if left := e.found(t); len(left) > 0 {
			t.Errorf("%s was given up, and after the next start there is %v", key, left)
		}
	}
	return found
}

// walk collects all keys behind the barrier below a folder.
func (e *everything) walk(t *testing.T, folder string, keys map[string]bool) {
	t.Helper()
	resp, err := e.ask(t, engines.List, "sys/raw/"+folder)
	if err != nil {
		t.Fatal(err)
	}
	names, _ := resp.Data["keys"].([]string)
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			e.walk(t, folder+name, keys)
		} else {
			keys[folder+name] = true
		}
	}
}

// TestOneFlippedBitInAName is TestOneFlippedBit for the names under which records are stored.
func TestOneFlippedBitInAName(t *testing.T) {
	base := memory.New()
	whole := newEverything(t, base)
	if err := whole.Seal(); err != nil {
		t.Fatal(err)
	}
	contents := base.Contents()
	for _, damaged := range contents {
		if !strings.HasPrefix(damaged.Key, "barrier/") {
			continue
		}
		store := copied(t, contents, func(op storage.Op) storage.Op {
			if op.Key == damaged.Key {
				name := []byte(op.Key)
				at := len(name) - 4
				if name[at]++; name[at] == '{' || name[at] == '[' || name[at] == ':' || name[at] == '.' || name[at] == '`' {
					name[at] = 'a'
				}
				op.Key = string(name)
			}
			return op
		})
		e := whole.over(store)
		if err := e.AutoUnseal(t.Context()); err != nil {
			if !isRootOfTrust(err) {
				t.Errorf("one name keeps the server sealed: %s: %v", damaged.Key, err)
			}
			continue
		}
		found := e.found(t)
		audit := slices.ContainsFunc(slices.Collect(maps.Values(found)), func(r map[string]any) bool { return r["kind"] == "audit" })
		if len(found) < 1 || len(found) > 2 {
			t.Errorf("found %v; want the folder, and the key if it is known", slices.Collect(maps.Keys(found)))
		}
		if !audit {
			e.wantServed(t, fmt.Sprint(slices.Collect(maps.Keys(found))))
		}
		for key, record := range found {
			if _, err := e.ask(t, engines.Delete, "sys/damaged/"+fmt.Sprint(record["id"])); err != nil {
				t.Errorf("%s cannot be given up: %v", key, err)
			}
		}
		if left := e.found(t); len(left) > 0 {
			t.Errorf("%v were given up, and there is %v", slices.Collect(maps.Keys(found)), left)
		}
		e.wantServed(t, "all was given up")
		if err := e.Seal(); err != nil {
			t.Error(err)
		}
	}
}
