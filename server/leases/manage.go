package leases

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/storage"
)

// Lookup returns a lease as it is stored, or ErrNotFound, also for one that is being revoked with its prefix. It does
// not wait for leases to be loaded.
func (m *Manager) Lookup(ctx context.Context, id string) (Lease, error) {
	l, err := m.read(ctx, id)
	if err == nil && m.isRevoking(l) {
		return Lease{}, ErrNotFound
	}
	return l, err
}

// isRevoking reports whether a lease is being revoked with its prefix.
func (m *Manager) isRevoking(l Lease) bool {
	revoking := m.Revoking()
	return revoking != nil && revoking(l.ID[:strings.LastIndexByte(l.ID, '/')+1], l.Issued)
}

// List returns the names one level below prefix, which is "" or ends in "/": ids' last parts, and folders
// with a "/" at the end.
func (m *Manager) List(ctx context.Context, prefix string) ([]string, error) {
	if err := m.awaitLoaded(ctx); err != nil {
		return nil, err
	}
	names, err := m.store.List(ctx, recordFolder+prefix, "", 0)
	if err != nil && !errors.Is(err, storage.ErrInvalidKey) { // no lease has such a path
		return nil, err
	}
	for _, id := range m.queue.tokens(prefix) {
		name := id[len(prefix):]
		if slash := strings.IndexByte(name, '/'); slash >= 0 {
			name = name[:slash+1]
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Count is how many leases are known; all of them once Loaded is closed.
func (m *Manager) Count() int { return m.queue.len() }

// Irrevocable returns the leases that could not be revoked, sorted by id, at most limit of them (0: all),
// and how many there are.
func (m *Manager) Irrevocable(ctx context.Context, limit int) (found []Lease, total int, err error) {
	ids := m.queue.failed()
	slices.Sort(ids)
	for _, id := range ids {
		if limit > 0 && len(found) == limit {
			break
		}
		l, err := m.read(ctx, id)
		if errors.Is(err, ErrNotFound) {
			continue
		} else if err != nil {
			return nil, 0, err
		}
		found = append(found, l)
	}
	return found, len(ids), nil
}

// Renew extends the lease of a secret by what its engine grants of the increment (0: the default), never
// past the end of its maximal life. It returns the lease as it is now.
func (m *Manager) Renew(ctx context.Context, id string, increment time.Duration) (Lease, []string, error) {
	if err := m.acquire(ctx, id); err != nil {
		return Lease{}, nil, err
	}
	defer m.queue.release(id)
	l, err := m.read(ctx, id)
	if err != nil {
		return Lease{}, nil, err
	}
	switch {
	case l.Kind == Token:
		return Lease{}, nil, ErrToken
	case !l.Renewable || m.secrets == nil:
		return Lease{}, nil, ErrNotRenewable
	case !l.Expires.After(m.now()) || l.Failure != "" || m.isRevoking(l):
		return Lease{}, nil, ErrExpired
	}
	r, err := m.secrets.RenewSecret(ctx, l, increment)
	if err != nil {
		return Lease{}, nil, err
	}
	if l.Secret.Token == "" {
		l, err = m.extend(ctx, id, l.Expires, r)
	} else {
		// The token's end, once begun, must not be undone by what the engine was asked for before.
		alive := m.tokens.WhileAlive(ctx, l.Secret.Token, func() error {
			l, err = m.extend(ctx, id, l.Expires, r)
			return err
		})
		if err = alive; errors.Is(err, token.ErrBadToken) {
			err = ErrExpired
		}
	}
	if err != nil {
		return Lease{}, nil, err
	}
	return l, r.Warnings, nil
}

// extend stores what an engine granted for the lease of a secret that ended at a time when the engine was asked.
func (m *Manager) extend(ctx context.Context, id string, ended time.Time, r engines.LeaseGrant) (Lease, error) {
	m.writing.Lock()
	defer m.writing.Unlock()
	ctx = storage.Unbudgeted(ctx)
	l, err := m.read(ctx, id)
	if err != nil {
		return Lease{}, err
	}
	if !l.Expires.Equal(ended) {
		return Lease{}, ErrExpired // it was revoked meanwhile
	}
	now := m.now()
	secret := *l.Secret
	secret.TTL = r.TTL
	if r.MaxTTL > 0 {
		secret.MaxTTL = r.MaxTTL
	}
	if r.Internal != nil {
		secret.Internal = r.Internal
	}
	l.Secret, l.Renewed, l.Expires = &secret, now, now.Add(r.TTL)
	if end := secret.end(l.Issued); !end.IsZero() {
		if !end.After(now) {
			return Lease{}, ErrPastMax
		}
		if l.Expires.After(end) {
			l.Expires = end
		}
	}
	op, err := put(l)
	if err != nil {
		return Lease{}, err
	}
	if err := m.store.Apply(ctx, op); err != nil {
		return Lease{}, err
	}
	m.queue.set(id, l.Kind, l.Expires)
	return l, nil
}

// acquire claims the lease, waiting for whoever has it.
func (m *Manager) acquire(ctx context.Context, id string) error {
	for {
		busy := m.queue.claim(id)
		if busy == nil {
			return nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Revoke ends a lease now and returns when what it stands for is gone. A lease that does not exist is
// not an error.
func (m *Manager) Revoke(ctx context.Context, id string) error {
	if err := m.acquire(ctx, id); err != nil {
		return err
	}
	defer m.queue.release(id)
	return m.end(ctx, id, nil)
}

// RevokeLater makes a lease due now and returns when that is durable; the worker revokes it, and tries
// again as for any expired lease. A lease that does not exist is not an error.
func (m *Manager) RevokeLater(ctx context.Context, ids ...string) error {
	for part := range slices.Chunk(ids, batchSize) {
		_, unreadable, err := m.expireSecrets(ctx, part, m.now())
		if err == nil && len(unreadable) > 0 {
			err = fmt.Errorf("%w: %s", errCorrupt, unreadable[0])
		}
		if err != nil {
			return err
		}
		if err := m.each(ctx, part, m.tokens.ExpireLease); err != nil {
			return err
		}
	}
	return nil
}

// expireSecrets moves the end of the secrets' leases among some to now, in one commit: of those that were issued up to
// a time. It returns them, and those whose record cannot be read.
func (m *Manager) expireSecrets(
	ctx context.Context, ids []string, until time.Time,
) (due, unreadable []string, err error) {
	m.writing.Lock()
	defer m.writing.Unlock()
	ctx = storage.Unbudgeted(ctx)
	now := m.now()
	var ops []storage.Op
	for _, id := range ids {
		l, err := m.read(ctx, id)
		switch {
		case errors.Is(err, errCorrupt):
			unreadable = append(unreadable, id)
			continue
		case errors.Is(err, ErrNotFound) || err == nil && (l.Kind == Token || l.Issued.After(until)):
			continue
		case err != nil:
			return nil, nil, err
		}
		l.Expires, l.Failure = now, ""
		op, err := put(l)
		if err != nil {
			return nil, nil, err
		}
		ops, due = append(ops, op), append(due, id)
	}
	if err := m.store.Apply(ctx, ops...); err != nil {
		return nil, nil, err
	}
	for _, id := range due {
		m.queue.set(id, EngineSecret, now)
	}
	return due, unreadable, nil
}

// Forget revokes a lease and removes it even when that fails.
func (m *Manager) Forget(ctx context.Context, id string) error {
	if err := m.acquire(ctx, id); err != nil {
		return err
	}
	defer m.queue.release(id)
	err := m.end(ctx, id, nil)
	if err == nil || ctx.Err() != nil {
		return err
	}
	m.log.Warn("lease is forgotten though revoking it failed", slog.String("lease_id", id), slog.Any("error", err))
	l, err := m.read(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case errors.Is(err, errCorrupt):
		l = Lease{ID: id}
	case err != nil:
		return err
	}
	if err := m.tokens.RevokeLease(ctx, id, nil); err != nil { // nothing for a secret's
		return err
	}
	return m.remove(ctx, l)
}

// each runs f for every id, several at once, so that their commits are shared. It returns the first error
// after trying all.
func (m *Manager) each(ctx context.Context, ids []string, f func(context.Context, string) error) error {
	var g errgroup.Group
	g.SetLimit(m.concurrency)
	for _, id := range ids {
		g.Go(func() error { return f(ctx, id) })
	}
	return g.Wait()
}

// Tidy looks through everything stored, in the background, and puts right what a fault may have left:
// leases that no clock watches, index entries without a lease, secrets whose token is gone. It reports
// false when a tidy is running already. ctx is the session's, not the request's.
func (m *Manager) Tidy(ctx context.Context) bool {
	if !m.tidying.CompareAndSwap(false, true) {
		return false
	}
	begun := m.workers.Go(func() {
		defer m.tidying.Store(false)
		stats, err := m.tidy(ctx)
		m.log.Info("leases tidied", slog.Int("checked", stats.checked), slog.Int("revoked", stats.revoked),
			slog.Int("index_entries_removed", stats.unindexed), slog.Any("error", err))
	})
	if !begun {
		m.tidying.Store(false) // the session is over, and nobody cares
	}
	return true
}

type tidyStats struct{ checked, revoked, unindexed int }

func (m *Manager) tidy(ctx context.Context) (s tidyStats, err error) {
	m.queue.beginLoading()
	defer m.queue.loadingDone()
	err = m.tokens.EachLease(ctx, func(l token.Lease) {
		s.checked++
		m.watch(m.leaseOf(l))
	})
	if err != nil {
		return s, err
	}
	err = m.walk(ctx, "", func(id string) error {
		s.checked++
		l, err := m.read(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if errors.Is(err, errCorrupt) {
			m.log.Error("lease is unreadable", slog.String("lease_id", id))
			return nil
		}
		if err != nil {
			return err
		}
		m.watch(l)
		if l.Secret == nil || l.Secret.Token == "" || l.Failure != "" {
			return nil
		}
		alive, err := m.tokens.Alive(ctx, l.Secret.Token)
		if err != nil || alive {
			return err
		}
		s.revoked++
		return m.RevokeLater(ctx, id)
	})
	if err != nil {
		return s, err
	}
	s.unindexed, err = m.tidyIndex(ctx)
	return s, err
}

// tidyIndex removes index entries of tokens that name no lease.
func (m *Manager) tidyIndex(ctx context.Context) (removed int, err error) {
	err = storage.EachName(ctx, m.store, tokenFolder, func(token string) error {
		return storage.EachName(ctx, m.store, tokenFolder+token, func(name string) error {
			key := tokenFolder + token + name
			id, err := m.store.Get(ctx, key)
			if err == nil {
				_, err = m.read(ctx, string(id))
			}
			if errors.Is(err, ErrNotFound) {
				removed++
				err = m.store.Apply(ctx, storage.Delete(key))
			}
			if err != nil && !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, errCorrupt) {
				return err
			}
			return nil
		})
	})
	return removed, err
}
