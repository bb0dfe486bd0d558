package secret

import (
	"runtime"
	"runtime/debug"
)

const (
	// smallest is the size in bytes of the smallest objects that Scrub overwrites: half a key tells too little.
	smallest = 32
	// maxFill bounds what Scrub allocates at one time, in bytes.
	maxFill = 4 << 20
	// The lengths in bytes of the spans that Go cuts into objects of one size, at most: for small objects and for all.
	smallSpan, largeSpan = 16 << 10, 80 << 10
	smallObject          = 1 << 10
)

// Scrub overwrites what the program once had in memory and has let go of: copies of keys in ciphers and in the text of
// requests, which nobody can reach to zero them. The garbage collector frees such memory without clearing it; Go
// clears it when it is used again. So Scrub uses it again. It takes some tens of milliseconds, and a second of one
// processor when the heap was large.
//
// What is still referenced stays: a Key that was not zeroed, a buffer of an open connection. So do registers and
// stacks.
func Scrub() {
	// The first collection empties pools, the second frees what was in them.
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	free := int(min(m.HeapInuse-m.HeapAlloc, maxFill))
	for _, class := range m.BySize {
		if size := int(class.Size); size >= smallest {
			fill(size, min(free, room(class.Mallocs-class.Frees, size)))
		}
	}
	// The sizes that BySize leaves out. Larger objects have pages of their own, which go back to the system.
	for _, size := range []int{19072, 20480, 21760, 24576, 27264, 28672, 32768} {
		fill(size, free)
	}
	debug.FreeOSMemory()
}

// room is how much may be free beside live objects of one size, in bytes: a span without any is the system's.
func room(live uint64, size int) int {
	span := largeSpan
	if size <= smallObject {
		span = smallSpan
	}
	return int(min(live, maxFill)) * span // at most 4 Mi times 80 KiB
}

// fill allocates total bytes in objects of one size, none of which holds pointers, and lets them go.
func fill(size, total int) {
	all := make([]*byte, 0, total/size)
	for range cap(all) {
		all = append(all, &make([]byte, size)[0])
	}
	runtime.KeepAlive(all)
}
