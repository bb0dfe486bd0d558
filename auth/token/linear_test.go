package token

import (
	"fmt"
	"testing"

	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// TestRevocationIsLinear counts the names that are read: children and cubbyholes are paged at the cost of the page.
func TestRevocationIsLinear(t *testing.T) {
	const n = 10 * childPage
	for name, revoke := range map[string]func(f *fixture, e *Entry){
		"with its children":    func(f *fixture, e *Entry) { f.write(e, "revoke-self", nil) },
		"without its children": func(f *fixture, e *Entry) { f.write(f.root, "revoke-orphan", params{"token": e.Caller.Token.Reveal()}) },
	} {
		t.Run(name, func(t *testing.T) {
			tally := &storagetest.Tally{Storage: memory.New()}
			f := openFixture(t, tally)
			top := f.make(f.root, params{"policies": []any{"p"}})
			for range n {
				f.make(top, nil)
			}
			for i := range n {
				key := fmt.Sprintf("%s%s/%d", cubbyholes, top.Caller.CubbyholeID, i)
				if err := f.base.Apply(t.Context(), storage.Put(key, nil)); err != nil {
					t.Fatal(err)
				}
			}
			before := tally.Names()
			revoke(f, top)
			if read := tally.Names() - before; read < 2*n || read > 4*n {
				t.Errorf("%d names were read to end %d children and as many secrets", read, n)
			}
		})
	}
}
