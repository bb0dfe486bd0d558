package leases

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"

	"coffer/auth/token"
	"coffer/storage"
)

// Register gives a secret a lease that ends ttl from now, and commits changes with it. The returned lease is durable.
// After an error nothing is leased: what was written all the same is revoked.
func (m *Manager) Register(ctx context.Context, s Secret, renewable bool, changes ...storage.Op) (Lease, error) {
	l, err := m.issue(ctx, s, renewable, false, changes)
	if err == nil {
		m.queue.release(l.ID)
	}
	return l, err
}

// Announce is Register for a secret that is still to be made. The lease is pending, and nobody ends it until the
// caller calls Confirm or Withdraw, one of which it must. A pending lease that is found at the start is revoked.
func (m *Manager) Announce(ctx context.Context, s Secret, renewable bool, changes ...storage.Op) (Lease, error) {
	return m.issue(ctx, s, renewable, true, changes)
}

// issue stores a new lease together with changes, and leaves it claimed unless it fails.
func (m *Manager) issue(
	ctx context.Context, s Secret, renewable, pending bool, changes []storage.Op,
) (Lease, error) {
	now, issued := m.Issue(s.Path, m.now())
	defer issued()
	l := Lease{
		ID: s.Path + "/" + rand.Text(), Kind: EngineSecret, Issued: now, Expires: now.Add(s.TTL),
		Renewable: renewable, Pending: pending, Secret: &s,
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
	m.queue.claim(l.ID) // its id is new, so nobody else has it
	err = m.store.Apply(ctx, append(ops, changes...)...)
	if err == nil || !storage.Refused(err) {
		m.queue.set(l.ID, l.Kind, l.Expires)
	}
	switch {
	case err == nil:
		return l, nil
	case storage.Refused(err):
		m.queue.release(l.ID)
	default:
		m.Withdraw(ctx, l) // it may be there
	}
	return Lease{}, err
}

// Confirm lets an announced lease live. internal takes the place of Secret.Internal unless it is nil. It returns
// ErrExpired when the lease has ended meanwhile, with its token for example. After an error the caller still has to
// call Withdraw.
func (m *Manager) Confirm(ctx context.Context, announced Lease, internal map[string]any) (l Lease, err error) {
	confirm := func() error {
		l, err = m.confirm(ctx, announced.ID, internal)
		return err
	}
	if tokenID := announced.Secret.Token; tokenID == "" {
		err = confirm()
	} else if alive := m.tokens.WhileAlive(ctx, tokenID, confirm); errors.Is(alive, token.ErrBadToken) {
		err = ErrExpired
	} else {
		err = alive
	}
	if err != nil {
		return Lease{}, err
	}
	m.queue.release(l.ID)
	return l, nil
}

func (m *Manager) confirm(ctx context.Context, id string, internal map[string]any) (Lease, error) {
	m.writing.Lock()
	defer m.writing.Unlock()
	ctx = storage.Unbudgeted(ctx)
	l, err := m.read(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return Lease{}, ErrExpired
	} else if err != nil {
		return Lease{}, err
	}
	if m.over(l) {
		return Lease{}, ErrExpired
	}
	l.Pending = false
	if internal != nil {
		secret := *l.Secret
		secret.Internal = internal
		l.Secret = &secret
	}
	op, err := put(l)
	if err == nil {
		err = m.store.Apply(ctx, op)
	}
	return l, err
}

// Withdraw revokes a lease that was announced and not confirmed. What cannot be revoked now is tried again as any
// lease that has ended, also after a restart.
func (m *Manager) Withdraw(ctx context.Context, announced Lease) {
	defer m.queue.release(announced.ID)
	if err := m.end(context.WithoutCancel(ctx), announced.ID, nil); err != nil {
		m.log.Error("a secret that was not given out could not be revoked yet",
			slog.String("lease_id", announced.ID), slog.Any("error", err))
		m.queue.withdraw(announced.ID) // a commit that was reported failed may have made it live
		m.queue.retry(announced.ID, m.now(), maxAttempts)
	}
}
