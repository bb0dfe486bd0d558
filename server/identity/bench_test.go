package identity

import (
	"fmt"
	"testing"

	"coffer/auth/token"
)

// BenchmarkHolder is what each request of an entity's token pays.
func BenchmarkHolder(b *testing.B) {
	f := newFixture(b)
	id := f.make("entity", params{"name": "bob", "policies": []any{"p"}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.store.Holder(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLogin is what a login of a known alias pays, with a thousand others and external groups.
func BenchmarkLogin(b *testing.B) {
	f := newFixture(b)
	for i := range 1000 {
		f.mustLogin(token.Alias{MountAccessor: ldap, Name: fmt.Sprint("u", i)})
	}
	id := f.make("group", params{"name": "admins", "type": "external"})
	f.make("group-alias", params{"name": "admins", "mount_accessor": ldap, "canonical_id": id})
	alias := token.Alias{MountAccessor: ldap, Name: "u7", Groups: []string{"admins", "others"}}
	f.mustLogin(alias)
	b.ReportAllocs()
	for b.Loop() {
		e, err := f.store.Login(b.Context(), alias)
		if err != nil || len(e.Changes) > 0 {
			b.Fatal(e, err)
		}
	}
}
