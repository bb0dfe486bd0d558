package barrier

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"coffer/storage"
)

// Watcher keeps account of what a barrier cannot read. Its methods are called by requests at the same time; they do not
// wait, and do not call the barrier.
type Watcher interface {
	storage.Reporter
	// Any reports whether anything was reported that was not replaced since. It is called with every Apply.
	Any() bool
	// Replaced is told, while there is Any, that a key has a new value or none, durably.
	Replaced(key string)
	// Discarded is told that what was stored under a name that could not be read is gone; stored is Damage.Stored.
	Discarded(stored string)
}

// Watch sets who is told of what cannot be read. It is called once, before anything else uses the barrier.
func (b *Barrier) Watch(w Watcher) { b.watcher = w }

// Report implements storage.Reporter.
func (b *Barrier) Report(d storage.Damage) {
	if b.watcher != nil {
		b.watcher.Report(d)
	}
}

// discardPage is how many names Discard reads at once.
const discardPage = 512

// Discard implements storage.Discarder.
func (b *Barrier) Discard(ctx context.Context, prefix string) error {
	if err := storage.CheckPrefix(prefix); err != nil {
		return err
	}
	b.writing.RLock()
	defer b.writing.RUnlock()
	s := b.current.Load()
	if s == nil {
		return ErrSealed
	}
	folder, err := s.names.folder(prefix)
	if err != nil {
		return err
	}
	for mark := ""; ; {
		names, next, err := storage.Page(ctx, b.base, folder.encrypted, mark, discardPage)
		if err != nil {
			return err
		}
		for _, encrypted := range names {
			if _, err := s.names.called(encrypted, folder); err != nil {
				if err := b.discard(ctx, folder.encrypted+encrypted); err != nil {
					return err
				}
			}
		}
		if next == "" {
			return nil
		}
		mark = next
	}
}

// discard removes what is stored in the storage below under a key, or below a folder.
func (b *Barrier) discard(ctx context.Context, stored string) error {
	var err error
	if strings.HasSuffix(stored, "/") {
		err = storage.Clear(ctx, b.base, stored)
	} else {
		err = b.base.Apply(ctx, storage.Delete(stored))
	}
	if err == nil && b.watcher != nil {
		b.watcher.Discarded(stored)
	}
	return err
}

// Remove removes what a Damage is about, for good. What the barrier could not read and can now stays; then it returns
// ErrReadable.
func (b *Barrier) Remove(ctx context.Context, d storage.Damage) error {
	if d.Stored == "" {
		if _, err := b.Get(ctx, d.Key); err == nil && errors.Is(d.Err, ErrCorrupt) {
			return fmt.Errorf("barrier: %q: %w", d.Key, ErrReadable)
		}
		return b.Apply(ctx, storage.Delete(d.Key))
	}
	b.writing.RLock()
	defer b.writing.RUnlock()
	s := b.current.Load()
	if s == nil {
		return ErrSealed
	}
	folder, err := s.names.folder(d.Key)
	if err != nil {
		return err
	}
	name, inside := strings.CutPrefix(d.Stored, folder.encrypted)
	if !inside || name == "" || strings.Contains(strings.TrimSuffix(name, "/"), "/") {
		return fmt.Errorf("%w: no name of the folder %q", ErrCorrupt, d.Key)
	}
	if _, err := s.names.called(name, folder); err == nil {
		return fmt.Errorf("barrier: a name in %q: %w", d.Key, ErrReadable)
	}
	return b.discard(ctx, d.Stored)
}
