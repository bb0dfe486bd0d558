package keylock_test

import (
	"strconv"
	"sync"
	"testing"

	"coffer/storage/keylock"
)

func TestWritersOfOneKeyTakeTurns(t *testing.T) {
	locks := keylock.New()
	counts := map[string]*int{"a": new(int), "b": new(int)}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			key := []string{"a", "b"}[i%2]
			mu := locks.Of(key)
			mu.Lock()
			defer mu.Unlock()
			*counts[key]++
		})
	}
	wg.Wait()
	if *counts["a"] != 100 || *counts["b"] != 100 {
		t.Errorf("counted %d and %d, want 100 each", *counts["a"], *counts["b"])
	}
}

func TestKeysAreSpreadOverTheLocks(t *testing.T) {
	locks := keylock.New()
	seen := map[*sync.RWMutex]bool{}
	for i := range 4096 {
		seen[locks.Of(strconv.Itoa(i))] = true
	}
	if len(seen) < 200 {
		t.Errorf("4096 keys share %d locks", len(seen))
	}
	if first, again := locks.Of("x"), locks.Of("x"); first != again {
		t.Error("a key changed its lock")
	}
}
