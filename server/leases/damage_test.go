package leases

import (
	"strings"
	"testing"
	"time"

	"coffer/storage"
	"coffer/storage/memory"
)

// TestUnreadableLeaseKeepsNoTokenAlive ends a token with two leased secrets, the lease of one of which cannot be read.
func TestUnreadableLeaseKeepsNoTokenAlive(t *testing.T) {
	store := memory.New()
	s := start(t, store, nil, nil)
	defer s.end()
	lost, kept := s.register(t, "db/a", time.Hour), s.register(t, "db/b", time.Hour)
	if err := store.Apply(t.Context(), storage.Put(recordFolder+lost.ID, []byte("torn"))); err != nil {
		t.Fatal(err)
	}
	ops, done, err := s.RemoveToken(t.Context(), "", "h1")
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if len(ops) != 1 || !strings.HasSuffix(ops[0].Key, kept.ID) {
		t.Errorf("changes: %v; want the end of the other lease", ops)
	}
}
