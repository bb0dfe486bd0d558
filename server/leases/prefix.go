package leases

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"coffer/storage"
	"coffer/storage/jobs"
)

// prefixFolder holds the marks of the prefixes that are being revoked, each under its prefix.
const prefixFolder = "sys/expire/prefix/"

// revocation is what the mark of a prefix says: every lease below it that was issued up to a time has ended, though its
// record may still be there.
type revocation struct {
	until time.Time
	// force forgets what cannot be revoked.
	force bool
}

// revocationRecord is the JSON of a mark, after its version. The prefix is its key, so that a mark whose value is
// damaged still holds.
type revocationRecord struct {
	Until time.Time `json:"until"`
	Force bool      `json:"force,omitempty"`
}

const revocationVersion = 1

// sweepBatch is how many tokens are revoked at once, in one commit or two.
const sweepBatch = 1024

func prefixKey(prefix string) string { return prefixFolder + strings.TrimSuffix(prefix, "/") }

// LoadRevocations reads which prefixes are being revoked. It comes before anybody asks whether a lease is good.
func (m *Manager) LoadRevocations(ctx context.Context) error {
	names, err := storage.Names(storage.LeaveOut(ctx), m.store, prefixFolder)
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	found := make(map[string]revocation, len(names))
	for _, name := range names {
		value, err := m.store.Get(ctx, prefixFolder+name)
		if err != nil && !errors.Is(err, storage.ErrDamaged) {
			return fmt.Errorf("leases: read %s: %w", name, err)
		}
		r, err := decodeRevocation(value)
		if err != nil {
			m.log.Error("the mark of a prefix that is being revoked is damaged; what was issued below it until now is revoked",
				slog.String("prefix", name))
		}
		// Where the clock was set back, what was issued later than now is refused for that.
		if latest := m.now().Add(clockSlack); err != nil || r.until.After(latest) {
			r.until = latest
		}
		found[name+"/"] = r
	}
	m.revocations.Store(&found)
	return nil
}

func decodeRevocation(b []byte) (revocation, error) {
	var r revocationRecord
	if len(b) == 0 || b[0] != revocationVersion || json.Unmarshal(b[1:], &r) != nil || r.Until.IsZero() {
		return revocation{}, errCorrupt
	}
	return revocation{until: r.Until, force: r.Force}, nil
}

func (r revocation) encode() ([]byte, error) {
	b, err := json.Marshal(revocationRecord{Until: r.until, Force: r.force})
	return append([]byte{revocationVersion}, b...), err
}

// finishRevocations carries on with what was being revoked when the server stopped.
func (m *Manager) finishRevocations() {
	for prefix := range *m.revocations.Load() {
		m.sweepLater(prefix)
	}
}

// Revoking returns what tells whether a lease, by the path that issued it and the time, is being revoked with its
// prefix; nil while no prefix is.
func (m *Manager) Revoking() func(path string, issued time.Time) bool {
	revocations := *m.revocations.Load()
	if len(revocations) == 0 {
		return nil
	}
	return func(path string, issued time.Time) bool {
		for prefix, r := range revocations {
			if !issued.After(r.until) && strings.HasPrefix(strings.TrimSuffix(path, "/")+"/", prefix) {
				return true
			}
		}
		return false
	}
}

// Issue begins to issue a lease at a path. No prefix begins to be revoked until the caller, having stored the lease and
// called SetToken, calls done. The lease counts as issued at the time that is returned: the one given, or one just
// after a revocation that began since.
func (m *Manager) Issue(path string, at time.Time) (issued time.Time, done func()) {
	m.issuing.RLock()
	for prefix, r := range *m.revocations.Load() {
		if !at.After(r.until) && strings.HasPrefix(strings.TrimSuffix(path, "/")+"/", prefix) {
			at = r.until.Add(1)
		}
	}
	return at, m.issuing.RUnlock
}

// RevokePrefix ends every lease below a path. Once that is stored none of them is good any more, whatever becomes of
// the caller; what they stand for is taken back in the background, also after a restart. It returns when that is done,
// or why it was not, or when ctx is done. A prefix without a "/" at the end is also tried as the id of one lease.
func (m *Manager) RevokePrefix(ctx context.Context, prefix string) error {
	return m.revokePrefix(ctx, prefix, false, m.Revoke, true)
}

// RevokePrefixLater is RevokePrefix that does not wait for the work in the background.
func (m *Manager) RevokePrefixLater(ctx context.Context, prefix string) error {
	later := func(ctx context.Context, id string) error { return m.RevokeLater(ctx, id) }
	return m.revokePrefix(ctx, prefix, false, later, false)
}

// RevokeForce is RevokePrefix for leases that may be impossible to revoke: those are logged and forgotten, with what
// they stand for left as it is.
func (m *Manager) RevokeForce(ctx context.Context, prefix string) error {
	return m.revokePrefix(ctx, prefix, true, m.Forget, true)
}

func (m *Manager) revokePrefix(
	ctx context.Context, prefix string, force bool, one func(context.Context, string) error, wait bool,
) error {
	if !strings.HasSuffix(prefix, "/") {
		if _, err := m.read(ctx, prefix); err == nil {
			if err := one(ctx, prefix); err != nil {
				return err
			}
		}
		prefix += "/"
	}
	marked, err := m.mark(ctx, prefix, force)
	if err != nil || !marked {
		return err
	}
	outcome := m.sweepLater(prefix)
	if !wait {
		return nil
	}
	return jobs.Wait(ctx, outcome)
}

// mark stores that the leases below a prefix have ended. It reports false when there are none, as for a prefix that is
// no path.
func (m *Manager) mark(ctx context.Context, prefix string, force bool) (bool, error) {
	if errors.Is(storage.CheckKey(prefixKey(prefix)), storage.ErrInvalidKey) {
		return false, nil
	}
	m.issuing.Lock()
	defer m.issuing.Unlock()
	old, again := (*m.revocations.Load())[prefix]
	if !again {
		if none, err := m.none(ctx, prefix); none || err != nil {
			return false, err
		}
	}
	r := revocation{until: m.now(), force: force || old.force}
	if r.until.Before(old.until) {
		r.until = old.until
	}
	value, err := r.encode()
	if err != nil {
		return false, err
	}
	err = m.store.Apply(ctx, storage.Put(prefixKey(prefix), value))
	if errors.Is(err, storage.ErrInvalidKey) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	m.setRevocation(prefix, &r)
	return true, nil
}

// setRevocation replaces what memory has of a mark, nil removes it. The caller holds issuing.
func (m *Manager) setRevocation(prefix string, r *revocation) {
	next := maps.Clone(*m.revocations.Load())
	if r == nil {
		delete(next, prefix)
	} else {
		next[prefix] = *r
	}
	m.revocations.Store(&next)
}

// none reports whether it is known that there are no leases below a prefix.
func (m *Manager) none(ctx context.Context, prefix string) (bool, error) {
	select {
	case <-m.loaded:
	default:
		return false, nil
	}
	if m.queue.hasToken(prefix) {
		return false, nil
	}
	names, _, err := storage.Page(storage.Unbudgeted(ctx), m.store, recordFolder+prefix, "", 1)
	if errors.Is(err, storage.ErrInvalidKey) {
		return true, nil
	}
	return len(names) == 0, err
}

// sweepLater takes back what was issued below a prefix, in the background.
func (m *Manager) sweepLater(prefix string) <-chan error {
	return m.sweeps.Begin(prefix, func(ctx context.Context) error { return m.sweep(ctx, prefix) })
}

// sweep takes back what the mark of a prefix says, and then removes the mark.
func (m *Manager) sweep(ctx context.Context, prefix string) error {
	r, ok := (*m.revocations.Load())[prefix]
	if !ok {
		return nil
	}
	if err := m.awaitLoaded(ctx); err != nil {
		return err
	}
	if err := m.sweepTokens(ctx, prefix, r); err != nil {
		return err
	}
	failed, err := m.sweepSecrets(ctx, prefix, r)
	if err != nil {
		return err
	}
	if err := m.unmark(ctx, prefix, r); err != nil {
		return err
	}
	return failed
}

// unmark removes the mark of a prefix, unless it has changed since r was read.
func (m *Manager) unmark(ctx context.Context, prefix string, r revocation) error {
	m.issuing.Lock()
	defer m.issuing.Unlock()
	if (*m.revocations.Load())[prefix] != r {
		return nil // the job that changed it follows
	}
	if err := m.store.Apply(ctx, storage.Delete(prefixKey(prefix))); err != nil {
		return err
	}
	m.setRevocation(prefix, nil)
	return nil
}

// sweepTokens revokes the tokens below a prefix, some in a commit. Where one of them is in the way of others, each is
// tried by itself.
func (m *Manager) sweepTokens(ctx context.Context, prefix string, r revocation) error {
	var failed error
	for part := range slices.Chunk(m.queue.tokens(prefix), sweepBatch) {
		gone, err := m.tokens.RevokeLeases(ctx, part, r.until)
		for _, id := range gone {
			m.queue.drop(id)
		}
		if err != nil && ctx.Err() == nil {
			err = m.each(ctx, part, func(ctx context.Context, id string) error { return m.endOne(ctx, id, r) })
		}
		if err != nil {
			failed = err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return failed
}

// endOne ends a lease that the mark of a prefix is about.
func (m *Manager) endOne(ctx context.Context, id string, r revocation) error {
	l, err := m.read(ctx, id)
	if err == nil && l.Issued.After(r.until) {
		return nil
	}
	if r.force {
		return m.Forget(ctx, id)
	}
	return m.Revoke(ctx, id)
}

// sweepSecrets revokes the secrets below a prefix: their records first say that they have ended, so what fails is tried
// again as for any expired lease, and failed says why.
func (m *Manager) sweepSecrets(ctx context.Context, prefix string, r revocation) (failed, err error) {
	var ids []string
	flush := func() error {
		due, unreadable, err := m.expireSecrets(ctx, ids, r.until)
		ids = ids[:0]
		if err != nil {
			return err
		}
		due = append(due, unreadable...)
		if err := m.each(ctx, due, func(ctx context.Context, id string) error { return m.endOne(ctx, id, r) }); err != nil {
			failed = err
		}
		return ctx.Err()
	}
	err = m.walk(ctx, prefix, func(id string) error {
		if ids = append(ids, id); len(ids) < batchSize {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	return failed, err
}
