package leases

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"coffer/auth/token"
	"coffer/storage"
)

const (
	// maxAttempts is how often the revocation of an expired lease is tried before an operator has to look.
	maxAttempts = 6
	firstRetry  = 10 * time.Second
	// lookEvery is how long the worker sleeps at most.
	lookEvery = time.Minute
	// clockSlack is how far the clock may go back between two starts.
	clockSlack = 5 * time.Minute
	// batchSize is how many leases one commit changes.
	batchSize = 512
)

// backoff is the pause after the nth failed attempt: 10 s, 20 s, 40 s, …
func backoff(attempt int) time.Duration { return firstRetry << (attempt - 1) }

// expireLoop ends the leases whose time has come, a bounded number at once.
func (m *Manager) expireLoop(ctx context.Context) {
	slots := make(chan struct{}, m.concurrency)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		id, wait := m.queue.next(m.now())
		if id == "" {
			// The timer does not know when the clock is set or the machine sleeps.
			if wait < 0 || wait > lookEvery {
				wait = lookEvery
			}
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-m.queue.wake:
			case <-timer.C:
			}
			continue
		}
		select {
		case <-ctx.Done():
			m.queue.release(id)
			return
		case slots <- struct{}{}:
		}
		begun := m.workers.Go(func() {
			defer func() { <-slots }()
			m.expire(ctx, id)
		})
		if !begun {
			m.queue.release(id)
			return
		}
	}
}

// over reports whether the lease's time is over. One that was issued later than now was so under a clock that was
// wrong: it ends when the clock is known to be right.
func (m *Manager) over(l Lease) bool {
	now := m.now()
	return !l.Expires.After(now) || m.trustClock && l.Issued.Sub(now) > clockSlack
}

// watch puts a stored lease into the queue. Whoever was making what a pending one stands for is gone.
func (m *Manager) watch(l Lease) {
	if now := m.now(); l.Expires.After(now) && (l.Pending || m.over(l)) {
		l.Expires = now
	}
	m.queue.load(l)
}

// expire ends a claimed lease that seems to be due, and puts it off when that fails.
func (m *Manager) expire(ctx context.Context, id string) {
	defer m.queue.release(id)
	withdrawn := m.queue.withdrawn(id)
	err := m.end(ctx, id, func(l Lease) bool { return l.Failure == "" && (withdrawn || l.Pending || m.over(l)) })
	if err == nil || ctx.Err() != nil {
		return
	}
	attempts := m.queue.retry(id, m.now(), maxAttempts)
	m.log.Error("revoking an expired lease failed",
		slog.String("lease_id", id), slog.Int("attempt", attempts), slog.Any("error", err))
	if attempts >= maxAttempts {
		if err := m.markFailed(ctx, id, err); err != nil {
			m.log.Error("marking a lease irrevocable failed", slog.String("lease_id", id), slog.Any("error", err))
		}
	}
}

// end revokes what a claimed lease stands for and removes the lease. When due is not nil and says no of
// the lease as it is stored, the lease goes back to its time instead.
func (m *Manager) end(ctx context.Context, id string, due func(Lease) bool) error {
	seen := m.queue.due(id)
	l, err := m.read(ctx, id)
	if errors.Is(err, ErrNotFound) {
		m.queue.drop(id)
		return nil
	}
	if err != nil {
		return err
	}
	if due != nil && !due(l) {
		m.queue.putOff(id, seen, l.Expires)
		return nil
	}
	if l.Kind == EngineSecret {
		return m.endSecret(ctx, l)
	}
	return m.endToken(ctx, l, due)
}

func (m *Manager) endToken(ctx context.Context, l Lease, due func(Lease) bool) error {
	stays := false
	var stillDue func(context.Context) (bool, error)
	if due != nil {
		// The token may be renewed until the store has locked it, so the record is read once more then.
		stillDue = func(ctx context.Context) (bool, error) {
			seen := m.queue.due(l.ID)
			now, err := m.read(ctx, l.ID)
			if errors.Is(err, ErrNotFound) {
				return true, nil
			}
			if err != nil {
				return false, err
			}
			stays = !due(now)
			if stays {
				m.queue.putOff(l.ID, seen, now.Expires)
			}
			return !stays, nil
		}
	}
	if err := m.tokens.RevokeLease(ctx, l.ID, stillDue); err != nil || stays {
		return err
	}
	m.queue.drop(l.ID)
	return nil
}

func (m *Manager) endSecret(ctx context.Context, l Lease) error {
	if m.secrets == nil {
		return fmt.Errorf("leases: nobody revokes %s", l.ID)
	}
	if err := m.secrets.RevokeSecret(ctx, l); err != nil {
		return err
	}
	return m.remove(ctx, l)
}

// remove deletes the lease's record and index and forgets it.
func (m *Manager) remove(ctx context.Context, l Lease) error {
	ops := []storage.Op{storage.Delete(recordFolder + l.ID)}
	if l.Secret != nil && l.Secret.Token != "" {
		ops = append(ops, storage.Delete(tokenKey(l.Secret.Token, l.ID)))
	}
	if err := m.store.Apply(ctx, ops...); err != nil {
		return err
	}
	m.queue.drop(l.ID)
	return nil
}

// markFailed keeps why a lease could not be revoked: of a token's until the next start, which tries again. The
// queue knows already that it is not to be tried.
func (m *Manager) markFailed(ctx context.Context, id string, cause error) error {
	m.queue.giveUp(id, cause.Error())
	l, err := m.read(ctx, id)
	if err != nil || l.Kind == Token {
		return err
	}
	l.Failure = cause.Error()
	op, err := put(l)
	if err != nil {
		return err
	}
	return m.store.Apply(ctx, op)
}

// load brings the stored leases into the queue. What cannot be listed is tried again until ctx is done.
func (m *Manager) load(ctx context.Context) {
	began := m.now()
	tried := sync.OnceFunc(func() { close(m.tried) })
	defer tried()
	for attempt := 1; ; attempt++ {
		err := m.loadOnce(ctx)
		if err == nil {
			break
		}
		m.log.Error("loading leases failed", slog.Any("error", err))
		tried()
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff(min(attempt, 4))):
		}
	}
	m.queue.loadingDone()
	close(m.loaded)
	m.log.Info("leases loaded", slog.Int("count", m.queue.len()), slog.Duration("took", m.now().Sub(began)))
}

// loadOnce loads the leases of secrets and of tokens. Trouble with the ones does not keep the others away.
func (m *Manager) loadOnce(ctx context.Context) error {
	var obsolete []storage.Op
	secrets := m.walk(storage.LeaveOut(ctx), "", func(id string) error {
		if old, err := m.isObsolete(ctx, id); old || err != nil {
			obsolete = append(obsolete, storage.Delete(recordFolder+id))
			return err
		}
		l, err := m.read(ctx, id)
		switch {
		case err == nil:
			m.watch(l)
		case errors.Is(err, errCorrupt):
			m.log.Error("lease is unreadable", slog.String("lease_id", id), slog.Any("error", err))
		case !errors.Is(err, ErrNotFound):
			return err
		}
		return nil
	})
	if secrets == nil && len(obsolete) > 0 {
		secrets = m.drop(ctx, obsolete)
	}
	return errors.Join(secrets, m.tokens.EachLease(ctx, func(l token.Lease) { m.watch(m.leaseOf(l)) }))
}

// drop removes records of an earlier version, some at a time.
func (m *Manager) drop(ctx context.Context, obsolete []storage.Op) error {
	for batch := range slices.Chunk(obsolete, batchSize) {
		if err := m.store.Apply(ctx, batch...); err != nil {
			return err
		}
	}
	m.log.Info("records of an earlier version removed: the record of each token holds its lease now",
		slog.Int("count", len(obsolete)))
	return nil
}

// isObsolete reports whether the record of a lease is one of an earlier version that means nothing any more.
func (m *Manager) isObsolete(ctx context.Context, id string) (bool, error) {
	value, err := m.store.Get(ctx, recordFolder+id)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrDamaged) {
		return false, nil // whoever reads it next says so
	}
	if err != nil {
		return false, err
	}
	_, err = decode(id, value)
	return errors.Is(err, errObsolete), nil
}

// awaitLoaded returns when all stored leases are known. Only what lists the leases of tokens waits for it. It does
// not wait for a second attempt, nor for a session that is over.
func (m *Manager) awaitLoaded(ctx context.Context) error {
	select {
	case <-m.tried:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-m.loaded:
		return nil
	default:
		return errNotLoaded
	}
}

// walk calls visit with the id of every lease below prefix, which is "" or ends in "/", that has a record here.
func (m *Manager) walk(ctx context.Context, prefix string, visit func(id string) error) error {
	return storage.EachName(ctx, m.store, recordFolder+prefix, func(name string) error {
		if strings.HasSuffix(name, "/") {
			return m.walk(ctx, prefix+name, visit)
		}
		return visit(prefix + name)
	})
}
