package mounts

import (
	"context"
	"fmt"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/jobs"
)

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
	return jobs.Wait(ctx, t.remove(m))
}

// leaveForGood takes a mount from its path, durably.
func (t *Table) leaveForGood(ctx context.Context, path string) (*Mounted, error) {
	t.changing.Lock()
	defer t.changing.Unlock()
	if m, ok := (*t.leaving.Load())[path]; ok && m.removing {
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
	removing := *m
	removing.removing = true
	if err := t.store(ctx, &removing); err != nil {
		return nil, err
	}
	t.put(&removing)
	return &removing, nil
}

// FinishRemovals removes to the end what Load found half removed, and ends the moves that it found. It returns when
// each was tried once.
func (t *Table) FinishRemovals(ctx context.Context) {
	outcomes := []<-chan error{}
	for path, m := range *t.leaving.Load() {
		if m.removing {
			outcomes = append(outcomes, t.remove(m))
		} else {
			outcomes = append(outcomes, t.finishMoveLater(path, m.Entry.UUID))
		}
	}
	for _, outcome := range outcomes {
		_ = jobs.Wait(ctx, outcome) // a failure is logged
	}
}

// remove begins to remove a mount that is in leaving, or hurries who does.
func (t *Table) remove(m *Mounted) <-chan error {
	return t.jobs.Begin("remove "+m.Entry.Path, func(ctx context.Context) error { return t.finish(ctx, m) })
}

// finish ends a mount that is in leaving: first what it issued, then the engine and its storage.
func (t *Table) finish(ctx context.Context, m *Mounted) error {
	e := m.Entry
	if (*t.leaving.Load())[e.Path] != m {
		return nil // it is gone
	}
	if err := m.life.rest(ctx); err != nil {
		return err
	}
	for _, path := range append([]string{e.Path}, m.leftPaths()...) {
		if err := t.cfg.Unmounted(ctx, path, true); err != nil {
			return fmt.Errorf("mounts: revoke leases of %s: %w", path, err)
		}
	}
	m.life.end()
	if err := storage.Clear(ctx, t.cfg.Storage, StoragePrefix(e)); err != nil {
		return fmt.Errorf("mounts: clear %s: %w", e.Path, err)
	}
	t.changing.Lock()
	defer t.changing.Unlock()
	if err := t.cfg.Storage.Apply(ctx, storage.Delete(prefix+e.UUID)); err != nil {
		return err
	}
	for _, path := range append([]string{e.Path}, m.leftPaths()...) {
		replace(&t.leaving, path, nil)
	}
	return nil
}
