package keylock

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"coffer/storage"
	"coffer/storage/memory"
)

func TestWritersOfOneKeyTakeTurns(t *testing.T) {
	locks := New()
	counts := map[string]*int{"a": new(int), "b": new(int)}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			key := []string{"a", "b"}[i%2]
			if _, err := Write(t.Context(), locks, key, func(context.Context) (int, error) {
				*counts[key]++
				return *counts[key], nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if *counts["a"] != 100 || *counts["b"] != 100 {
		t.Errorf("counted %d and %d, want 100 each", *counts["a"], *counts["b"])
	}
}

func TestKeysAreSpreadOverTheLocks(t *testing.T) {
	locks := New()
	seen := map[*sync.RWMutex]bool{}
	for i := range 4096 {
		seen[locks.of(strconv.Itoa(i))] = true
	}
	if len(seen) < 200 {
		t.Errorf("4096 keys share %d locks", len(seen))
	}
	if first, again := locks.of("x"), locks.of("x"); first != again {
		t.Error("a key changed its lock")
	}
}

// full is a Budget that has no room until it is opened.
type full struct {
	open  chan struct{}
	spent int
}

// Spend implements storage.Budget.
func (f *full) Spend(ctx context.Context, n int) error {
	select {
	case <-f.open:
		f.spent += n
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestNobodyWaitsWithALock: while one waits for the memory of a large value, others have the lock.
func TestNobodyWaitsWithALock(t *testing.T) {
	for name, with := range map[string]func(context.Context, *Set, string, func(context.Context) (int, error)) (int, error){
		"Write": Write[int], "Read": Read[int],
	} {
		synctest.Test(t, func(t *testing.T) {
			store := memory.New()
			const size = 5 * storage.LargeValue
			if err := store.Apply(t.Context(), storage.Put("a", make([]byte, size)), storage.Put("b", make([]byte, size))); err != nil {
				t.Fatal(err)
			}
			budget := &full{open: make(chan struct{})}
			locks := New()
			both := func(ctx context.Context) (int, error) {
				a, err := store.Get(ctx, "a")
				if err != nil {
					return 0, err
				}
				b, err := store.Get(ctx, "b")
				return len(a) + len(b), err
			}
			done := make(chan int, 1)
			go func() {
				ctx := context.WithValue(t.Context(), storage.BudgetKey{}, storage.Budget(budget))
				n, err := with(ctx, locks, "x", both)
				if err != nil {
					t.Error(err)
				}
				done <- n
			}()
			synctest.Wait()
			if !locks.of("x").TryLock() {
				t.Fatal("who waits for memory holds the lock")
			}
			locks.of("x").Unlock()
			if n, err := Write(t.Context(), locks, "x", both); n != 2*size || err != nil {
				t.Errorf("%s beside one who waits: %d, %v", name, n, err)
			}
			close(budget.open)
			if n := <-done; n != 2*size || budget.spent != 2*size {
				t.Errorf("%s read %d bytes and paid for %d", name, n, budget.spent)
			}
			// Who finds no room is told so, and has changed nothing.
			ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), storage.BudgetKey{},
				storage.Budget(&full{open: make(chan struct{})})), time.Second)
			defer cancel()
			if _, err := with(ctx, locks, "x", both); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s without room: %v", name, err)
			}
		})
	}
}

func TestHold(t *testing.T) {
	locks := New()
	release := locks.Hold("x")
	if locks.of("x").TryLock() {
		t.Fatal("the lock is free though somebody holds it")
	}
	release()
	if !locks.of("x").TryLock() {
		t.Error("the lock is not free")
	}
}
