package approle_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"coffer/engines"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// TestSweepIsLinear counts the names that are read to remove the secret ids of a role.
func TestSweepIsLinear(t *testing.T) {
	const n = 4000
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tally := &storagetest.Tally{Storage: memory.New()}
		m := open(ctx, t, tally)
		m.must(t, engines.Update, "role/r", nil)
		for range n {
			m.secretID(t, "r", nil)
		}
		before := tally.Names()
		m.must(t, engines.Delete, "role/r", nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if read := tally.Names() - before; read < n || read > 2*n {
			t.Errorf("%d names were read to remove %d secret ids", read, n)
		}
	})
}
