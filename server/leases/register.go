package leases

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"coffer/storage"
)

// RecordToken returns the change that stores or renews a token's lease, to be applied together with the
// token's own changes; done must be called once they are durable. A zero expires never ends.
func (m *Manager) RecordToken(
	id string, issued, renewed, expires time.Time, renewable bool,
) (op storage.Op, done func()) {
	l := Lease{ID: id, Kind: Token, Issued: issued, Renewed: renewed, Expires: expires, Renewable: renewable}
	value, _ := encode(l) // fails on a secret's internal data only
	return storage.Put(recordFolder+id, value), func() { m.queue.set(id, Token, expires) }
}

// RemoveToken returns the changes that remove a token's lease (id "" when it has none) and bring the end
// of the secrets leased with the token, whose id is tokenID, forward to now. They are to be applied
// together with the token's own changes; done must be called once they are durable.
func (m *Manager) RemoveToken(ctx context.Context, id, tokenID string) (ops []storage.Op, done func(), err error) {
	if id != "" {
		ops = append(ops, storage.Delete(recordFolder+id))
	}
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

// ofToken reads the leases of the secrets that a token asked for.
func (m *Manager) ofToken(ctx context.Context, tokenID string) ([]Lease, error) {
	folder := tokenFolder + tokenID + "/"
	names, err := m.store.List(ctx, folder, "", 0)
	if err != nil {
		return nil, err
	}
	var found []Lease
	for _, name := range names {
		id, err := m.store.Get(ctx, folder+name)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		l, err := m.read(ctx, string(id))
		if errors.Is(err, ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		found = append(found, l)
	}
	return found, nil
}

// Register gives a secret that an engine issued a lease that ends ttl from now. The returned lease is
// durable. A secret whose lease could not be registered must be revoked by the caller.
func (m *Manager) Register(ctx context.Context, s Secret, renewable bool) (Lease, error) {
	now := m.now()
	l := Lease{
		ID: s.Path + "/" + rand.Text(), Kind: EngineSecret, Issued: now, Expires: now.Add(s.TTL),
		Renewable: renewable, Secret: &s,
	}
	if end := s.end(now); !end.IsZero() && l.Expires.After(end) {
		l.Expires = end
	}
	op, err := put(l)
	if err != nil {
		return Lease{}, err
	}
	ops := []storage.Op{op}
	if s.Token != "" {
		ops = append(ops, storage.Put(tokenKey(s.Token, l.ID), []byte(l.ID)))
	}
	if err := m.store.Apply(ctx, ops...); err != nil {
		return Lease{}, err
	}
	m.queue.set(l.ID, l.Kind, l.Expires)
	return l, nil
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
	if id == "" || storage.CheckKey(recordFolder+id) != nil {
		return Lease{}, ErrNotFound
	}
	value, err := m.store.Get(ctx, recordFolder+id)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey) {
		return Lease{}, ErrNotFound
	}
	if err != nil {
		return Lease{}, err
	}
	return decode(id, value)
}
