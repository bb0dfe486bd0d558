package core_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"coffer/engines"
	"coffer/server/core"
	"coffer/storage"
	"coffer/storage/memory"
)

// stored returns the records below the barrier by their keys.
func stored(store *memory.Store) map[string][]byte {
	all := map[string][]byte{}
	for _, op := range store.Contents() {
		all[op.Key] = bytes.Clone(op.Value)
	}
	return all
}

// putBack makes every encrypted record, the manifest aside, what it was before.
func putBack(t *testing.T, store *memory.Store, before map[string][]byte) {
	t.Helper()
	now := stored(store)
	keys := maps.Clone(before)
	maps.Copy(keys, now)
	n := 0
	for key := range keys {
		old, was := before[key]
		if !strings.HasPrefix(key, "barrier/") || was && bytes.Equal(old, now[key]) {
			continue
		}
		op := storage.Delete(key)
		if was {
			op = storage.Put(key, old)
		}
		if err := store.Apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n == 0 {
		t.Fatal("nothing was put back")
	}
}

// wantDamaged wants an error that names the key of a record that is not the one stored last.
func wantDamaged(t *testing.T, what, key string, err error) {
	t.Helper()
	if !errors.Is(err, storage.ErrDamaged) || !strings.Contains(err.Error(), key) {
		t.Errorf("%s: %v; want an error that names %s", what, err, key)
	}
}

// TestReplayedRecordsAreRefused puts what was stored before a change back under each key of its own, in the open
// server and in one that is sealed and opened again.
func TestReplayedRecordsAreRefused(t *testing.T) {
	login := func(c *core.Core, _, _ string) error {
		_, err := do(t.Context(), c, "", engines.Update, "auth/userpass/login/ann", map[string]any{"password": "old"})
		return err
	}
	readSecret := func(c *core.Core, weak, _ string) error {
		_, err := do(t.Context(), c, weak, engines.Read, "secret/data/x", nil)
		return err
	}
	readPath := func(path string) func(c *core.Core, weak, root string) error {
		return func(c *core.Core, _, root string) error {
			_, err := do(t.Context(), c, root, engines.Read, path, nil)
			return err
		}
	}
	for _, test := range []struct {
		name   string
		op     engines.Operation
		path   string
		params map[string]any
		// try is what the old record would allow.
		try func(c *core.Core, weak, root string) error
		key string
	}{
		{"a policy that was wider", engines.Update, "sys/policy/app", map[string]any{"policy": `path "none" {}`}, readSecret, "sys/policy/app"},
		{"a policy that was deleted", engines.Delete, "sys/policy/app", nil, readSecret, "sys/policy/app"},
		{"the password of a user", engines.Update, "auth/userpass/users/ann", map[string]any{"password": "new"}, login, "/user/ann"},
		{"a user who was deleted", engines.Delete, "auth/userpass/users/ann", nil, login, "/user/ann"},
		{"a role of tokens", engines.Update, "auth/token/roles/r", map[string]any{"allowed_policies": "none"}, readPath("auth/token/roles/r"), "roles/r"},
		{"a role of AppRole", engines.Delete, "auth/approle/role/r", nil, readPath("auth/approle/role/r"), "/role/r"},
		{"a password policy that asked for less", engines.Update, "sys/policies/password/p",
			map[string]any{"policy": "length = 20\nrule \"charset\" { charset = \"abc\" }"},
			readPath("sys/policies/password/p/generate"), "core/password-policy/p"},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := memory.New()
			c, key, root := loginServerAndKey(t, store)
			must(t, c, root, engines.Update, "secret/data/x", map[string]any{"data": map[string]any{"k": "v"}})
			must(t, c, root, engines.Update, "sys/policy/app", map[string]any{"policy": `path "secret/*" { capabilities = ["read"] }`})
			must(t, c, root, engines.Update, "auth/userpass/users/ann", map[string]any{"password": "old"})
			must(t, c, root, engines.Update, "sys/policies/password/p", map[string]any{"policy": onlyAs})
			must(t, c, root, engines.Update, "auth/token/roles/r", map[string]any{"allowed_policies": "app"})
			must(t, c, root, engines.Update, "auth/approle/role/r", map[string]any{"token_policies": "app"})
			weak := newToken(t, c, root, map[string]any{"policies": []any{"app"}})
			if err := test.try(c, weak, root); err != nil {
				t.Fatal(err)
			}
			before := stored(store)
			must(t, c, root, test.op, test.path, test.params)
			putBack(t, store, before)
			wantDamaged(t, "in the open server", test.key, test.try(c, weak, root))
			if err := c.Seal(); err != nil {
				t.Fatal(err)
			}
			if _, err := unsealBy(t, c, key, false); err != nil {
				t.Fatalf("one record keeps the server sealed: %v", err)
			}
			wantDamaged(t, "after unsealing", test.key, test.try(c, weak, root))
		})
	}
}

// TestRevokedRootTokenStaysRevoked puts back all that is stored of a root token after its revocation.
func TestRevokedRootTokenStaysRevoked(t *testing.T) {
	store := memory.New()
	c, key, root := server(t, store)
	other := newToken(t, c, root, map[string]any{"policies": []any{"root"}, "no_parent": true})
	lookup := func() error {
		_, err := do(t.Context(), c, other, engines.Read, "auth/token/lookup-self", nil)
		return err
	}
	if err := lookup(); err != nil {
		t.Fatal(err)
	}
	before := stored(store)
	must(t, c, root, engines.Update, "auth/token/revoke", map[string]any{"token": other})
	putBack(t, store, before)
	if err := lookup(); err == nil {
		t.Error("the open server takes the token")
	}
	if err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	if _, err := unsealBy(t, c, key, false); err != nil {
		t.Fatal(err)
	}
	if err := lookup(); err == nil {
		t.Error("the server takes the token after unsealing")
	}
	must(t, c, root, engines.Read, "auth/token/lookup-self", nil)
	must(t, c, root, engines.Update, "auth/token/revoke", map[string]any{"token": other})
	if err := lookup(); !errors.Is(err, engines.ErrDenied) {
		t.Errorf("once it was revoked again: %v", err)
	}
}

// TestReplayedPolicyIsMended writes a policy anew whose old text was put back: that is all it takes.
func TestReplayedPolicyIsMended(t *testing.T) {
	store := memory.New()
	c, _, root := server(t, store)
	must(t, c, root, engines.Update, "sys/policy/app", map[string]any{"policy": `path "old" {}`})
	before := stored(store)
	must(t, c, root, engines.Update, "sys/policy/app", map[string]any{"policy": `path "new" {}`})
	putBack(t, store, before)
	_, err := do(t.Context(), c, root, engines.Read, "sys/policy/app", nil)
	wantDamaged(t, "the old text", "sys/policy/app", err)
	must(t, c, root, engines.Update, "sys/policy/app", map[string]any{"policy": `path "newest" {}`})
	if got := render(t, must(t, c, root, engines.Read, "sys/policy/app", nil)); !strings.Contains(got, "newest") {
		t.Error(got)
	}
}

// TestReplayedRecordsAreSetAside puts back what was stored before a change, of records that are read when the server is
// unsealed: the old record is not served, and what it would allow is refused.
func TestReplayedRecordsAreSetAside(t *testing.T) {
	read := func(path string) func(c *core.Core, root, token string) error {
		return func(c *core.Core, root, _ string) error {
			return second(do(t.Context(), c, root, engines.Read, path, nil))
		}
	}
	lookup := func(c *core.Core, _, token string) error {
		return second(do(t.Context(), c, token, engines.Read, "auth/token/lookup-self", nil))
	}
	for _, test := range []struct {
		name   string
		op     engines.Operation
		path   string
		params map[string]any
		key    string
		// try is what the old record would allow, or what nobody may do while it is not known.
		try func(c *core.Core, root, token string) error
	}{
		{"a mount that was removed", engines.Delete, "sys/auth/userpass", nil, "core/mounts/", func(c *core.Core, _, _ string) error {
			return login(t, c, "ann", "pw")
		}},
		{"the tuning of a mount", engines.Update, "sys/mounts/secret/tune", map[string]any{"description": "new"}, "core/mounts/",
			read("secret/data/x")},
		{"before there was an audit device", engines.Update, "sys/audit/file",
			map[string]any{"type": "file", "options": map[string]any{"file_path": filepath.Join(t.TempDir(), "audit.log")}}, "core/audit",
			read("secret/data/x")},
		{"a group with other policies", engines.Update, "identity/group/name/g", map[string]any{"policies": []any{"new"}}, "/group/",
			read("identity/group/name/g")},
		{"an entity that was disabled", engines.Update, "identity/entity/name/e", map[string]any{"disabled": true}, "/entity/", lookup},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := memory.New()
			c, key, root := loginServerAndKey(t, store)
			defer sealNow(t, c)
			addUser(t, c, root, "ann")
			must(t, c, root, engines.Update, "secret/data/x", map[string]any{"data": map[string]any{"k": "v"}})
			must(t, c, root, engines.Update, "identity/group/name/g", map[string]any{"policies": []any{"old"}})
			must(t, c, root, engines.Update, "identity/entity/name/e", map[string]any{"policies": []any{"old"}})
			entity := must(t, c, root, engines.Read, "identity/entity/name/e", nil).Data["id"]
			accessor := must(t, c, root, engines.Read, "sys/auth/userpass", nil).Data["accessor"]
			must(t, c, root, engines.Update, "identity/entity-alias",
				map[string]any{"name": "ann", "canonical_id": entity, "mount_accessor": accessor})
			token := must(t, c, "", engines.Update, "auth/userpass/login/ann", map[string]any{"password": "pw"}).Auth.Token.Reveal()
			before := stored(store)
			must(t, c, root, test.op, test.path, test.params)
			after := stored(store)
			putBack(t, store, before)
			reopen(t, c, key)
			record := damagedRecord(t, c, root)
			if !strings.Contains(fmt.Sprint(record["key"]), test.key) {
				t.Errorf("sys/damaged tells %v; want a key with %s", record, test.key)
			}
			if err := test.try(c, root, token); err == nil {
				t.Error("the old record is served")
			}
			putBack(t, store, after)
			reopen(t, c, key)
			if found := must(t, c, root, engines.Read, "sys/damaged", nil).Data["records"]; len(found.([]any)) > 0 {
				t.Errorf("with the new records back: %v", found)
			}
		})
	}
}

// reopen seals a server and opens it again.
func reopen(t *testing.T, c *core.Core, key string) {
	t.Helper()
	if err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	if _, err := unsealBy(t, c, key, false); err != nil {
		t.Fatalf("one record keeps the server sealed: %v", err)
	}
}

// damagedRecord is the only record that sys/damaged tells.
func damagedRecord(t *testing.T, c *core.Core, root string) map[string]any {
	t.Helper()
	found, _ := must(t, c, root, engines.Read, "sys/damaged", nil).Data["records"].([]any)
	if len(found) != 1 {
		t.Fatalf("sys/damaged: %v; want one record", found)
	}
	record, _ := found[0].(map[string]any)
	return record
}

// TestOldUnsealKeyStaysWorthless puts back the records by which the unseal key from before a rekey opened.
func TestOldUnsealKeyStaysWorthless(t *testing.T) {
	store := memory.New()
	c, old, _ := server(t, store)
	before := stored(store)
	call := func(params map[string]any) core.Call { return core.Call{Params: params, Standing: core.AtMachine} }
	started := fieldsOf(t)(c.Rekey().Start(t.Context(), call(map[string]any{"secret_shares": "1", "secret_threshold": "1"})))
	done := fieldsOf(t)(c.Rekey().Update(t.Context(), call(map[string]any{"nonce": started["nonce"], "key": old})))
	keys, _ := done["keys"].([]any)
	if done["complete"] != true || len(keys) != 1 {
		t.Fatalf("%v", done)
	}
	if _, err := c.Rekey().EndFormer(t.Context(), call(nil)); err != nil {
		t.Fatal(err)
	}
	if err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	after := stored(store)
	for _, key := range []string{"core/keyring", "core/root-key"} {
		if err := store.Apply(t.Context(), storage.Put(key, before[key])); err != nil {
			t.Fatal(err)
		}
	}
	_, err := unsealBy(t, c, old, false)
	wantDamaged(t, "the old key", "core/keyring", err)
	for _, key := range []string{"core/keyring", "core/root-key"} {
		if err := store.Apply(t.Context(), storage.Put(key, after[key])); err != nil {
			t.Fatal(err)
		}
	}
	if text, _ := keys[0].(string); c.Sealed() {
		if _, err := unsealBy(t, c, text, false); err != nil {
			t.Errorf("the new key: %v", err)
		}
	}
}
