package leases

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"coffer/auth/token"
	"coffer/storage"
)

// SetToken takes in when the lease of a token ends that is stored or renewed; zero for never.
func (m *Manager) SetToken(id string, ends time.Time) { m.queue.set(id, Token, ends) }

// RemoveToken returns the changes that bring the end of the secrets leased with the token whose id is
// tokenID forward to now. They are to be applied together with the token's removal; done, which forgets the
// token's lease (id "" when it has none), must be called once they are durable.
func (m *Manager) RemoveToken(ctx context.Context, id, tokenID string) (ops []storage.Op, done func(), err error) {
	secrets, err := m.ofToken(ctx, tokenID)
	if err != nil {
		return nil, nil, err
	}
	now := m.now()
	for i := range secrets {
		if secrets[i].Failure != "" {
			continue
		}
		secrets[i].Expires = now
		op, err := put(secrets[i])
		if err != nil {
			return nil, nil, err
		}
		ops = append(ops, op)
	}
	return ops, func() {
		if id != "" {
			m.queue.drop(id)
		}
		for _, l := range secrets {
			if l.Failure == "" {
				m.queue.set(l.ID, l.Kind, now)
			}
		}
	}, nil
}

// ofToken reads the leases of the secrets that a token asked for. One that cannot be read keeps no token alive; the
// secret waits for an operator.
func (m *Manager) ofToken(ctx context.Context, tokenID string) ([]Lease, error) {
	folder := tokenFolder + tokenID + "/"
	names, err := m.store.List(storage.LeaveOut(ctx), folder, "", 0)
	if err != nil {
		return nil, err
	}
	var found []Lease
	for _, name := range names {
		id, err := m.store.Get(ctx, folder+name)
		if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrDamaged) {
			continue
		} else if err != nil {
			return nil, err
		}
		l, err := m.read(ctx, string(id))
		if errors.Is(err, ErrNotFound) || errors.Is(err, errCorrupt) {
			continue
		} else if err != nil {
			return nil, err
		}
		found = append(found, l)
	}
	return found, nil
}

// end is when the secret ends at the latest, issued at a time; zero for never.
func (s *Secret) end(issued time.Time) (end time.Time) {
	if s.MaxTTL > 0 {
		end = issued.Add(s.MaxTTL)
	}
	if s.Until != nil && (end.IsZero() || s.Until.Before(end)) {
		end = *s.Until
	}
	return end
}

// ofTokens is read for the lease of a token.
func (m *Manager) ofTokens(ctx context.Context, id string) (Lease, error) {
	if m.tokens == nil {
		return Lease{}, errNotStarted
	}
	l, err := m.tokens.Lease(ctx, id)
	switch {
	case errors.Is(err, token.ErrBadToken):
		return Lease{}, ErrNotFound
	case errors.Is(err, token.ErrCorrupt):
		return Lease{}, fmt.Errorf("%w: %w", errCorrupt, err)
	case err != nil:
		return Lease{}, err
	}
	return m.leaseOf(l), nil
}

func (m *Manager) leaseOf(l token.Lease) Lease {
	return Lease{
		ID: l.ID, Kind: Token, Issued: l.Issued, Renewed: l.Renewed, Expires: l.Expires, Renewable: l.Renewable,
		Failure: m.queue.failure(l.ID),
	}
}

func put(l Lease) (storage.Op, error) {
	value, err := encode(l)
	return storage.Put(recordFolder+l.ID, value), err
}

// tokenKey is where a token's index names a lease.
func tokenKey(tokenID, leaseID string) string {
	sum := sha256.Sum256([]byte(leaseID))
	return tokenFolder + tokenID + "/" + hex.EncodeToString(sum[:16])
}

// read returns the stored lease, or ErrNotFound.
func (m *Manager) read(ctx context.Context, id string) (Lease, error) {
	if l, err := m.ofTokens(ctx, id); !errors.Is(err, ErrNotFound) {
		return l, err
	}
	if id == "" || storage.CheckKey(recordFolder+id) != nil {
		return Lease{}, ErrNotFound
	}
	value, err := m.store.Get(ctx, recordFolder+id)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey) {
		return Lease{}, ErrNotFound
	}
	if errors.Is(err, storage.ErrDamaged) {
		return Lease{}, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	if err != nil {
		return Lease{}, err
	}
	l, err := decode(id, value)
	if errors.Is(err, errObsolete) {
		return Lease{}, ErrNotFound // there is no such token any more
	}
	if err != nil {
		storage.SetAside(m.store, recordFolder+id, err)
	}
	return l, err
}
