package core_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"coffer/engines"
	"coffer/server/core"
	"coffer/storage"
	"coffer/storage/memory"
)

// loser is a server of which a record can be damaged.
type loser struct {
	t         *testing.T
	c         *core.Core
	store     *memory.Store
	key, root string
}

func newLoser(t *testing.T) *loser {
	t.Helper()
	l := &loser{t: t, store: memory.New()}
	l.c, l.key, l.root = loginServerAndKey(t, l.store)
	t.Cleanup(func() { sealNow(t, l.c) })
	return l
}

func (l *loser) write(path string, params map[string]any) map[string]any {
	l.t.Helper()
	if resp := must(l.t, l.c, l.root, engines.Update, path, params); resp != nil {
		return resp.Data
	}
	return nil
}

// losing is what write stores, to be damaged by lose.
func (l *loser) losing(write func()) (key string) {
	l.t.Helper()
	before := stored(l.store)
	write()
	for k := range stored(l.store) {
		if _, was := before[k]; was || !strings.HasPrefix(k, "barrier/") {
			continue
		}
		if key != "" {
			l.t.Fatalf("%s and %s are new", key, k)
		}
		key = k
	}
	if key == "" {
		l.t.Fatal("nothing is new")
	}
	return key
}

// lose flips a bit in a record, and opens the server anew.
func (l *loser) lose(key string) {
	l.t.Helper()
	l.flip(key)
	reopen(l.t, l.c, l.key)
}

func (l *loser) flip(key string) {
	l.t.Helper()
	value := stored(l.store)[key]
	value[len(value)-1] ^= 1
	if err := l.store.Apply(l.t.Context(), storage.Put(key, value)); err != nil {
		l.t.Fatal(err)
	}
}

// giveUp accepts the loss of the one record that is damaged.
func (l *loser) giveUp() {
	l.t.Helper()
	must(l.t, l.c, l.root, engines.Delete, "sys/damaged/"+fmt.Sprint(damagedRecord(l.t, l.c, l.root)["id"]), nil)
}

func (l *loser) read(token, path string) error {
	return second(do(l.t.Context(), l.c, token, engines.Read, path, nil))
}

// login is a login of a user at userpass, who need not have been there before.
func (l *loser) login(name string) (string, error) {
	l.t.Helper()
	addUser(l.t, l.c, l.root, name)
	resp, err := do(l.t.Context(), l.c, "", engines.Update, "auth/userpass/login/"+name, map[string]any{"password": "pw"})
	if err != nil {
		return "", err
	}
	return resp.Auth.Token.Reveal(), nil
}

func (l *loser) mustLogin(name string) string {
	l.t.Helper()
	token, err := l.login(name)
	if err != nil {
		l.t.Fatal(err)
	}
	return token
}

func (l *loser) wantDenied(what string, err error) {
	l.t.Helper()
	var public *engines.Error
	if !errors.Is(err, engines.ErrDenied) || !errors.As(err, &public) || strings.Contains(public.Message, "sys/") {
		l.t.Errorf("%s: %v; want a bare permission denied", what, err)
	}
}

func (l *loser) wantFailed(what string, err error) {
	l.t.Helper()
	var public *engines.Error
	if !errors.Is(err, engines.ErrFailed) || !errors.As(err, &public) || !strings.Contains(public.Message, "sys/damaged") {
		l.t.Errorf("%s: %v; want an ErrFailed that says where to look", what, err)
	}
}

func (l *loser) wantServed(what string, err error) {
	l.t.Helper()
	if err != nil {
		l.t.Errorf("%s: %v", what, err)
	}
}

const reads = `path "secret/*" { capabilities = ["read"] }`

func (l *loser) secrets() {
	l.t.Helper()
	for _, name := range []string{"x", "closed"} {
		l.write("secret/data/"+name, map[string]any{"data": map[string]any{"k": "v"}})
	}
}

func TestLostPolicyGrantsAndDeniesEverything(t *testing.T) {
	l := newLoser(t)
	l.secrets()
	l.write("sys/policy/reads", map[string]any{"policy": reads})
	key := l.losing(func() {
		l.write("sys/policy/closes", map[string]any{"policy": `path "secret/data/closed" { capabilities = ["deny"] }`})
	})
	free := newToken(t, l.c, l.root, map[string]any{"policies": []any{"reads"}})
	bound := newToken(t, l.c, l.root, map[string]any{"policies": []any{"reads", "closes"}})
	l.wantServed("before", l.read(bound, "secret/data/x"))
	l.lose(key)
	l.wantDenied("a token with it", l.read(bound, "secret/data/x"))
	l.wantDenied("what it closed", l.read(bound, "secret/data/closed"))
	l.wantDenied("itself", l.read(bound, "auth/token/lookup-self"))
	l.wantServed("a token without it", l.read(free, "secret/data/x"))
	l.wantServed("root", l.read(l.root, "secret/data/closed"))
	l.wantFailed("the policy", l.read(l.root, "sys/policy/closes"))
	// It may be made, with a warning that it does not exist at most, and gets nothing.
	l.wantDenied("a new token with it", l.read(newToken(t, l.c, l.root, map[string]any{"policies": []any{"reads", "closes"}}),
		"secret/data/x"))
	caps := must(t, l.c, l.root, engines.Update, "sys/capabilities", map[string]any{"token": bound, "paths": "secret/data/x"})
	if got := render(t, caps); !strings.Contains(got, `["deny"]`) {
		t.Errorf("capabilities: %s", got)
	}
	resp := must(t, l.c, l.root, engines.List, "sys/policies/acl/", nil)
	if got := render(t, resp); !strings.Contains(got, "closes") || !strings.Contains(got, "reads") {
		t.Errorf("the list: %s", got)
	}
	// Written anew it is as it is written.
	l.write("sys/policy/closes", map[string]any{"policy": `path "secret/data/closed" { capabilities = ["deny"] }`})
	l.wantServed("written anew", l.read(bound, "secret/data/x"))
	l.wantDenied("what it closes", l.read(bound, "secret/data/closed"))
	// Given up it denies no more.
	l.flip(key)
	reopen(t, l.c, l.key)
	l.wantDenied("damaged again", l.read(bound, "secret/data/x"))
	l.giveUp()
	l.wantServed("given up", l.read(bound, "secret/data/closed"))
}

func TestLostDefaultPolicyIsMadeAnewWhenItIsGivenUp(t *testing.T) {
	store := memory.New()
	c, key, root := server(t, store)
	plain := newToken(t, c, root, map[string]any{"policies": []any{"default"}})
	before := stored(store)
	must(t, c, root, engines.Update, "sys/policy/default", map[string]any{"policy": `path "auth/token/lookup-self" {
		capabilities = ["deny"] }`})
	putBack(t, store, before)
	reopen(t, c, key)
	lookup := func() error { return second(do(t.Context(), c, plain, engines.Read, "auth/token/lookup-self", nil)) }
	if err := lookup(); !errors.Is(err, engines.ErrDenied) {
		t.Errorf("a default policy that may deny: %v", err)
	}
	must(t, c, root, engines.Delete, "sys/damaged/"+fmt.Sprint(damagedRecord(t, c, root)["id"]), nil)
	if err := lookup(); err != nil {
		t.Errorf("given up: %v", err)
	}
}

func TestTokensAndLoginsOfALostEntityAreRefused(t *testing.T) {
	l := newLoser(t)
	l.secrets()
	l.write("sys/policy/reads", map[string]any{"policy": reads})
	known := l.mustLogin("known")
	var lost string
	key := func() string {
		addUser(t, l.c, l.root, "lost")
		before := stored(l.store)
		lost = l.mustLogin("lost")
		id := fmt.Sprint(must(t, l.c, lost, engines.Read, "auth/token/lookup-self", nil).Data["entity_id"])
		for k := range stored(l.store) {
			if _, was := before[k]; was || !strings.HasPrefix(k, "barrier/") {
				continue
			}
			// The record of the entity is the new one without which the entity is not known.
			probe := copied(t, l.store.Contents(), func(op storage.Op) storage.Op {
				if op.Key == k {
					op.Value[len(op.Value)-1] ^= 1
				}
				return op
			})
			c := damageCore(probe, nil)
			if _, err := unsealBy(t, c, l.key, false); err != nil {
				t.Fatal(err)
			}
			_, err := do(t.Context(), c, l.root, engines.Read, "identity/entity/id/"+id, nil)
			sealNow(t, c)
			if err != nil {
				return k
			}
		}
		t.Fatal("no record of the entity")
		return ""
	}()
	l.lose(key)
	l.wantDenied("its token", l.read(lost, "auth/token/lookup-self"))
	_, err := l.login("lost")
	l.wantFailed("its login", err)
	_, err = l.login("somebody")
	l.wantFailed("a login that may be its", err)
	l.wantServed("another's token", l.read(known, "auth/token/lookup-self"))
	l.mustLogin("known")
	accessor := must(t, l.c, l.root, engines.Read, "sys/auth/userpass", nil).Data["accessor"]
	_, err = do(t.Context(), l.c, l.root, engines.Update, "identity/entity-alias",
		map[string]any{"name": "lost", "mount_accessor": accessor})
	l.wantFailed("an alias that may be its", err)
	_, err = do(t.Context(), l.c, l.root, engines.Update, "identity/entity", map[string]any{"name": "lost"})
	l.wantFailed("a name that may be its", err)
	l.giveUp()
	l.wantDenied("its token when it is given up", l.read(lost, "auth/token/lookup-self"))
	l.mustLogin("lost")
	l.mustLogin("somebody")
}

func TestLostGroupHoldsEverybodyToEveryPolicy(t *testing.T) {
	l := newLoser(t)
	l.secrets()
	l.write("sys/policy/reads", map[string]any{"policy": reads})
	l.write("sys/policy/closes", map[string]any{"policy": `
		path "secret/data/closed" { capabilities = ["deny"] }`})
	ann := l.mustLogin("ann")
	id := must(t, l.c, ann, engines.Read, "auth/token/lookup-self", nil).Data["entity_id"]
	l.write("identity/entity/id/"+fmt.Sprint(id), map[string]any{"policies": []any{"reads"}})
	bob := newToken(t, l.c, l.root, map[string]any{"policies": []any{"reads"}})
	key := l.losing(func() {
		l.write("identity/group/name/g", map[string]any{"policies": []any{"closes"}, "member_entity_ids": id})
	})
	l.wantDenied("the member before", l.read(ann, "secret/data/closed"))
	l.lose(key)
	l.wantDenied("the member", l.read(ann, "secret/data/closed"))
	l.wantServed("what no policy denies", l.read(ann, "secret/data/x"))
	l.wantServed("a token without an entity", l.read(bob, "secret/data/closed"))
	l.wantServed("root", l.read(l.root, "secret/data/closed"))
	// A policy that comes later may be the group's as well.
	l.write("sys/policy/more", map[string]any{"policy": `path "secret/data/x" { capabilities = ["deny"] }`})
	l.wantDenied("by a later policy", l.read(ann, "secret/data/x"))
	caps := must(t, l.c, l.root, engines.Update, "sys/capabilities", map[string]any{"token": ann, "paths": "secret/data/x"})
	if got := render(t, caps); !strings.Contains(got, `["deny"]`) {
		t.Errorf("capabilities: %s", got)
	}
	l.giveUp()
	l.wantServed("given up", l.read(ann, "secret/data/closed"))
}

func TestLostGroupAndPolicyTogether(t *testing.T) {
	l := newLoser(t)
	l.secrets()
	l.write("sys/policy/reads", map[string]any{"policy": reads})
	ann := l.mustLogin("ann")
	id := must(t, l.c, ann, engines.Read, "auth/token/lookup-self", nil).Data["entity_id"]
	l.write("identity/entity/id/"+fmt.Sprint(id), map[string]any{"policies": []any{"reads"}})
	plain := newToken(t, l.c, l.root, map[string]any{"policies": []any{"reads"}})
	policy := l.losing(func() { l.write("sys/policy/closes", map[string]any{"policy": `path "x" {}`}) })
	group := l.losing(func() {
		l.write("identity/group/name/g", map[string]any{"policies": []any{"closes"}, "member_entity_ids": id})
	})
	l.flip(policy)
	l.lose(group)
	l.wantDenied("who may have the policy", l.read(ann, "secret/data/x"))
	l.wantServed("who has no entity", l.read(plain, "secret/data/x"))
}

func TestLostEnforcementRefusesEveryLogin(t *testing.T) {
	l := newLoser(t)
	before := l.mustLogin("ann")
	method := l.write("identity/mfa/method/totp", map[string]any{"issuer": "x"})["method_id"]
	key := l.losing(func() {
		l.write("identity/mfa/login-enforcement/e",
			map[string]any{"mfa_method_ids": []any{method}, "auth_method_types": []any{"approle"}})
	})
	l.mustLogin("ann")
	l.lose(key)
	_, err := l.login("ann")
	l.wantFailed("a login", err)
	l.wantServed("a token from before", l.read(before, "auth/token/lookup-self"))
	l.giveUp()
	l.mustLogin("ann")
}

func TestLostMethodRefusesTheLoginsThatNeedIt(t *testing.T) {
	l := newLoser(t)
	l.mustLogin("ann")
	var method any
	key := l.losing(func() { method = l.write("identity/mfa/method/totp", map[string]any{"issuer": "x"})["method_id"] })
	l.write("identity/mfa/login-enforcement/e",
		map[string]any{"mfa_method_ids": []any{method}, "auth_method_types": []any{"userpass"}})
	l.write("auth/approle/role/r", map[string]any{"role_id": "r"})
	secret := l.write("auth/approle/role/r/secret-id", nil)["secret_id"]
	l.lose(key)
	_, err := l.login("ann")
	l.wantFailed("a login that needs it", err)
	must(t, l.c, "", engines.Update, "auth/approle/login", map[string]any{"role_id": "r", "secret_id": secret})
}

func TestLostGroupIsEverybodysForItsEnforcement(t *testing.T) {
	l := newLoser(t)
	ann := l.mustLogin("ann")
	id := must(t, l.c, ann, engines.Read, "auth/token/lookup-self", nil).Data["entity_id"]
	var group any
	key := l.losing(func() {
		group = l.write("identity/group", map[string]any{"name": "g", "member_entity_ids": id})["id"]
	})
	method := l.write("identity/mfa/method/totp", map[string]any{"issuer": "x"})["method_id"]
	l.write("identity/mfa/login-enforcement/e", map[string]any{"mfa_method_ids": []any{method}, "identity_group_ids": []any{group}})
	l.lose(key)
	for _, name := range []string{"ann", "bob"} {
		addUser(t, l.c, l.root, name)
		auth := must(t, l.c, "", engines.Update, "auth/userpass/login/"+name, map[string]any{"password": "pw"}).Auth
		if auth.MFA == nil || !auth.Token.IsZero() {
			t.Errorf("%s logs in without a second factor", name)
		}
	}
}

func TestPathOfALostMountIsNobodys(t *testing.T) {
	l := newLoser(t)
	l.secrets()
	key := l.losing(func() { l.write("sys/mounts/lost", map[string]any{"type": "kv"}) })
	l.write("lost/x", map[string]any{"k": "v"})
	value := stored(l.store)[key]
	l.lose(key)
	l.wantFailed("the path", l.read(l.root, "lost/x"))
	l.wantServed("another mount", l.read(l.root, "secret/data/x"))
	for _, path := range []string{"sys/mounts/lost", "sys/mounts/new", "sys/auth/new"} {
		_, err := do(t.Context(), l.c, l.root, engines.Update, path, map[string]any{"type": "kv"})
		if strings.HasPrefix(path, "sys/auth") {
			_, err = do(t.Context(), l.c, l.root, engines.Update, path, map[string]any{"type": "userpass"})
		}
		l.wantFailed(path, err)
	}
	_, err := do(t.Context(), l.c, l.root, engines.Delete, "sys/mounts/lost", nil)
	l.wantFailed("unmounting it", err)
	_, err = do(t.Context(), l.c, l.root, engines.Update, "sys/remount", map[string]any{"from": "secret", "to": "lost"})
	if err == nil {
		t.Error("another mount is moved to the path")
	}
	// Put back, it is all there.
	if err := l.store.Apply(t.Context(), storage.Put(key, value)); err != nil {
		t.Fatal(err)
	}
	reopen(t, l.c, l.key)
	l.wantServed("put back", l.read(l.root, "lost/x"))
}

func TestTokensOfALostAuthMountAreNotRenewed(t *testing.T) {
	l := newLoser(t)
	key := l.losing(func() { l.write("sys/auth/people", map[string]any{"type": "userpass"}) })
	l.write("auth/people/users/ann", map[string]any{"password_hash": testHash})
	token := must(t, l.c, "", engines.Update, "auth/people/login/ann", map[string]any{"password": "pw"}).Auth.Token.Reveal()
	l.lose(key)
	l.wantServed("the token", l.read(token, "auth/token/lookup-self"))
	if _, err := do(t.Context(), l.c, token, engines.Update, "auth/token/renew-self", nil); err == nil {
		t.Error("a token whose bounds nobody knows was renewed")
	}
	must(t, l.c, token, engines.Update, "auth/token/revoke-self", nil)
}

func TestLostTuningOfTokensMakesThemShort(t *testing.T) {
	l := newLoser(t)
	key := l.losing(func() { l.write("sys/auth/token/tune", map[string]any{"max_lease_ttl": "120"}) })
	l.lose(key)
	auth := must(t, l.c, l.root, engines.Update, "auth/token/create", map[string]any{"policies": []any{"default"}, "ttl": "1h"}).Auth
	if auth.LeaseDuration.Minutes() > 1 {
		t.Errorf("a token of %v, though it may have been tuned to be short", auth.LeaseDuration)
	}
}

func TestOnlyRepairIsServedWithoutAuditDevices(t *testing.T) {
	l := newLoser(t)
	l.secrets()
	l.write("sys/policy/all", map[string]any{"policy": `path "*" { capabilities = ["read", "list", "delete", "update"] }`})
	weak := newToken(t, l.c, l.root, map[string]any{"policies": []any{"all"}})
	key := l.losing(func() {
		l.write("sys/audit/a", map[string]any{"type": "file", "options": map[string]any{"file_path": "discard"}})
	})
	l.lose(key)
	if l.read(l.root, "secret/data/x") == nil || l.read("", "sys/internal/ui/mounts") == nil {
		t.Error("served unrecorded")
	}
	if l.read(weak, "sys/damaged") == nil {
		t.Error("sys/damaged was served without sudo")
	}
	for _, op := range []engines.Operation{engines.Update, engines.Delete} {
		if _, err := do(t.Context(), l.c, l.root, op, "sys/audit/a", map[string]any{"type": "file"}); err == nil {
			t.Errorf("%s of a device was served", op)
		}
	}
	l.giveUp()
	l.wantServed("given up", l.read(l.root, "secret/data/x"))
}

func TestLostSettingsShowLess(t *testing.T) {
	store := memory.New()
	c, key, root := server(t, store)
	before := stored(store)
	must(t, c, root, engines.Update, "sys/config/cors", map[string]any{"allowed_origins": "https://pages.test"})
	putBack(t, store, before) // what was before is not believed either
	reopen(t, c, key)
	if cors := c.CORS(); cors.Enabled {
		t.Errorf("CORS: %+v", cors)
	}
	headers := must(t, c, root, engines.Read, "sys/config/auditing/request-headers", nil)
	if got := render(t, headers); strings.Contains(got, "user-agent") {
		t.Errorf("the audited headers: %s", got)
	}
	reopen(t, c, key)
	damagedRecord(t, c, root) // the start has not replaced it
	must(t, c, root, engines.Update, "sys/config/cors", map[string]any{"allowed_origins": "https://other.test"})
	reopen(t, c, key)
	if !c.CORS().Enabled {
		t.Error("the settings that were written anew are gone")
	}
}

func TestLostLockStaysALock(t *testing.T) {
	l := newLoser(t)
	l.mustLogin("ann")
	key := l.losing(func() {
		for range lockAfter {
			if login(t, l.c, "ann", "wrong") == nil {
				t.Fatal("logged in with a wrong password")
			}
		}
	})
	l.lose(key)
	if _, err := l.login("ann"); !errors.Is(err, engines.ErrDenied) {
		t.Errorf("a locked user: %v", err)
	}
	l.mustLogin("bob")
}

// TestDamageFoundWhileServing damages a secret that was read before.
func TestDamageFoundWhileServing(t *testing.T) {
	l := newLoser(t)
	l.write("sys/mounts/kv1", map[string]any{"type": "kv"})
	l.write("kv1/other", map[string]any{"k": "v"})
	key := l.losing(func() { l.write("kv1/x", map[string]any{"k": "v"}) })
	l.wantServed("before", l.read(l.root, "kv1/x"))
	l.flip(key)
	for range 3 {
		l.wantFailed("the secret", l.read(l.root, "kv1/x"))
	}
	l.wantServed("another", l.read(l.root, "kv1/other"))
	if record := damagedRecord(t, l.c, l.root); record["kind"] != "secret" || record["name"] != "kv1/plain/x" {
		t.Errorf("sys/damaged: %v", record)
	}
	health, err := l.c.Health(t.Context())
	if err != nil || health.DamagedRecords != 1 {
		t.Errorf("health: %+v, %v", health, err)
	}
	text, _, err := l.c.Metrics().Text()
	if err != nil || !strings.Contains(string(text), `coffer_damaged_records{kind="secret"} 1`) {
		t.Errorf("metrics: %v", err)
	}
	l.write("kv1/x", map[string]any{"k": "new"})
	if found := must(t, l.c, l.root, engines.Read, "sys/damaged", nil).Data["records"].([]any); len(found) > 0 {
		t.Errorf("written anew: %v", found)
	}
}

// TestRemovalTakesUnreadableNames removes a mount with a secret whose name cannot be read; its list leaves it out.
func TestRemovalTakesUnreadableNames(t *testing.T) {
	l := newLoser(t)
	l.write("sys/mounts/kv1", map[string]any{"type": "kv"})
	before := stored(l.store)
	for _, name := range []string{"x", "f/y"} {
		key := l.losing(func() { l.write("kv1/"+name, map[string]any{"k": "v"}) })
		value := stored(l.store)[key]
		parts := strings.Split(key, "/") // barrier/logical/UUID/plain/name…
		parts[4] = strings.Repeat("A", len(parts[4]))
		if err := l.store.Apply(t.Context(), storage.Delete(key), storage.Put(strings.Join(parts, "/"), value)); err != nil {
			t.Fatal(err)
		}
	}
	l.write("kv1/other", map[string]any{"k": "v"})
	if got := render(t, must(t, l.c, l.root, engines.List, "kv1/", nil)); !strings.Contains(got, `["other"]`) {
		t.Errorf("the list: %s", got)
	}
	must(t, l.c, l.root, engines.Delete, "sys/mounts/kv1", nil)
	for key := range stored(l.store) {
		if _, was := before[key]; !was && strings.HasPrefix(key, "barrier/") {
			t.Errorf("%s is left", key)
		}
	}
	if found := must(t, l.c, l.root, engines.Read, "sys/damaged", nil).Data["records"].([]any); len(found) > 0 {
		t.Errorf("sys/damaged: %v", found)
	}
}

// TestRevocationGoesOnWithoutAChildItCannotFind revokes a token one of whose children has a place that cannot be read.
func TestRevocationGoesOnWithoutAChildItCannotFind(t *testing.T) {
	l := newLoser(t)
	l.write("sys/policy/maker", map[string]any{"policy": `path "auth/token/create" { capabilities = ["update"] }`})
	parent := newToken(t, l.c, l.root, map[string]any{"policies": []any{"maker", "default"}})
	before := stored(l.store)
	lost := newToken(t, l.c, parent, map[string]any{})
	for key, value := range stored(l.store) {
		if _, was := before[key]; was || strings.Count(key, "/") != len("barrier/sys/token/parent/ID/ID")-len("barriersystokenparentIDID") {
			continue
		}
		at := strings.LastIndexByte(key, '/') + 1
		moved := key[:at] + strings.Repeat("A", len(key)-at)
		if err := l.store.Apply(t.Context(), storage.Delete(key), storage.Put(moved, value)); err != nil {
			t.Fatal(err)
		}
	}
	child := newToken(t, l.c, parent, map[string]any{})
	must(t, l.c, l.root, engines.Update, "auth/token/revoke", map[string]any{"token": parent})
	l.wantDenied("the token", l.read(parent, "auth/token/lookup-self"))
	l.wantDenied("its child", l.read(child, "auth/token/lookup-self"))
	if record := damagedRecord(t, l.c, l.root); record["kind"] != "token_index" {
		t.Errorf("sys/damaged: %v", record)
	}
	must(t, l.c, l.root, engines.Update, "auth/token/tidy", nil)
	for limit := time.Now().Add(10 * time.Second); l.read(lost, "auth/token/lookup-self") == nil; <-time.After(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the child that was not found lives on")
		}
	}
}

func TestPolicyWithoutANameMayBeAny(t *testing.T) {
	l := newLoser(t)
	l.secrets()
	l.write("sys/policy/reads", map[string]any{"policy": reads})
	free := newToken(t, l.c, l.root, map[string]any{"policies": []any{"reads"}})
	dangling := newToken(t, l.c, l.root, map[string]any{"policies": []any{"reads", "none"}})
	bound := newToken(t, l.c, l.root, map[string]any{"policies": []any{"reads", "closes"}})
	key := l.losing(func() { l.write("sys/policy/closes", map[string]any{"policy": `path "x" {}`}) })
	l.wantServed("before", l.read(dangling, "secret/data/x"))
	at := strings.LastIndexByte(key, '/') + 1
	moved := storage.Put(key[:at]+strings.Repeat("A", len(key)-at), stored(l.store)[key])
	if err := l.store.Apply(t.Context(), storage.Delete(key), moved); err != nil {
		t.Fatal(err)
	}
	reopen(t, l.c, l.key)
	l.wantDenied("a token with it", l.read(bound, "secret/data/x"))
	l.wantDenied("a token with a policy that may be it", l.read(dangling, "secret/data/x"))
	l.wantServed("a token without", l.read(free, "secret/data/x"))
	found, _ := must(t, l.c, l.root, engines.Read, "sys/damaged", nil).Data["records"].([]any)
	for _, record := range found {
		record, _ := record.(map[string]any)
		must(t, l.c, l.root, engines.Delete, "sys/damaged/"+fmt.Sprint(record["id"]), nil)
	}
	if len(found) != 2 {
		t.Errorf("sys/damaged: %v; want the name, and the policy that is missing", found)
	}
	for _, token := range []string{free, dangling, bound} {
		l.wantServed("given up", l.read(token, "secret/data/x"))
	}
}

// TestMountWhoseEngineDoesNotStartIsNotServed wants the whole of a mount refused whose engine does not start, and nothing else.
func TestMountWhoseEngineDoesNotStartIsNotServed(t *testing.T) {
	l := newLoser(t)
	l.secrets()
	folders := map[string]bool{}
	for key := range stored(l.store) {
		folders[key[:strings.LastIndexByte(key, '/')]] = true
	}
	l.write("sys/auth/second", map[string]any{"type": "approle"})
	for key := range stored(l.store) {
		// What is alone in its folder is the key with which the mount makes the names of secret ids.
		if strings.HasPrefix(key, "barrier/") && !folders[key[:strings.LastIndexByte(key, '/')]] {
			l.flip(key)
		}
	}
	reopen(t, l.c, l.key)
	l.wantServed("another mount", l.read(l.root, "secret/data/x"))
	l.wantFailed("the mount", l.read(l.root, "auth/second/role/r"))
	_, err := do(t.Context(), l.c, "", engines.Update, "auth/second/login", map[string]any{"role_id": "r"})
	l.wantFailed("a login", err)
	l.write("auth/approle/role/r", map[string]any{"role_id": "r"})
	if record := damagedRecord(t, l.c, l.root); record["kind"] != "auth" {
		t.Errorf("sys/damaged: %v", record)
	}
	l.giveUp()
	l.write("auth/second/role/r", map[string]any{"role_id": "r"})
}

// TestIndispensableRecordIsNotGivenUp damages the cluster's identity while the server has it in memory.
func TestIndispensableRecordIsNotGivenUp(t *testing.T) {
	store := memory.New()
	e := newEverything(t, store)
	defer sealNow(t, e.Core)
	for _, op := range store.Contents() {
		if !strings.HasPrefix(op.Key, "barrier/") {
			continue
		}
		whole := append([]byte(nil), op.Value...)
		op.Value[len(op.Value)-1] ^= 1
		if err := store.Apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		_, damaged := e.ask(t, engines.Read, "sys/raw/core/cluster")
		if damaged == nil {
			if err := store.Apply(t.Context(), storage.Put(op.Key, whole)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		record := damagedRecord(t, e.Core, e.roots[0])
		if _, err := e.ask(t, engines.Delete, "sys/damaged/"+fmt.Sprint(record["id"])); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%v was given up: %v", record, err)
		}
		return
	}
	t.Error("no record is that of the cluster")
}

func TestLostKeyOfIdentityTokensSignsNothing(t *testing.T) {
	l := newLoser(t)
	l.write("sys/policy/signs", map[string]any{"policy": `path "identity/oidc/*" { capabilities = ["read"] }`})
	ann := l.mustLogin("ann")
	id := must(t, l.c, ann, engines.Read, "auth/token/lookup-self", nil).Data["entity_id"]
	l.write("identity/entity/id/"+fmt.Sprint(id), map[string]any{"policies": []any{"signs"}})
	key := l.losing(func() { l.write("identity/oidc/key/default", map[string]any{"algorithm": "EdDSA"}) })
	l.write("identity/oidc/key/other", map[string]any{"algorithm": "EdDSA", "allowed_client_ids": "*"})
	l.write("identity/oidc/role/r", map[string]any{"key": "default"})
	l.write("identity/oidc/role/other", map[string]any{"key": "other"})
	config := l.losing(func() { l.write("identity/oidc/config", map[string]any{"issuer": "https://coffer.test"}) })
	whole := stored(l.store)[key]
	l.wantServed("before", l.read(ann, "identity/oidc/token/r"))
	l.lose(key)
	l.wantFailed("a token by the key", l.read(ann, "identity/oidc/token/r"))
	l.wantFailed("the key", l.read(l.root, "identity/oidc/key/default"))
	l.wantServed("a token by another key", l.read(ann, "identity/oidc/token/other"))
	if err := l.store.Apply(t.Context(), storage.Put(key, whole)); err != nil {
		t.Fatal(err)
	}
	l.lose(config)
	l.wantFailed("a token of an issuer that nobody knows", l.read(ann, "identity/oidc/token/r"))
	l.wantFailed("discovery", l.read("", "identity/oidc/.well-known/openid-configuration"))
	l.giveUp()
	l.wantServed("given up", l.read(ann, "identity/oidc/token/r"))
}
