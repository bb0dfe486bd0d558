package identity

import (
	"slices"
	"testing"

	"coffer/auth/token"
	"coffer/engines"
)

// TestNamesFoldASCIIAlone: two subjects of a directory whose names are equal only when Unicode is folded are two people,
// also after a restart.
func TestNamesFoldASCIIAlone(t *testing.T) {
	f := newFixture(t)
	for _, pair := range [][2]string{{"kim", "\u212aim"}, {"mike", "mİke"}, {"ångström", "\u212bngström"}, {"ä", "Ä"}} {
		mine := f.mustLogin(token.Alias{Name: pair[0], MountAccessor: ldap}).ID
		if again := f.mustLogin(token.Alias{Name: upper(pair[0]), MountAccessor: ldap}).ID; again != mine {
			t.Errorf("%q is somebody else in capitals", pair[0])
		}
		other := f.mustLogin(token.Alias{Name: pair[1], MountAccessor: ldap}).ID
		if other == mine {
			t.Errorf("%q and %q share an entity", pair[0], pair[1])
		}
		if who, err := f.store.Who(t.Context(), token.Alias{Name: pair[1], MountAccessor: ldap}); err != nil || who.ID != other {
			t.Errorf("%q is %q, %v", pair[1], who.ID, err)
		}
		f.write("entity/id/"+mine, params{"name": "entity " + pair[0], "policies": "p"})
		if data, err := f.try(engines.Read, "entity/name/entity "+pair[1], nil); err == nil {
			t.Errorf("entity %q is found as %q", data["name"], pair[1])
		}
		group := f.make("group", params{"name": pair[0], "type": "external", "policies": "of-group"})
		f.make("group-alias", params{"name": pair[0], "mount_accessor": ldap, "canonical_id": group})
		if f.make("group", params{"name": pair[1]}) == group {
			t.Errorf("%q and %q are one group", pair[0], pair[1])
		}
		got := f.mustLogin(token.Alias{Name: "x" + pair[1], MountAccessor: ldap, Groups: []string{pair[1]}})
		if slices.Contains(got.Policies, "of-group") {
			t.Errorf("members of %q are members of %q", pair[1], pair[0])
		}
		f = openFixture(t, f.base)
		if again := f.mustLogin(token.Alias{Name: pair[1], MountAccessor: ldap}).ID; again != other {
			t.Errorf("%q is somebody else after a restart", pair[1])
		}
	}
}

// upper puts the letters a to z into capitals.
func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}
