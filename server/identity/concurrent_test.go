package identity

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/auth/token"
	"coffer/engines"
)

// Changes, logins and requests at once: nothing is lost, nothing is in part, and what is told is what is
// stored.
func TestConcurrentUse(t *testing.T) {
	f := newFixture(t)
	group := f.make("group", params{"name": "all", "policies": []any{"p"}})
	admins := f.make("group", params{"name": "admins", "type": "external"})
	f.make("group-alias", params{"name": "admins", "mount_accessor": ldap, "canonical_id": admins})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 40 {
				alias := token.Alias{MountAccessor: ldap, Name: fmt.Sprint("user", j%7)}
				if (i+j)%2 == 0 {
					alias.Groups = []string{"admins"}
				}
				e, err := login(t.Context(), f.store, f.base, alias)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = f.store.Holder(t.Context(), e.ID)
				if err != nil && !errors.Is(err, ErrNoEntity) {
					t.Error(err)
				}
				switch {
				case j%13 == 0:
					_, err = f.try(engines.Delete, "entity/id/"+e.ID, nil)
				case j%5 == 0:
					_, err = f.try(engines.Update, "group/id/"+group, params{"member_entity_ids": []any{e.ID}})
					if errors.Is(err, engines.ErrFailed) {
						err = nil // somebody deleted it meanwhile
					}
				default:
					_, err = f.try(engines.List, "entity/id", nil)
				}
				if err != nil && !errors.Is(err, engines.ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	checkWhole(t, f.store)
	if diff := cmp.Diff(openFixture(t, f.base).dump(), f.dump()); diff != "" {
		t.Errorf("storage and memory differ:\n%s", diff)
	}
}
