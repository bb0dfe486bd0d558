package identity

import (
	"slices"
	"testing"

	"coffer/auth/token"
	"coffer/engines"
)

// TestMembersOfAGroupThatAnotherMountTakesOver: whom the logins at a mount made members does not
// stay when the logins at another one say who is in the group, however the alias came to be there.
func TestMembersOfAGroupThatAnotherMountTakesOver(t *testing.T) {
	login := token.Alias{MountAccessor: ldap, Name: "bob", Groups: []string{"admins"}}
	for name, takeOver := range map[string]func(f *fixture, group, alias string){
		"a new alias": func(f *fixture, group, _ string) {
			f.make("group-alias", params{"name": "admins", "mount_accessor": jwt, "canonical_id": group})
		},
		"a new alias after the old one was deleted": func(f *fixture, group, alias string) {
			f.do(engines.Delete, "group-alias/id/"+alias, nil)
			f.make("group-alias", params{"name": "admins", "mount_accessor": jwt, "canonical_id": group})
		},
		"the alias of another group": func(f *fixture, group, _ string) {
			other := f.make("group", params{"name": "other", "type": "external"})
			alias := f.make("group-alias", params{"name": "other", "mount_accessor": jwt, "canonical_id": other})
			f.write("group-alias/id/"+alias, params{"name": "other", "mount_accessor": jwt, "canonical_id": group})
		},
		"no other one, the mount is disabled": func(f *fixture, _, _ string) {
			mounts, ok := f.store.cfg.Mounts.(fixedMounts)
			if !ok {
				f.t.Fatal("other mounts")
			}
			delete(mounts, ldap)
			f.mustLogin(token.Alias{MountAccessor: jwt, Name: "bob"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			group := f.make("group", params{"name": "admins", "type": "external", "policies": []any{"admins"}})
			alias := f.make("group-alias", params{"name": "admins", "mount_accessor": ldap, "canonical_id": group})
			bob := f.mustLogin(login)
			f.make("entity-alias", params{"name": "bob", "mount_accessor": jwt, "canonical_id": bob.ID})
			if !slices.Contains(f.policies(bob.ID), "admins") {
				t.Fatal("bob is no member")
			}
			takeOver(f, group, alias)
			if got := f.policies(bob.ID); len(got) > 0 {
				t.Errorf("%v", got)
			}
		})
	}
}
