package identity

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

func TestLoginOfAKnownAliasWritesNothing(t *testing.T) {
	base := storagetest.NewFaulty(memory.New())
	f := openFixture(t, base)
	alias := token.Alias{MountAccessor: ldap, Name: "bob", Metadata: map[string]string{"dn": "cn=bob"}, Groups: []string{"a"}}
	first := f.mustLogin(alias)
	before := base.Calls(storagetest.Apply)
	for _, name := range []string{"bob", "BOB", "Bob"} {
		alias.Name = name
		if again := f.mustLogin(alias); again.ID != first.ID {
			t.Errorf("%s is somebody else", name)
		}
	}
	if n := base.Calls(storagetest.Apply) - before; n != 0 {
		t.Errorf("%d commits", n)
	}
	if other := f.mustLogin(token.Alias{MountAccessor: jwt, Name: "bob"}); other.ID == first.ID {
		t.Error("the same name at another mount is the same entity")
	}
}

func TestLoginIsNothingUntilItIsSettled(t *testing.T) {
	f := newFixture(t)
	alias := token.Alias{MountAccessor: ldap, Name: "bob"}
	e, err := f.store.Login(t.Context(), alias)
	if err != nil {
		t.Fatal(err)
	}
	f.refused(e.ID, ErrNoEntity)
	e.Settle(errors.New("the token could not be made"))
	f.refused(e.ID, ErrNoEntity)
	if _, err := f.try(engines.List, "entity/id", nil); !errors.Is(err, engines.ErrNotFound) {
		t.Errorf("a failed login left something: %v", err)
	}
	f.mustLogin(alias)
}

func TestOneEntityForManyLoginsAtOnce(t *testing.T) {
	f := newFixture(t)
	var all sync.WaitGroup
	ids := make([]string, 50)
	for i := range ids {
		all.Go(func() {
			e, err := login(t.Context(), f.store, f.base, token.Alias{MountAccessor: ldap, Name: "bob"})
			if err != nil {
				t.Error(err)
			}
			ids[i] = e.ID
		})
	}
	all.Wait()
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) != 1 {
		t.Errorf("%d entities for one alias", len(ids))
	}
}

func TestLoginChangesMetadataOfTheAlias(t *testing.T) {
	f := newFixture(t)
	alias := token.Alias{MountAccessor: ldap, Name: "bob", Metadata: map[string]string{"team": "a"}}
	e := f.mustLogin(alias)
	alias.Metadata = map[string]string{"team": "b"}
	f.mustLogin(alias)
	h, err := f.store.Holder(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := h.Value("identity.entity.aliases." + ldap + ".metadata.team"); v != "b" || err != nil {
		t.Errorf("metadata %q, %v", v, err)
	}
}

// A disabled entity is refused also where its login would change something, and changes nothing.
func TestLoginOfADisabledEntityChangesNothing(t *testing.T) {
	f := newFixture(t)
	e := f.mustLogin(token.Alias{MountAccessor: ldap, Name: "bob"})
	f.write("entity/id/"+e.ID, params{"disabled": true})
	before := f.dump()
	for _, metadata := range []map[string]string{nil, {"a": "b"}} {
		_, err := f.login(token.Alias{MountAccessor: ldap, Name: "bob", Metadata: metadata})
		if !errors.Is(err, engines.ErrDenied) || err.Error() != "permission denied" {
			t.Errorf("with metadata %v: %v", metadata, err)
		}
	}
	if diff := cmp.Diff(before, f.dump()); diff != "" {
		t.Error(diff)
	}
}

// The order in which the records of a change reach the index does not matter.
func TestIndexTakesAMoveInAnyOrder(t *testing.T) {
	alias := Alias{ID: "a", Name: "n", MountAccessor: ldap}
	for _, toFirst := range []bool{true, false} {
		x := newIndex(fixedMounts{})
		x.setEntity("from", &Entity{ID: "from", Name: "from", Aliases: []Alias{alias}, Merged: []string{"m"}})
		x.setEntity("to", &Entity{ID: "to", Name: "to"})
		if !toFirst {
			x.setEntity("from", nil)
		}
		x.setEntity("to", &Entity{ID: "to", Name: "from", Aliases: []Alias{alias}, Merged: []string{"m"}})
		if toFirst {
			x.setEntity("from", nil)
		}
		for what, got := range map[string]*Entity{
			"alias": x.entityOfAlias("a"), "login": x.entityOfLogin(alias.factors()), "name": x.entityNamed("from"), "merged": x.entity("m"),
		} {
			if got == nil || got.ID != "to" {
				t.Errorf("to first %v: the %s leads to %v", toFirst, what, got)
			}
		}
		if x.entityNamed("to") != nil {
			t.Error("the old name is still there")
		}
	}
}

func TestExternalGroupsFollowLogins(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"admins", "users"} {
		id := f.make("group", params{"name": name, "type": "external", "policies": []any{name}})
		f.make("group-alias", params{"name": "cn=" + name, "mount_accessor": ldap, "canonical_id": id})
	}
	elsewhere := f.make("group", params{"name": "elsewhere", "type": "external", "policies": []any{"elsewhere"}})
	f.make("group-alias", params{"name": "cn=admins", "mount_accessor": jwt, "canonical_id": elsewhere})
	internal := f.make("group", params{"name": "internal", "policies": []any{"internal"}})

	alias := token.Alias{MountAccessor: ldap, Name: "bob", Groups: []string{"CN=admins", "cn=unknown"}}
	e := f.mustLogin(alias)
	f.write("group/id/"+internal, params{"member_entity_ids": []any{e.ID}})
	step := func(what string, want ...string) {
		t.Helper()
		got := slices.Sorted(slices.Values(f.policies(e.ID)))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", what, diff)
		}
	}
	step("first login", "admins", "internal")
	alias.Groups = []string{"cn=users"}
	if got := f.mustLogin(alias); !slices.Contains(got.Policies, "users") || slices.Contains(got.Policies, "admins") {
		t.Errorf("the login says %v", got.Policies)
	}
	step("other groups", "internal", "users")
	alias.Groups, alias.KeepGroups = nil, true
	f.mustLogin(alias)
	step("a token with the alias", "internal", "users")
	alias.KeepGroups = false
	f.mustLogin(alias)
	step("no groups", "internal")
}

// TestMembersOfAGroupWhoseAliasIsGone: nothing would ever take them out again.
func TestMembersOfAGroupWhoseAliasIsGone(t *testing.T) {
	f := newFixture(t)
	id := f.make("group", params{"name": "admins", "type": "external", "policies": []any{"admins"}})
	alias := f.make("group-alias", params{"name": "admins", "mount_accessor": ldap, "canonical_id": id})
	login := token.Alias{MountAccessor: ldap, Name: "bob", Groups: []string{"admins"}}
	e := f.mustLogin(login)
	f.write("group-alias/id/"+alias, params{"name": "admins", "mount_accessor": jwt, "canonical_id": id})
	if got := f.policies(e.ID); len(got) > 0 {
		t.Errorf("the alias has moved to another mount: %v", got)
	}
	f.write("group-alias/id/"+alias, params{"name": "admins", "mount_accessor": ldap, "canonical_id": id})
	f.mustLogin(login)
	f.do(engines.Delete, "group-alias/id/"+alias, nil)
	if err := f.store.Regroup(t.Context(), e.ID, ldap, []string{"admins"}); err != nil || len(f.policies(e.ID)) > 0 {
		t.Errorf("the alias is gone: %v, %v", f.policies(e.ID), err)
	}
}

func TestExternalGroupsFollowRenewals(t *testing.T) {
	base := storagetest.NewFaulty(memory.New())
	f := openFixture(t, base)
	id := f.make("group", params{"name": "admins", "type": "external", "policies": []any{"admins"}})
	f.make("group-alias", params{"name": "admins", "mount_accessor": ldap, "canonical_id": id})
	e := f.mustLogin(token.Alias{MountAccessor: ldap, Name: "bob"})
	for _, step := range []struct {
		groups  []string
		mount   string
		commits int
		want    []string
	}{
		{[]string{"admins"}, ldap, 1, []string{"admins"}}, {[]string{"Admins"}, ldap, 0, []string{"admins"}},
		{[]string{}, jwt, 0, []string{"admins"}}, {[]string{}, ldap, 1, nil},
	} {
		before := base.Calls(storagetest.Apply)
		if err := f.store.Regroup(t.Context(), e.ID, step.mount, step.groups); err != nil {
			t.Fatal(err)
		}
		if n := base.Calls(storagetest.Apply) - before; n != step.commits || !slices.Equal(f.policies(e.ID), step.want) {
			t.Errorf("%v at %s: %d commits, %v", step.groups, step.mount, n, f.policies(e.ID))
		}
	}
	if err := f.store.Regroup(t.Context(), "nobody", ldap, []string{"admins"}); err != nil {
		t.Error(err)
	}
}

func TestWhatIdentityAddsFollowsEveryChange(t *testing.T) {
	f := newFixture(t)
	bob := f.make("entity", params{"name": "bob", "policies": []any{"Own", "own"}})
	ops := f.make("group", params{"name": "ops", "policies": []any{"ops"}, "member_entity_ids": []any{bob}})
	parent := f.make("group", params{"name": "parent", "policies": []any{"parent"}, "member_group_ids": []any{ops}})
	grand := f.make("group", params{"name": "grand", "policies": []any{"grand"}, "member_group_ids": []any{parent}})
	step := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, slices.Sorted(slices.Values(f.policies(bob)))); diff != "" {
			t.Errorf("%s:\n%s", what, diff)
		}
	}
	step("all", "grand", "ops", "own", "parent")
	f.write("group/id/"+parent, params{"policies": []any{"other"}})
	step("policies of a parent", "grand", "ops", "other", "own")
	f.write("group/id/"+grand, params{"member_group_ids": []any{}})
	step("a parent leaves", "ops", "other", "own")
	f.write("entity/id/"+bob, params{"policies": []any{}})
	step("policies of the entity", "ops", "other")
	f.do(engines.Delete, "group/id/"+ops, nil)
	h, err := f.store.Holder(t.Context(), bob)
	if err != nil || len(h.Policies()) != 0 {
		t.Errorf("after the group: %v, %v", h, err)
	}
	f.write("entity/id/"+bob, params{"disabled": true})
	f.refused(bob, ErrDisabled)
	f.write("entity/id/"+bob, params{"disabled": false})
	f.do(engines.Delete, "entity/id/"+bob, nil)
	f.refused(bob, ErrNoEntity)
}

func TestNobodyGetsRootThroughIdentity(t *testing.T) {
	f := newFixture(t)
	for _, root := range []string{"root", "ROOT", " Root ", "root\t", "\nroot"} {
		for _, path := range []string{"entity", "entity/name/x", "group", "group/name/x"} {
			_, err := f.try(engines.Update, path, params{"name": "x", "policies": []any{"a", root}})
			if !errors.Is(err, engines.ErrInvalid) {
				t.Errorf("%s with %q: %v", path, root, err)
			}
		}
	}
	for _, record := range []string{`{"name":"x","pol":["root"]}`, `{"name":"x","pol":["Root "]}`} {
		if _, err := decodeEntity("id", []byte("\x01"+record)); !errors.Is(err, errCorrupt) {
			t.Errorf("an entity %s: %v", record, err)
		}
		if _, err := decodeGroup("id", []byte("\x01"+record)); !errors.Is(err, errCorrupt) {
			t.Errorf("a group %s: %v", record, err)
		}
	}
}

// Whatever is asked, no group is a member of itself.
func TestGroupsNeverFormACycle(t *testing.T) {
	f := newFixture(t)
	random := rand.New(rand.NewPCG(1, 2))
	var ids []string
	for i := range 8 {
		ids = append(ids, f.make("group", params{"name": fmt.Sprint("g", i)}))
	}
	accepted := 0
	for range 2000 {
		members := []any{ids[random.IntN(len(ids))], ids[random.IntN(len(ids))]}
		if _, err := f.try(engines.Update, "group/id/"+ids[random.IntN(len(ids))], params{"member_group_ids": members}); err == nil {
			accepted++
		}
		for _, id := range ids {
			for _, parent := range f.store.index.parentsOf(id) {
				if _, cyclic := f.store.index.above([]string{parent})[id]; cyclic {
					t.Fatalf("group %s is a member of itself", id)
				}
			}
		}
	}
	if accepted < 100 {
		t.Errorf("only %d changes were accepted", accepted)
	}
}

func TestBoundsOfMetadata(t *testing.T) {
	f := newFixture(t)
	many := params{}
	for i := range maxPairs + 1 {
		many[fmt.Sprint("k", i)] = "v"
	}
	for name, metadata := range map[string]params{
		"many": many, "long key": {strings.Repeat("k", maxKey+1): "v"}, "long value": {"k": strings.Repeat("v", maxValue+1)},
		"empty key": {"": "v"},
	} {
		for _, path := range []string{"entity", "group"} {
			if _, err := f.try(engines.Update, path, params{"metadata": metadata}); !errors.Is(err, engines.ErrFailed) {
				t.Errorf("%s of an %s: %v", name, path, err)
			}
		}
		if err := checkCustom(toStrings(metadata)); !errors.Is(err, engines.ErrFailed) {
			t.Errorf("%s of an alias: %v", name, err)
		}
	}
	if _, err := f.try(engines.Update, "entity", params{"name": strings.Repeat("n", maxName+1)}); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("a long name: %v", err)
	}
}

func toStrings(m params) map[string]string {
	texts := make(map[string]string, len(m))
	for k, v := range m {
		texts[k] = fmt.Sprint(v)
	}
	return texts
}

func TestRestartFindsEverything(t *testing.T) {
	f := newFixture(t)
	for i := range 2000 {
		f.mustLogin(token.Alias{MountAccessor: ldap, Name: fmt.Sprint("u", i)})
	}
	populate(f)
	// A page of a list costs as much as the whole list behind the barrier, so there is one list for each kind.
	counted := storagetest.NewFaulty(f.base)
	openFixture(t, counted)
	if n := counted.Calls(storagetest.List); n != 2 {
		t.Errorf("%d lists at the start", n)
	}
	if diff := cmp.Diff(f.dump(), openFixture(t, f.base).dump()); diff != "" {
		t.Error(diff)
	}
}

// populate makes one of everything and changes it; what fails is left out.
func populate(f *fixture) {
	id := func(path string, p params) string {
		data, err := f.try(engines.Update, path, p)
		if err != nil {
			return ""
		}
		s, _ := data["id"].(string)
		return s
	}
	bob := id("entity", params{"name": "bob", "metadata": params{"k": "v"}, "policies": []any{"p"}})
	eve, _ := f.login(token.Alias{MountAccessor: ldap, Name: "eve", Metadata: map[string]string{"a": "b"}})
	alias := id("entity-alias", params{"name": "bob", "mount_accessor": jwt, "canonical_id": bob})
	group := id("group", params{"name": "ops", "member_entity_ids": []any{bob, eve.ID}})
	ext := id("group", params{"name": "ext", "type": "external"})
	id("group-alias", params{"name": "admins", "mount_accessor": ldap, "canonical_id": ext})
	id("group", params{"name": "parent", "member_group_ids": []any{group, ext}})
	_, _ = f.login(token.Alias{MountAccessor: ldap, Name: "eve", Groups: []string{"admins"}})
	id("entity-alias/id/"+alias, params{"name": "bobby", "custom_metadata": params{"c": "d"}})
	id("entity/merge", params{"from_entity_ids": []any{eve.ID}, "to_entity_id": bob})
	_, _ = f.try(engines.Delete, "group/name/ops", nil)
	id("entity", params{"name": "last"})
	_, _ = f.try(engines.Delete, "entity/name/last", nil)
}

// After any fault memory and storage agree, and nothing is there in part.
func TestFaults(t *testing.T) {
	storagetest.EachFault(t, newMemory, func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
		store, err := New(t.Context(), testConfig(faulty))
		if err != nil {
			return // it does not open, and says so
		}
		f := openFixture(t, base)
		f.store, f.base = store, base
		f.router, err = engines.NewRouter(store.Engine())
		if err != nil {
			t.Fatal(err)
		}
		populate(f)
		faulty.Heal()
		checkWhole(t, f.store)
		if diff := cmp.Diff(openFixture(t, base).dump(), f.dump()); diff != "" {
			t.Errorf("storage and memory differ:\n%s", diff)
		}
	})
}

// checkWhole fails when a group names somebody who is not there, or an alias is kept twice.
func checkWhole(t *testing.T, s *Store) {
	t.Helper()
	seen := map[factors]string{}
	err := s.view(t.Context(), func(x *index) {
		for _, g := range x.groups {
			for _, id := range g.Entities {
				if x.entities[id] == nil {
					t.Errorf("group %s has the member %s, which is not there", g.Name, id)
				}
			}
			for _, id := range g.Groups {
				if x.groups[id] == nil {
					t.Errorf("group %s has the group %s, which is not there", g.Name, id)
				}
			}
		}
		for id, e := range x.entities {
			for i := range e.Aliases {
				if other := seen[e.Aliases[i].factors()]; other != "" {
					t.Errorf("entities %s and %s have one alias", id, other)
				}
				seen[e.Aliases[i].factors()] = id
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// While nobody knows what storage holds, nobody is told anything.
func TestNothingIsToldWhileInDoubt(t *testing.T) {
	base := storagetest.NewFaulty(memory.New())
	f := openFixture(t, base)
	bob := f.make("entity", params{"name": "bob", "policies": []any{"p"}})
	base.FailEvery(storagetest.Get, storagetest.NotWritten)
	base.Fail(storagetest.Apply, 1, storagetest.WrittenButFailed)
	if _, err := f.try(engines.Update, "entity/id/"+bob, params{"disabled": true}); !errors.Is(err, storagetest.ErrInjected) {
		t.Fatal(err)
	}
	if _, err := f.store.Holder(t.Context(), bob); !errors.Is(err, storagetest.ErrInjected) {
		t.Errorf("in doubt: %v", err)
	}
	if _, err := f.login(token.Alias{MountAccessor: ldap, Name: "eve"}); !errors.Is(err, storagetest.ErrInjected) {
		t.Errorf("login in doubt: %v", err)
	}
	base.Heal()
	f.refused(bob, ErrDisabled)
}

func TestEveryChangeIsOneCommit(t *testing.T) {
	base := storagetest.NewFaulty(memory.New())
	f := openFixture(t, base)
	bob := f.make("entity", params{"name": "bob"})
	eve := f.make("entity", params{"name": "eve"})
	child := f.make("group", params{"name": "child", "member_entity_ids": []any{bob, eve}})
	ext := f.make("group", params{"name": "ext", "type": "external"})
	f.make("group-alias", params{"name": "admins", "mount_accessor": ldap, "canonical_id": ext})
	alias := f.make("entity-alias", params{"name": "bob", "mount_accessor": jwt, "canonical_id": bob})
	count := func(what string, do func()) {
		t.Helper()
		before := base.Calls(storagetest.Apply)
		do()
		if got := base.Calls(storagetest.Apply) - before; got != 1 {
			t.Errorf("%s: %d commits", what, got)
		}
	}
	count("a login that is new and enters a group", func() {
		f.mustLogin(token.Alias{MountAccessor: ldap, Name: "dan", Groups: []string{"admins"}})
	})
	count("a parent", func() { f.make("group", params{"name": "parent", "member_group_ids": []any{child}}) })
	count("moving an alias", func() { f.write("entity-alias/id/"+alias, params{"canonical_id": eve}) })
	count("a merge", func() { f.write("entity/merge", params{"from_entity_ids": []any{eve}, "to_entity_id": bob}) })
	count("deleting a group", func() { f.do(engines.Delete, "group/id/"+child, nil) })
	count("deleting entities", func() { f.write("entity/batch-delete", params{"entity_ids": []any{bob, eve}}) })
}
