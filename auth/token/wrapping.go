package token

import (
	"context"
	"errors"
	"slices"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// wrapped is where a wrapping token's cubbyhole keeps what it holds back.
const wrapped = "response"

// AddWrapping makes a wrapping token: an orphan with one use, the policy response-wrapping, a life of ttl
// and no renewal, that says it was made at path. The payload goes into its cubbyhole under the name
// "response". Token and payload are one commit.
func (s *Store) AddWrapping(ctx context.Context, path string, ttl time.Duration, payload []byte) (*Entry, error) {
	return s.add(ctx, draft{entry: s.wrappingEntry(path, ttl), more: func(id string) []storage.Op {
		return []storage.Op{storage.Put(s.cubbyhole(id)+wrapped, payload)}
	}})
}

func (s *Store) wrappingEntry(path string, ttl time.Duration) *Entry {
	now := s.now()
	return &Entry{
		Caller:  &engines.Caller{Policies: []string{wrappingPolicy}, Path: path},
		NumUses: 1,
		Life:    Life{Created: now, Expires: now.Add(ttl), CreationTTL: ttl, TTL: ttl, ExplicitMax: ttl},
	}
}

// Wrapping returns the entry of a wrapping token, or ErrBadToken for any other and for one that was used. It counts no
// use.
func (s *Store) Wrapping(ctx context.Context, t engines.Token) (*Entry, error) {
	e, err := s.Authenticate(ctx, t)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(e.Caller.Policies, []string{wrappingPolicy}) {
		return nil, ErrBadToken
	}
	return e, nil
}

// TakeWrapped returns the payload of a wrapping token and revokes the token: of any number of calls at
// once one gets it, the others and all later ones return ErrBadToken. So does a call for a token whose use has begun
// elsewhere: that request can read the payload. When it returns another error the token may be lost with its payload.
func (s *Store) TakeWrapped(ctx context.Context, t engines.Token) (payload []byte, err error) {
	e, err := s.Wrapping(ctx, t)
	if err != nil {
		return nil, err
	}
	err = s.end(ctx, e.ID, endOptions{take: func(ctx context.Context, e *Entry) (_ []storage.Op, _ func(), err error) {
		payload, err = s.payload(ctx, e)
		return nil, nil, err
	}})
	if err != nil {
		return nil, err
	}
	return payload, nil
}

// Rewrap moves the payload of a wrapping token to a new one with the same life and path, and revokes the
// old one, in one commit. It returns ErrBadToken as TakeWrapped does.
func (s *Store) Rewrap(ctx context.Context, t engines.Token) (*Entry, error) {
	e, err := s.Wrapping(ctx, t)
	if err != nil {
		return nil, err
	}
	var fresh *Entry
	issued := func() {}
	defer func() { issued() }()
	err = s.end(ctx, e.ID, endOptions{take: func(ctx context.Context, e *Entry) ([]storage.Op, func(), error) {
		payload, err := s.payload(ctx, e)
		if err != nil {
			return nil, nil, err
		}
		fresh = s.name(s.wrappingEntry(e.Caller.Path, e.Life.CreationTTL), engines.Token{})
		// A wrapping token has no children, so nobody waits for the lock of another token from here on.
		fresh.Life.Created, issued = s.cfg.Leases.Issue(fresh.Caller.Path, fresh.Life.Created)
		ops, err := stage(fresh)
		return append(ops, storage.Put(s.cubbyhole(fresh.ID)+wrapped, payload)), func() { s.watch(fresh) }, err
	}})
	if err != nil {
		return nil, err
	}
	return fresh, nil
}

// payload reads what a wrapping token holds back.
func (s *Store) payload(ctx context.Context, e *Entry) ([]byte, error) {
	b, err := s.cfg.Storage.Get(ctx, s.cubbyhole(e.ID)+wrapped)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, ErrBadToken
	}
	return b, err
}
