// Package identity knows who holds a token: entities, the aliases by which auth methods name them, and the
// groups they belong to. It is the engine at identity/.
//
// Everything is kept in memory and behind the barrier; one request is one commit. See DESIGN.md.
package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// Mounts tells where auth methods are mounted.
type Mounts interface {
	// ByAccessor returns the mount with that accessor; false when there is none.
	ByAccessor(accessor string) (engines.Mount, bool)
}

// Config is what a Store works with.
type Config struct {
	// Storage is the barrier's root. The store's keys live below Prefix, which ends in "/".
	Storage storage.Storage
	Prefix  string
	Mounts  Mounts
	Logger  *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Store keeps the entities and groups of one session. It is safe for concurrent use.
type Store struct {
	cfg Config

	// changing is held from the first look at what is to be changed until the change is in the index. It is
	// a channel so that a caller can give up waiting for it.
	changing chan struct{}
	// unsettled is set while the index may not agree with storage: after a commit that was reported failed
	// and before its records could be read again. Nobody is told anything meanwhile.
	unsettled atomic.Bool
	// doubtful are the records in question; the holder of changing owns it.
	doubtful []recordRef

	mu sync.RWMutex
	// index is guarded by mu. What it points to is never changed in place.
	index *index
	// holders are the subjects of tokens seen since the last change, by entity id; guarded by mu.
	holders map[string]*Holder
	// revisions counts holders made, so that no two have the same number.
	revisions uint64
}

// New opens the entities and groups in cfg.Storage.
func New(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{
		cfg: cfg, index: newIndex(cfg.Mounts), holders: make(map[string]*Holder), changing: make(chan struct{}, 1),
	}
	for _, kind := range []recordKind{entityRecord, groupRecord} {
		if err := s.load(ctx, kind); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// reload puts into the index what storage has under a record's key; what cannot be read is lost. The caller holds
// changing, or is New.
func (s *Store) reload(ctx context.Context, ref recordRef) error {
	b, err := s.cfg.Storage.Get(ctx, s.key(ref))
	missing, lost := errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrDamaged)
	if err != nil && !missing && !lost {
		return fmt.Errorf("identity: read %s: %w", s.key(ref), err)
	}
	var entity *Entity
	var group *Group
	if err == nil {
		if ref.kind == entityRecord {
			entity, err = decodeEntity(ref.id, b)
		} else {
			group, err = decodeGroup(ref.id, b)
		}
		if lost = err != nil; lost {
			storage.SetAside(s.cfg.Storage, s.key(ref), err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.setLost(ref, lost)
	if ref.kind == entityRecord {
		s.index.setEntity(ref.id, entity)
	} else {
		s.index.setGroup(ref.id, group)
	}
	clear(s.holders)
	return nil
}

func (s *Store) key(ref recordRef) string { return s.cfg.Prefix + string(ref.kind) + "/" + ref.id }

// lock begins a change. Whoever holds it must call unlock.
func (s *Store) lock(ctx context.Context) error {
	select {
	case s.changing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.settleLocked(ctx); err != nil {
		s.unlock()
		return err
	}
	return nil
}

func (s *Store) unlock() { <-s.changing }

// settleLocked reads again what a failed commit left in doubt.
func (s *Store) settleLocked(ctx context.Context) error {
	for len(s.doubtful) > 0 {
		if err := s.reload(ctx, s.doubtful[0]); err != nil {
			return err
		}
		s.doubtful = s.doubtful[1:]
	}
	s.unsettled.Store(false)
	return nil
}

// settle makes sure that the index agrees with storage before somebody is told what is in it.
func (s *Store) settle(ctx context.Context) error {
	if !s.unsettled.Load() {
		return nil
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	s.unlock()
	return nil
}

// view runs f with the index, which f only reads.
func (s *Store) view(ctx context.Context, f func(*index)) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	f(s.index)
	return nil
}
