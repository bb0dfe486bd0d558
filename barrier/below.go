package barrier

import (
	"context"
	"strings"

	"coffer/storage"
)

// answeredPath is the record that is written while the barrier is closed, see the package seal.
const answeredPath = "core/init-answered"

// belowPrefix is where the plaintext keys are, in the storage below.
const belowPrefix = "core/"

// coversBelow reports whether a plaintext key is one of those that the seal and the ceremonies keep: the manifest
// covers them once there was a Guard. The barrier sees to its own.
func coversBelow(key string) bool {
	return strings.HasPrefix(key, belowPrefix) && key != keyringPath && key != answeredPath &&
		!strings.HasPrefix(key, encryptionsPrefix) && !strings.HasPrefix(key, manifestPrefix) &&
		!strings.HasSuffix(key, "/")
}

// Below is the storage below the barrier, for the records that tell how to open it. While the barrier is open,
// whoever changes one of them does it here or by Rekey: then the manifest knows it, and an older one put back is
// ErrCorrupt, here and when the barrier is opened again.
func (b *Barrier) Below() storage.Storage { return below{b} }

type below struct{ *Barrier }

// covers reports whether the manifest is about a plaintext key.
func (b below) covers(key string) bool {
	m := b.guard.current.Load()
	return m != nil && m.revision > 0 && coversBelow(key)
}

// Get implements storage.Storage.
func (b below) Get(ctx context.Context, key string) ([]byte, error) {
	data, err := b.base.Get(ctx, key)
	if !b.covers(key) {
		return data, err
	}
	want, listed := b.guard.current.Load().below.find(key)
	if check(key, want, listed, hashOf(data), err) == nil {
		return data, err
	}
	b.guard.mu.Lock()
	defer b.guard.mu.Unlock()
	if err := b.settleLocked(ctx); err != nil {
		return nil, err
	}
	data, err = b.base.Get(ctx, key)
	want, listed = b.guard.current.Load().below.find(key)
	if stale := check(key, want, listed, hashOf(data), err); stale != nil {
		return nil, stale
	}
	return data, err
}

// List implements storage.Storage.
func (b below) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	return b.base.List(ctx, prefix, after, limit)
}

// Apply implements storage.Storage.
func (b below) Apply(ctx context.Context, batch ...storage.Op) error {
	if err := storage.CheckBatch(batch); err != nil {
		return err
	}
	b.writing.RLock()
	defer b.writing.RUnlock()
	s := b.current.Load()
	if s == nil {
		return ErrSealed
	}
	if !b.coversAny(batch) {
		return b.base.Apply(ctx, batch...)
	}
	b.guard.mu.Lock()
	defer b.guard.mu.Unlock()
	d, err := b.editLocked(ctx)
	if err != nil {
		return err
	}
	b.note(d, batch)
	return b.commitLocked(ctx, s.active, d, 0, batch)
}

func (b below) coversAny(batch []storage.Op) bool {
	for i := range batch {
		if b.covers(batch[i].Key) {
			return true
		}
	}
	return false
}

// note puts into the draft what the batch changes.
func (b below) note(d *draft, batch []storage.Op) {
	for i := range batch {
		switch key := batch[i].Key; {
		case !b.covers(key):
		case batch[i].Remove:
			d.below = d.below.without(key)
		default:
			d.below = d.below.with(key, hashOf(batch[i].Value))
		}
	}
}
