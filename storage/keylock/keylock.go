// Package keylock locks storage keys for the time of a read-modify-write.
package keylock

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"coffer/storage"
)

// stripes is how many locks a Set has. Two keys that share one only wait for each other.
const stripes = 256

// Set is a fixed number of locks shared out over all keys, so that its size does not depend on how many
// keys there are. Its zero value is not usable; New makes one. It is safe for concurrent use.
//
// Whoever holds the lock of one key must not ask for that of another: both may be the same lock.
type Set struct {
	seed maphash.Seed
	// locks is nil until the first is asked for: a server may have thousands of mounts that nobody uses.
	locks atomic.Pointer[[stripes]sync.RWMutex]
}

// New returns a Set.
func New() *Set { return &Set{seed: maphash.MakeSeed()} }

// Write runs f while nobody else holds the lock of the key. Values that f reads are paid for while the lock is free, by
// storage.Prepay: with its context f never waits for memory, but it may be run more than once, and reads before it
// changes anything.
func Write[T any](ctx context.Context, s *Set, key string, f func(ctx context.Context) (T, error)) (T, error) {
	return locked(ctx, s.of(key), f)
}

// Read is Write for what changes nothing: others may hold the lock for reading at the same time.
func Read[T any](ctx context.Context, s *Set, key string, f func(ctx context.Context) (T, error)) (T, error) {
	return locked(ctx, s.of(key).RLocker(), f)
}

// Hold takes the lock of key for longer than one function runs, until release is called. Who reads while he holds it
// does so within storage.Prepay.
func (s *Set) Hold(key string) (release func()) {
	l := s.of(key)
	l.Lock()
	return l.Unlock
}

func locked[T any](ctx context.Context, l sync.Locker, f func(ctx context.Context) (T, error)) (result T, err error) {
	err = storage.Prepay(ctx, func(ctx context.Context) (err error) {
		l.Lock()
		defer l.Unlock()
		result, err = f(ctx)
		return err
	})
	return result, err
}

// of returns the lock of key. It is the same for a key as long as the Set lives.
func (s *Set) of(key string) *sync.RWMutex {
	locks := s.locks.Load()
	if locks == nil {
		s.locks.CompareAndSwap(nil, new([stripes]sync.RWMutex))
		locks = s.locks.Load()
	}
	return &locks[maphash.String(s.seed, key)%stripes]
}
