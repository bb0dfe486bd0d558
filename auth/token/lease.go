package token

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"coffer/storage/keylock"
)

// Lease is what a token's record says of its lease.
type Lease struct {
	// ID is the path at which the token was made and the token's Entry.ID.
	ID     string
	Issued time.Time
	// Renewed is zero before the first renewal.
	Renewed time.Time
	// Expires is zero for a lease that never ends.
	Expires   time.Time
	Renewable bool
}

func (e *Entry) lease() Lease {
	return Lease{
		ID: e.LeaseID(), Issued: e.Life.Created, Renewed: e.Life.Renewed, Expires: e.Life.Expires,
		Renewable: e.Life.Renewable && !e.Spent(),
	}
}

// Lease returns the lease with that id as it is stored, ErrBadToken when no token has it, or ErrCorrupt.
func (s *Store) Lease(ctx context.Context, leaseID string) (Lease, error) {
	id, ok := idOfLease(leaseID)
	if !ok {
		return Lease{}, ErrBadToken
	}
	e, err := s.read(ctx, id)
	if err != nil {
		return Lease{}, err
	}
	if e.LeaseID() != leaseID {
		return Lease{}, ErrBadToken
	}
	return e.lease(), nil
}

// EachLease calls visit with the lease of every stored token that has one. A record that cannot be read is
// logged and passed over.
func (s *Store) EachLease(ctx context.Context, visit func(Lease)) error {
	return s.each(ctx, entryFolder, func(id string) error {
		e, err := s.read(ctx, id)
		switch {
		case errors.Is(err, ErrBadToken):
		case errors.Is(err, ErrCorrupt):
			s.log.Error("token record is unreadable", slog.String("id", id))
		case err != nil:
			return err
		case e.LeaseID() != "":
			visit(e.lease())
		}
		return nil
	})
}

// ExpireLease lets the token whose lease that is end now, durably: it cannot be used any more, and its lease
// is due. An unknown token is not an error.
func (s *Store) ExpireLease(ctx context.Context, leaseID string) error {
	id, ok := idOfLease(leaseID)
	if !ok {
		return nil
	}
	if done, err := s.expire(ctx, id, leaseID); done || err != nil {
		return err
	}
	// Somebody has begun to revoke it, who may give up: so it is revoked here as well.
	return s.RevokeID(ctx, id)
}

// expire is ExpireLease for a token that nobody revokes yet; done is false for another.
func (s *Store) expire(ctx context.Context, id, leaseID string) (done bool, err error) {
	return keylock.Write(ctx, s.locks, id, func(ctx context.Context) (bool, error) {
		e, err := s.read(ctx, id)
		if errors.Is(err, ErrBadToken) || (err == nil && e.LeaseID() != leaseID) {
			return true, nil
		}
		if err != nil || s.ending.has(id) {
			return false, err
		}
		e.endBy(s.now())
		if err := s.putLocked(ctx, e); err != nil {
			return false, err
		}
		s.watch(e)
		return true, nil
	})
}

// RevokeLease revokes the token whose lease that is, with its lease and all that hangs on it. When due is not
// nil it is asked once the token can be neither used nor renewed, and calls the revocation off by saying no.
// An unknown token is not an error.
func (s *Store) RevokeLease(ctx context.Context, leaseID string, due func(context.Context) (bool, error)) error {
	id, ok := idOfLease(leaseID)
	if !ok {
		return nil
	}
	return s.end(ctx, id, endOptions{due: due})
}

// RevokeLeases revokes the tokens of some leases, those that were issued up to a time, with all that hangs on them, in
// commits of about manyBatch changes. It returns the leases that no token has now; when there is an error, it may be
// told of fewer.
func (s *Store) RevokeLeases(ctx context.Context, leaseIDs []string, until time.Time) (gone []string, err error) {
	r := &revocation{store: s, begun: make(map[string]struct{})}
	defer r.release()
	for _, leaseID := range leaseIDs {
		id, ok := idOfLease(leaseID)
		if !ok {
			continue
		}
		e, err := s.read(ctx, id)
		switch {
		case errors.Is(err, ErrBadToken) || err == nil && e.LeaseID() != leaseID:
			gone = append(gone, leaseID)
			continue
		case err == nil && e.Life.Created.After(until):
			continue
		case err != nil && !errors.Is(err, ErrCorrupt):
			return nil, err
		}
		r.begin(id)
		if err := r.tree(ctx, id); err != nil {
			return nil, err
		}
		gone = append(gone, leaseID)
	}
	return gone, r.flush(ctx)
}
