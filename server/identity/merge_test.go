package identity

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/auth/token"
	"coffer/engines"
)

func TestTokensOfAMergedEntityAreThoseOfTheOther(t *testing.T) {
	f := newFixture(t)
	bob := f.make("entity", params{"name": "bob", "policies": []any{"bob"}})
	eve := f.mustLogin(token.Alias{MountAccessor: ldap, Name: "eve"})
	f.make("group", params{"name": "ops", "policies": []any{"ops"}, "member_entity_ids": []any{eve.ID}})
	f.write("entity/merge", params{"from_entity_ids": []any{eve.ID}, "to_entity_id": bob})
	h, err := f.store.Holder(t.Context(), eve.ID)
	if err != nil {
		t.Fatal(err)
	}
	if h.EntityID() != bob || !slices.Equal(h.Policies(), []string{"bob", "ops"}) {
		t.Errorf("eve is %s with %v", h.EntityID(), h.Policies())
	}
	if again := f.mustLogin(token.Alias{MountAccessor: ldap, Name: "eve"}); again.ID != bob {
		t.Error("eve's alias is not bob's")
	}
	if diff := cmp.Diff(f.dump(), openFixture(t, f.base).dump()); diff != "" {
		t.Errorf("after a restart:\n%s", diff)
	}
	f.write("entity/id/"+bob, params{"disabled": true})
	f.refused(eve.ID, ErrDisabled)
	if _, err := f.login(token.Alias{MountAccessor: ldap, Name: "eve"}); !errors.Is(err, engines.ErrDenied) {
		t.Errorf("login of a disabled entity: %v", err)
	}
	f.do(engines.Delete, "entity/id/"+bob, nil)
	f.refused(eve.ID, ErrNoEntity)
}

func TestAMergeKeepsOneAliasForEachMount(t *testing.T) {
	f := newFixture(t)
	bob := f.mustLogin(token.Alias{MountAccessor: ldap, Name: "bob"})
	eve := f.mustLogin(token.Alias{MountAccessor: ldap, Name: "eve"})
	dan := f.mustLogin(token.Alias{MountAccessor: ldap, Name: "dan"})
	anna := f.make("entity", params{"name": "anna"})
	alias := func(e token.Entity) string { return f.store.index.entities[e.ID].Aliases[0].ID }
	for name, p := range map[string]params{
		"a clash":                {"from_entity_ids": []any{eve.ID}, "to_entity_id": bob.ID},
		"a clash of two sources": {"from_entity_ids": []any{eve.ID, dan.ID}, "to_entity_id": anna},
		"a choice for two sources": {"from_entity_ids": []any{eve.ID, dan.ID}, "to_entity_id": anna,
			"conflicting_alias_ids_to_keep": []any{alias(eve)}},
		"neither kept": {"from_entity_ids": []any{eve.ID}, "to_entity_id": bob.ID,
			"conflicting_alias_ids_to_keep": []any{alias(dan)}},
		"both kept": {"from_entity_ids": []any{eve.ID}, "to_entity_id": bob.ID,
			"conflicting_alias_ids_to_keep": []any{alias(eve), alias(bob)}},
	} {
		before := f.dump()
		if _, err := f.try(engines.Update, "entity/merge", p); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(before, f.dump()); diff != "" {
			t.Errorf("%s changed:\n%s", name, diff)
		}
	}
	f.write("entity/merge", params{"from_entity_ids": []any{eve.ID}, "to_entity_id": bob.ID,
		"conflicting_alias_ids_to_keep": []any{alias(bob)}})
	if got := f.store.index.entities[bob.ID].Aliases; len(got) != 1 || got[0].Name != "bob" {
		t.Errorf("aliases %v", got)
	}
}
