// Package memory is a Storage that keeps everything in memory: for tests and for the -dev server.
package memory

import (
	"bytes"
	"context"
	"sync"

	"coffer/storage"
	"coffer/storage/internal/listing"
)

// Store is an ordered in-memory Storage. It is safe for concurrent use; nothing survives the process.
type Store struct {
	mu sync.RWMutex
	// keys and closed are guarded by mu.
	keys   sorted
	closed bool
}

// New returns an empty store.
func New() *Store { return &Store{} }

// Close drops everything. Every later call, Close aside, returns storage.ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.closed = sorted{}, true
	return nil
}

// Get implements storage.Storage.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := storage.CheckKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	value, err := s.stored(key)
	if err != nil {
		return nil, err
	}
	if err := storage.Spend(ctx, len(value)); err != nil {
		return nil, err
	}
	return append([]byte{}, value...), nil
}

// stored returns what is kept under the key, which is never changed.
func (s *Store) stored(key string) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, storage.ErrClosed
	}
	value, ok := s.keys.get(key)
	if !ok {
		return nil, storage.ErrNotFound
	}
	return value, nil
}

// List implements storage.Storage.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return listing.Within(ctx, func(room int) (names []string, need int, err error) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		if s.closed {
			return nil, 0, storage.ErrClosed
		}
		return listing.List(ctx, &cursor{keys: &s.keys}, prefix, after, limit, room)
	})
}

// Apply implements storage.Storage. The batch is durable for as long as the process lives.
func (s *Store) Apply(ctx context.Context, batch ...storage.Op) error {
	if err := storage.CheckBatch(batch); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	for _, op := range batch {
		if op.Remove {
			s.keys.remove(op.Key)
		} else {
			s.keys.set(op.Key, bytes.Clone(op.Value))
		}
	}
	return nil
}

// Contents returns everything in the store as one batch of puts in key order, so that a store built in
// memory can become another one in a single Apply. The values are shared: do not change them.
func (s *Store) Contents() []storage.Op {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var ops []storage.Op
	for _, chunk := range s.keys.chunks {
		for _, e := range chunk {
			ops = append(ops, storage.Put(e.key, e.value))
		}
	}
	return ops
}
