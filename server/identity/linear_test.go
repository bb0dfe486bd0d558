package identity

import (
	"fmt"
	"runtime"
	"testing"

	"coffer/engines"
)

// TestDeletingManyIsLinear deletes, and merges, many entities of one group, and looks at the memory that is used on the
// way: a copy of the members for each would be 256 MB.
func TestDeletingManyIsLinear(t *testing.T) {
	const n, bound = 4000, 64 << 20
	for name, ask := range map[string]func(f *fixture, ids []string) error{
		"delete": func(f *fixture, ids []string) error {
			_, err := f.try(engines.Update, "entity/batch-delete", params{"entity_ids": anys(ids)})
			return err
		},
		"merge": func(f *fixture, ids []string) error {
			_, err := f.try(engines.Update, "entity/merge", params{"from_entity_ids": anys(ids[1:]), "to_entity_id": ids[0]})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			var ids []string
			err := f.store.change(t.Context(), func(c *change) error {
				for i := range n {
					e := &Entity{ID: fmt.Sprint("e", i), Name: fmt.Sprint("n", i)}
					ids = append(ids, e.ID)
					c.newEntity[e.ID] = e
					c.refs = append(c.refs, recordRef{entityRecord, e.ID})
				}
				g := &Group{ID: "g", Name: "g", Entities: ids}
				c.newGroup["g"] = g
				c.refs = append(c.refs, recordRef{groupRecord, "g"})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := ask(f, ids); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > bound {
				t.Errorf("%d took %d bytes", n, used)
			}
			want := map[string]int{"delete": 0, "merge": 1}[name]
			if got := len(f.store.index.groups["g"].Entities); got != want || len(f.store.index.entities) != want {
				t.Errorf("%d members and %d entities are left, want %d", got, len(f.store.index.entities), want)
			}
		})
	}
}

func anys(ids []string) []any {
	list := make([]any, 0, len(ids))
	for _, id := range ids {
		list = append(list, id)
	}
	return list
}
