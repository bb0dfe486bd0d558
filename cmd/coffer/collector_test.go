package main

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestLimitFollowsTheHeap: a heap that stays large raises the limit, a burst does not, and a smaller heap lowers it.
func TestLimitFollowsTheHeap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mib = 1 << 20
		var heap atomic.Int64
		limits, done := []int64{}, make(chan struct{})
		go followHeap(done, heap.Load, func(limit int64) { limits = append(limits, limit) })
		during := func(size int64, d time.Duration) {
			heap.Store(size)
			time.Sleep(d) // of the bubble's clock
			synctest.Wait()
		}
		during(8*mib, time.Minute)
		during(300*mib, 2*time.Second)
		during(8*mib, time.Minute)
		if len(limits) > 0 {
			t.Fatalf("after a burst: %v", limits)
		}
		during(300*mib, 4*time.Second)
		during(8*mib, 2*time.Second)
		if want := []int64{(300+150)*mib + memoryRoom, memoryLimit}; !slices.Equal(limits, want) {
			t.Errorf("limits %v, want %v", limits, want)
		}
		close(done)
	})
}

func TestLiveHeap(t *testing.T) {
	kept := make([]byte, 64<<20)
	runtime.GC()
	if live := liveHeap(); live < int64(len(kept)) || live > 1<<32 {
		t.Errorf("%d bytes are alive, of which %d are kept", live, len(kept))
	}
	runtime.KeepAlive(kept)
}
