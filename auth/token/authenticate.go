package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 8 << 10

// maxDepth is how many tokens above one are looked at while many are being revoked. One that hangs deeper is refused
// meanwhile.
const maxDepth = 10_000

// spentGrace is how long after its last use a token that could not be revoked is kept.
const spentGrace = 5 * time.Minute

// Authenticate returns the entry of a token, or ErrBadToken when it is unknown, expired, revoked or used
// up. It does not count a use: when Entry.Limited, the pipeline must call Use.
func (s *Store) Authenticate(ctx context.Context, t engines.Token) (*Entry, error) {
	e, err := s.find(ctx, t)
	if err != nil {
		return nil, err
	}
	if e.NumUses == spent {
		return nil, ErrBadToken
	}
	return e, nil
}

// find is Authenticate for a token that may be in its last use.
func (s *Store) find(ctx context.Context, t engines.Token) (*Entry, error) {
	e := s.cache.get(t)
	if e == nil {
		var err error
		if e, err = s.load(ctx, t); err != nil {
			return nil, err
		}
	}
	if e.ended(s.now()) {
		if e.Caller.Batch {
			s.cfg.Ended()
		}
		return nil, ErrBadToken
	}
	if e.Caller.Batch && e.Parent != "" {
		alive, err := s.Alive(ctx, e.Parent)
		if err != nil {
			return nil, err
		}
		if !alive {
			return nil, ErrBadToken
		}
	}
	return s.unlessDoomed(ctx, e)
}

// unlessDoomed returns the entry, or ErrBadToken for a token that is being revoked with many others: with the path that
// issued it, or with a token that it hangs on. Nothing is looked up while there is no such revocation.
func (s *Store) unlessDoomed(ctx context.Context, e *Entry) (*Entry, error) {
	revoking := s.cfg.Leases.Revoking()
	if revoking == nil && !s.trees.any() {
		return e, nil
	}
	for up, seen := e, 0; ; seen++ {
		leased := !up.Unleased && !up.Caller.Batch
		if seen > maxDepth || revoking != nil && leased && revoking(up.Caller.Path, up.Life.Created) {
			return nil, ErrBadToken
		}
		if up.Parent == "" {
			return e, nil
		}
		if s.trees.ends(up.Parent) {
			return nil, ErrBadToken
		}
		parent := s.cache.byTokenID(up.Parent)
		if parent == nil {
			var err error
			if parent, err = s.read(ctx, up.Parent); err != nil {
				return nil, err
			}
		}
		up = parent
	}
}

// load reads a token that is not in the cache.
func (s *Store) load(ctx context.Context, t engines.Token) (*Entry, error) {
	if t.IsZero() || len(t.Reveal()) > maxToken {
		return nil, ErrBadToken
	}
	if t.HasPrefix(batchPrefix) {
		e, err := s.keys.openBatch(t)
		if err != nil {
			return nil, ErrBadToken
		}
		s.cache.put(e)
		return e, nil
	}
	id := s.keys.idOf(t)
	return keylock.Read(ctx, s.locks, id, func(ctx context.Context) (*Entry, error) {
		e, err := s.readLocked(ctx, id)
		if err != nil {
			return nil, err
		}
		e = e.withToken(t)
		s.cache.put(e)
		return e, nil
	})
}

// readLocked returns the entry as it is stored, or ErrBadToken. The token's lock is held. The cache is
// coherent with storage under the lock, so it answers when it can.
func (s *Store) readLocked(ctx context.Context, id string) (*Entry, error) {
	if s.ending.has(id) {
		return nil, ErrBadToken
	}
	e := s.cache.byTokenID(id)
	if e == nil {
		var err error
		if e, err = s.read(ctx, id); err != nil {
			return nil, err
		}
	}
	return s.unlessDoomed(ctx, e)
}

// read returns the entry as it is stored, ErrBadToken or ErrCorrupt.
func (s *Store) read(ctx context.Context, id string) (*Entry, error) {
	b, err := s.cfg.Storage.Get(ctx, entryKey(id))
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey) {
		return nil, ErrBadToken
	}
	if errors.Is(err, storage.ErrDamaged) {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, id, err)
	}
	if err != nil {
		return nil, err
	}
	e, err := decode(id, b)
	if err != nil {
		storage.SetAside(s.cfg.Storage, entryKey(id), err)
		return nil, err
	}
	if err := s.checkEndless(ctx, e); err != nil {
		return nil, err
	}
	return e, nil
}

// Alive reports whether a service token lives: it is there, its revocation has not begun, and its time is
// not over.
func (s *Store) Alive(ctx context.Context, id string) (bool, error) {
	return keylock.Read(ctx, s.locks, id, func(ctx context.Context) (bool, error) {
		e, err := s.readLocked(ctx, id)
		if errors.Is(err, ErrBadToken) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return !e.ended(s.now()), nil
	})
}

// WhileAlive runs f while the token with that Entry.ID lives: its revocation, once begun, waits for f, and
// sees what f left. It returns ErrBadToken without calling f when the token's revocation has begun.
func (s *Store) WhileAlive(ctx context.Context, id string, f func() error) error {
	_, err := keylock.Read(ctx, s.locks, id, func(ctx context.Context) (*Entry, error) {
		e, err := s.readLocked(ctx, id)
		if err != nil {
			return nil, err
		}
		return e, f()
	})
	return err
}

// Use counts one use of a token whose uses are limited, durably: of any number of concurrent calls
// exactly NumUses succeed, the others return ErrBadToken. It returns the entry with the uses that are
// left. After a success for an entry that is Limited the caller must call EndUse once its request is
// over, whatever became of it; until then the token is not revoked for being used up.
func (s *Store) Use(ctx context.Context, e *Entry) (*Entry, error) {
	if !e.Limited() {
		return e, nil
	}
	return keylock.Write(ctx, s.locks, e.ID, func(ctx context.Context) (*Entry, error) {
		now, err := s.readLocked(ctx, e.ID)
		if err != nil {
			return nil, err
		}
		if now.NumUses <= 0 || now.ended(s.now()) {
			return nil, ErrBadToken
		}
		used := *now.withToken(e.Caller.Token)
		if used.NumUses--; used.NumUses == 0 {
			used.NumUses = spent
		}
		used.complete()
		stored := used
		if used.NumUses == spent {
			// Should the server die before the revocation, the lease sees to it.
			stored.endBy(s.now().Add(spentGrace))
		}
		if err := s.putLocked(ctx, &stored); err != nil {
			return nil, err
		}
		s.cache.update(&used) // what requests under way are told of their token stays as it was
		s.watch(&stored)
		s.underway.begin(e.ID, used.NumUses == spent)
		return &used, nil
	})
}

// EndUse says that the request for which Use counted is over. When the uses are spent, the last of the
// requests that are under way at once revokes the token: not the one that began last, since the others
// still work with it. It is not bound to the request's context.
func (s *Store) EndUse(ctx context.Context, e *Entry) error {
	if !s.underway.end(e.ID) {
		return nil
	}
	return s.RevokeID(context.WithoutCancel(ctx), e.ID)
}

// putLocked stores a changed entry together with further changes. The token's lock is held.
func (s *Store) putLocked(ctx context.Context, e *Entry, ops ...storage.Op) error {
	value, err := e.encode()
	if err != nil {
		return err
	}
	if err := s.cfg.Storage.Apply(ctx, append(ops, storage.Put(entryKey(e.ID), value))...); err != nil {
		// Nobody knows whether it was written, so the next reader has to look.
		s.cache.remove(e.ID)
		return err
	}
	s.cache.update(e)
	return nil
}

// ByAccessor returns the entry of the token with that accessor, without its text, or ErrBadToken.
func (s *Store) ByAccessor(ctx context.Context, accessor string) (*Entry, error) {
	return s.byID(ctx, s.keys.idOfAccessor(accessor))
}

func (s *Store) byID(ctx context.Context, id string) (*Entry, error) {
	return keylock.Read(ctx, s.locks, id, func(ctx context.Context) (*Entry, error) {
		e, err := s.readLocked(ctx, id)
		if err != nil {
			return nil, err
		}
		if e.ended(s.now()) || e.NumUses == spent {
			return nil, ErrBadToken
		}
		return e.withToken(engines.Token{}), nil
	})
}
