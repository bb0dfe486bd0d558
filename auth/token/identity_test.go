package token

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// fakeIdentity makes one entity, whose key must be written with the token.
type fakeIdentity struct {
	err     error
	asked   []Alias
	settled []error
}

const entityFolder = "identity/"

func (f *fakeIdentity) Login(_ context.Context, a Alias) (Entity, error) {
	if f.err != nil {
		return Entity{}, f.err
	}
	f.asked = append(f.asked, a)
	return Entity{
		ID: "e1", Policies: []string{"own", "grp"}, Changes: []storage.Op{storage.Put(entityFolder+a.Name, nil)},
		Settle: func(err error) { f.settled = append(f.settled, err) },
	}, nil
}

func (f *fakeIdentity) Policies(_ context.Context, id string) ([]string, error) {
	if id != "e1" {
		return nil, nil
	}
	return []string{"own", "grp"}, f.err
}

func (f *fixture) withIdentity() *fakeIdentity {
	who := &fakeIdentity{}
	f.store.cfg.Identity = who
	return who
}

var at = IssueAt{Mount: "auth/ldap/", Accessor: "auth_ldap_1", Path: "auth/ldap/login/bob", TTLs: fixedTTLs{}}

func TestALoginIsOneCommitWithItsEntity(t *testing.T) {
	for _, kind := range []string{engines.ServiceToken, engines.BatchToken} {
		base := storagetest.NewFaulty(memory.New())
		f := openFixture(t, base)
		who := f.withIdentity()
		before := base.Calls(storagetest.Apply)
		login := &engines.Login{
			Policies: []string{"p"}, Alias: "bob", AliasMetadata: map[string]string{"a": "b"}, GroupAliases: []string{"g"}, Type: kind,
		}
		a, _, err := f.store.Issue(t.Context(), login, at)
		if err != nil {
			t.Fatal(err)
		}
		if n := base.Calls(storagetest.Apply) - before; n != 1 {
			t.Errorf("%s: %d commits", kind, n)
		}
		if _, err := base.Get(t.Context(), entityFolder+"bob"); err != nil {
			t.Errorf("%s: the entity is not there: %v", kind, err)
		}
		want := []Alias{{MountAccessor: at.Accessor, Name: "bob", Metadata: login.AliasMetadata, Groups: login.GroupAliases}}
		if diff := cmp.Diff(want, who.asked); diff != "" {
			t.Errorf("%s:\n%s", kind, diff)
		}
		if diff := cmp.Diff([]error{nil}, who.settled); diff != "" {
			t.Errorf("%s settled:\n%s", kind, diff)
		}
		if a.EntityID != "e1" || f.entry(a.Token).Caller.EntityID != "e1" {
			t.Errorf("%s: no entity: %+v", kind, a)
		}
		if !slices.Equal(a.IdentityPolicies, []string{"grp", "own"}) || !slices.Equal(a.TokenPolicies, []string{"default", "p"}) ||
			!slices.Equal(a.Policies, []string{"default", "grp", "own", "p"}) {
			t.Errorf("%s: policies %v, token's %v, identity's %v", kind, a.Policies, a.TokenPolicies, a.IdentityPolicies)
		}
	}
}

func TestAFailedLoginLeavesNoEntity(t *testing.T) {
	for _, kind := range []string{engines.ServiceToken, engines.BatchToken} {
		base := storagetest.NewFaulty(memory.New())
		f := openFixture(t, base)
		who := f.withIdentity()
		before := keysOf(t, base)
		base.Fail(storagetest.Apply, 1, storagetest.NotWritten)
		_, _, err := f.store.Issue(t.Context(), &engines.Login{Alias: "bob", Type: kind}, at)
		if !errors.Is(err, storagetest.ErrInjected) {
			t.Fatal(err)
		}
		if len(who.settled) != 1 || !errors.Is(who.settled[0], storagetest.ErrInjected) {
			t.Errorf("%s: settled with %v", kind, who.settled)
		}
		if diff := cmp.Diff(before, keysOf(t, base)); diff != "" {
			t.Errorf("%s left:\n%s", kind, diff)
		}
	}
}

func TestTokensForAnAlias(t *testing.T) {
	f := newFixture(t)
	who := f.withIdentity()
	f.write(f.root, "roles/r", params{"allowed_entity_aliases": []any{"bob", "team-*", "kim"}})
	e := f.makeAt(f.root, "create/r", params{"entity_alias": "Team-A", "policies": []any{"p"}})
	if e.Caller.EntityID != "e1" || len(who.asked) != 1 || who.asked[0].Name != "Team-A" || !who.asked[0].KeepGroups {
		t.Errorf("entity %q, asked %+v", e.Caller.EntityID, who.asked)
	}
	if got := f.lookup(e)["identity_policies"]; !slices.Equal(got.([]string), []string{"own", "grp"}) {
		t.Errorf("identity policies %v", got)
	}
	resp := f.write(e, "renew-self", nil)
	if !slices.Equal(resp.Auth.IdentityPolicies, []string{"grp", "own"}) || slices.Contains(resp.Auth.TokenPolicies, "own") {
		t.Errorf("renewed with %+v", resp.Auth)
	}
	f.pass(time.Minute)
	child := f.make(e, params{"policies": []any{"p"}})
	if child.Caller.EntityID != "e1" {
		t.Error("the child is somebody else")
	}
	for _, alias := range []string{"eve", "\u212aim", "kİm"} {
		_, err := f.call(f.root, engines.Update, "create/r", params{"entity_alias": alias})
		if !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%q, an alias that the role does not allow: %v", alias, err)
		}
	}
	who.err = engines.Denied("disabled")
	_, err := f.call(f.root, engines.Update, "create/r", params{"entity_alias": "bob"})
	if !errors.Is(err, engines.ErrDenied) || texts(err) != "entity from given entity alias is disabled" {
		t.Errorf("a disabled entity: %v", err)
	}
	// What identity adds is not the token's to hand on.
	who.err = nil
	if _, err := f.call(e, engines.Update, "create", params{"policies": []any{"own"}}); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("handing on a policy of the entity: %v", err)
	}
}
