package kv_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// TestUpgradeIsLinear counts the names that are read to make secrets of version 1 ones of version 2.
func TestUpgradeIsLinear(t *testing.T) {
	const n = 4000
	synctest.Test(t, func(t *testing.T) {
		tally := &storagetest.Tally{Storage: memory.New()}
		v := newServer(t, tally, "1")
		for i := range n {
			if _, err := v.request(t.Context(), "PUT", fmt.Sprint("a", i), map[string]any{"k": "v"}); err != nil {
				t.Fatal(err)
			}
		}
		before := tally.Names()
		newServer(t, tally, "2")
		time.Sleep(time.Minute)
		synctest.Wait()
		if read := tally.Names() - before; read < n || read > 3*n {
			t.Errorf("%d names were read to upgrade %d secrets", read, n)
		}
	})
}
