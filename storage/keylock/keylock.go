// Package keylock locks storage keys for the time of a read-modify-write.
package keylock

import (
	"hash/maphash"
	"sync"
)

// stripes is how many locks a Set has. Two keys that share one only wait for each other.
const stripes = 256

// Set is a fixed number of locks shared out over all keys, so that its size does not depend on how many
// keys there are. Its zero value is not usable; New makes one. It is safe for concurrent use.
//
// Whoever holds the lock of one key must not ask for that of another: both may be the same lock.
type Set struct {
	seed  maphash.Seed
	locks [stripes]sync.RWMutex
}

// New returns a Set.
func New() *Set { return &Set{seed: maphash.MakeSeed()} }

// Of returns the lock of key. It is the same for a key as long as the Set lives.
func (s *Set) Of(key string) *sync.RWMutex {
	return &s.locks[maphash.String(s.seed, key)%stripes]
}
