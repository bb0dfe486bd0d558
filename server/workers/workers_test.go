package workers_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"coffer/server/workers"
)

// TestNothingBeginsAfterTheEnd lets many begin work beside who waits for the end of it: what was begun has ended then,
// and nothing begins any more.
func TestNothingBeginsAfterTheEnd(t *testing.T) {
	for range 200 {
		var g workers.Group
		var running atomic.Int32
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				for g.Go(func() { running.Add(1); running.Add(-1) }) {
				}
			})
		}
		g.Wait()
		if n := running.Load(); n != 0 {
			t.Fatalf("%d run after the end", n)
		}
		callers.Wait()
		g.Wait()
		if g.Go(func() { t.Error("it runs") }) {
			t.Fatal("something began after the end")
		}
	}
}
