package main

import (
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync"
	"time"
)

const (
	// memoryLimit is where the collector begins to work harder, in bytes: on a small machine a burst of large
	// requests must not leave the heap at twice what they needed. GOMEMLIMIT overrides it.
	memoryLimit = 96 << 20
	// memoryRoom is what the limit leaves beside a large live heap, and half of it, in bytes. A limit below what is
	// in use would have the collector run all the time.
	memoryRoom = 16 << 20
	// heapGrowth is by how many percent the heap may grow before it is collected. The live heap is a few megabytes,
	// so Go's default of 100 collects many times a second under load for a handful of megabytes saved.
	heapGrowth = 200
	// A heap counts as large when it was at each of heapSamples looks, which are heapInterval apart: then it holds what
	// the server keeps, and not a burst of requests.
	heapSamples  = 3
	heapInterval = time.Second
)

// tuneCollector sets what the environment leaves open. stop ends what it does from time to time.
func (p *process) tuneCollector() (stop func()) {
	if p.env("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
	if p.env("GOMEMLIMIT") != "" {
		return func() {}
	}
	debug.SetMemoryLimit(memoryLimit)
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { followHeap(done, liveHeap, func(limit int64) { debug.SetMemoryLimit(limit) }) })
	return func() {
		close(done)
		all.Wait()
	}
}

// followHeap keeps the limit above the live heap until done is closed. live and set are those of the runtime.
func followHeap(done <-chan struct{}, live func() int64, set func(int64)) {
	ticker := time.NewTicker(heapInterval)
	defer ticker.Stop()
	var seen [heapSamples]int64
	limit := int64(memoryLimit)
	for n := 0; ; n++ {
		select {
		case <-ticker.C:
		case <-done:
			return
		}
		seen[n%heapSamples] = live()
		if next := limitFor(slices.Min(seen[:])); next != limit {
			limit = next
			set(limit)
		}
	}
}

// limitFor is the limit for a live heap, both in bytes.
func limitFor(live int64) int64 { return max(memoryLimit, live+live/2+memoryRoom) }

// liveHeap is what the last collection found alive, in bytes.
func liveHeap() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(min(sample[0].Value.Uint64(), 1<<62))
}
