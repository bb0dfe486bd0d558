package mounts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// How long a removal that failed waits before it is tried again: at first, and at most.
const (
	firstRetry = 10 * time.Second
	lastRetry  = 5 * time.Minute
)

// removal is the work of removing one mount. It goes on whoever waits for it.
type removal struct {
	// waiting are told the outcome of the attempt that is under way. Guarded by Table.removing.
	waiting []chan error
	// again has a token when somebody asks for an attempt before its time.
	again chan struct{}
}

// Disable unmounts an engine, revokes what it issued and deletes its storage. It returns ErrNoMount
// when nothing is mounted at path and an engines.ErrInvalid for a built-in mount.
//
// From the moment when that is stored the mount serves nobody any more. What is left to do is done in the background,
// whether the caller waits or not, and after a crash at the next start. When something cannot be revoked, Disable
// returns why, and it is tried again from time to time; until then the path is in use.
func (t *Table) Disable(ctx context.Context, path string) error {
	m, err := t.leaveForGood(ctx, path)
	if err != nil {
		return err
	}
	select {
	case err := <-t.remove(m):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leaveForGood takes a mount from its path, durably.
func (t *Table) leaveForGood(ctx context.Context, path string) (*Mounted, error) {
	t.changing.Lock()
	defer t.changing.Unlock()
	if m, ok := (*t.leaving.Load())[path]; ok {
		return m, nil
	}
	m, ok := (*t.rows.Load())[path]
	switch {
	case !ok && t.Lost():
		return nil, ErrLost
	case !ok:
		return nil, ErrNoMount
	}
	if m.builtin {
		return nil, engines.Invalid("cannot unmount %q", path)
	}
	if err := t.store(ctx, row{Entry: m.Entry, Removing: true}); err != nil {
		return nil, err
	}
	replace(&t.leaving, path, m)
	t.drop(path)
	return m, nil
}

// FinishRemovals removes to the end what Load found half removed. It returns when each was tried once.
func (t *Table) FinishRemovals(ctx context.Context) {
	outcomes := []<-chan error{}
	for _, m := range *t.leaving.Load() {
		outcomes = append(outcomes, t.remove(m))
	}
	for _, outcome := range outcomes {
		select {
		case err := <-outcome:
			_ = err // it is logged
		case <-ctx.Done():
			return
		}
	}
}

// remove begins to remove a mount that is in leaving, or hurries who does. What it returns receives the outcome of the
// next attempt that ends.
func (t *Table) remove(m *Mounted) <-chan error {
	outcome := make(chan error, 1)
	t.removing.Lock()
	defer t.removing.Unlock()
	r := t.removals[m]
	if r == nil {
		r = &removal{again: make(chan struct{}, 1)}
		t.removals[m] = r
		t.cfg.Background(func(ctx context.Context) { t.removeUntilGone(ctx, m, r) })
	}
	r.waiting = append(r.waiting, outcome)
	select {
	case r.again <- struct{}{}:
	default:
	}
	return outcome
}

func (t *Table) removeUntilGone(ctx context.Context, m *Mounted, r *removal) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		select {
		case <-r.again:
		default:
		}
		err := t.finish(ctx, m)
		if err != nil && ctx.Err() == nil {
			t.cfg.Logger.Error("a mount could not be removed to the end; it is tried again", "mount", m.Entry.Path,
				"after", wait.String(), "error", err)
		}
		if t.conclude(m, r, err) {
			return
		}
		select {
		case <-time.After(wait):
		case <-r.again:
		case <-ctx.Done():
			t.conclude(m, r, ctx.Err())
			return
		}
	}
}

// conclude tells who waits how the attempt ended, and reports whether the mount is gone.
func (t *Table) conclude(m *Mounted, r *removal, err error) (gone bool) {
	t.removing.Lock()
	defer t.removing.Unlock()
	for _, waiting := range r.waiting {
		waiting <- err
	}
	r.waiting = nil
	if err == nil || errors.Is(err, context.Canceled) {
		delete(t.removals, m)
	}
	return err == nil
}

// finish ends a mount that is in leaving: first what it issued, then the engine and its storage.
func (t *Table) finish(ctx context.Context, m *Mounted) error {
	e := m.Entry
	if err := t.cfg.Unmounted(ctx, e); err != nil {
		return fmt.Errorf("mounts: revoke leases of %s: %w", e.Path, err)
	}
	m.stop()
	if err := storage.Clear(ctx, t.cfg.Storage, StoragePrefix(e)); err != nil {
		return fmt.Errorf("mounts: clear %s: %w", e.Path, err)
	}
	t.changing.Lock()
	defer t.changing.Unlock()
	if err := t.cfg.Storage.Apply(ctx, storage.Delete(prefix+e.UUID)); err != nil {
		return err
	}
	replace(&t.leaving, e.Path, nil)
	return nil
}
