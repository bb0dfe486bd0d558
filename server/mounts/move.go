package mounts

import (
	"context"
	"fmt"
	"slices"

	"coffer/engines"
	"coffer/storage"
)

// departure is a path that a mount has left while what it issued there is still being revoked.
type departure struct {
	Path string `json:"path"`
	// ID is what the client calls the move.
	ID string `json:"id"`
}

func (m *Mounted) leftPaths() []string {
	paths := make([]string, 0, len(m.left))
	for _, d := range m.left {
		paths = append(paths, d.Path)
	}
	return paths
}

// Remount moves a mount, and calls that move id. Its engine and its storage stay what they are; only what it issued is
// revoked. It returns ErrNoMount when nothing is mounted at from and an engines.ErrInvalid for a built-in mount or a
// path that is taken.
//
// Once that is stored the mount is at its new path and nowhere else, and what it issued at the old one is good for
// nothing any more. That is revoked in the background, after a crash at the next start, and tried again from time to
// time when that fails; until then Moving tells of it, and the old path is in use.
func (t *Table) Remount(ctx context.Context, from, to, id string) error {
	uuid, err := t.move(storage.Unbudgeted(ctx), from, to, id)
	if err != nil {
		return err
	}
	if err := t.cfg.Unmounted(context.WithoutCancel(ctx), from, false); err != nil {
		t.cfg.Logger.Error("what a mount issued before its move is revoked later", "mount", from, "error", err)
	}
	t.finishMoveLater(from, uuid)
	return nil
}

// move takes a mount to another path, durably.
func (t *Table) move(ctx context.Context, from, to, id string) (uuid string, err error) {
	t.changing.Lock()
	defer t.changing.Unlock()
	old, ok := (*t.rows.Load())[from]
	if !ok {
		return "", ErrNoMount
	}
	if old.builtin {
		return "", engines.Invalid("cannot remount %q", from)
	}
	if err := t.checkFree(to, from); err != nil {
		return "", err
	}
	moved := *old
	moved.Entry.Path = to
	mount := moved.Entry.Mount()
	moved.Mount = &mount
	moved.left = append(slices.Clone(old.left), departure{Path: from, ID: id})
	if err := t.store(ctx, &moved); err != nil {
		return "", err
	}
	t.drop(from)
	t.put(&moved)
	return moved.Entry.UUID, nil
}

// Moving tells from where to where a mount is on its way; false when there is no such move, or none any more.
func (t *Table) Moving(id string) (from, to string, ok bool) {
	for path, m := range *t.leaving.Load() {
		for _, d := range m.left {
			if d.ID == id && d.Path == path {
				return d.Path, m.Entry.Path, true
			}
		}
	}
	return "", "", false
}

func (t *Table) finishMoveLater(from, uuid string) <-chan error {
	return t.jobs.Begin("move from "+from, func(ctx context.Context) error { return t.finishMove(ctx, from, uuid) })
}

// finishMove revokes what the mount with that uuid issued at a path that it has left.
func (t *Table) finishMove(ctx context.Context, from, uuid string) error {
	if m, ok := (*t.leaving.Load())[from]; !ok || m.Entry.UUID != uuid || m.removing && m.Entry.Path == from {
		return nil
	}
	if err := t.cfg.Unmounted(ctx, from, true); err != nil {
		return fmt.Errorf("mounts: revoke leases of %s: %w", from, err)
	}
	t.changing.Lock()
	defer t.changing.Unlock()
	for _, m := range *t.rows.Load() {
		if m.Entry.UUID != uuid {
			continue
		}
		arrived := *m
		arrived.left = slices.DeleteFunc(slices.Clone(m.left), func(d departure) bool { return d.Path == from })
		if err := t.store(ctx, &arrived); err != nil {
			return err
		}
		replace(&t.leaving, from, nil)
		t.put(&arrived)
		return nil
	}
	return nil // it is being removed, and its old paths with it
}
