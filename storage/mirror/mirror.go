// Package mirror keeps what memory holds of stored records true to storage: readers share it, changes take turns, and
// after a commit that failed everything is read again before anybody is told anything.
package mirror

import (
	"context"
	"fmt"
	"sync"

	"coffer/storage"
)

// Mirror guards the memory of one store. It is safe for concurrent use.
type Mirror struct {
	store storage.Storage
	load  func(context.Context) (put func(), err error)

	// changing is held while something is changed, storage included.
	changing sync.Mutex

	// mu guards what memory holds.
	mu sync.RWMutex
	// doubtful is guarded by mu. It is set while nobody knows what storage holds.
	doubtful bool
}

// New reads everything by load, which returns how to put what it read into memory: put, like what Change returns, runs
// while nobody reads. The Mirror is good also when New returns an error: the next View or Change reads again.
func New(
	ctx context.Context, store storage.Storage, load func(context.Context) (put func(), err error),
) (*Mirror, error) {
	m := &Mirror{store: store, load: load, doubtful: true}
	return m, m.settleLocked(ctx)
}

// View runs f while nothing changes; f only reads.
func (m *Mirror) View(ctx context.Context, f func()) error {
	if m.inDoubt() {
		m.changing.Lock()
		err := m.settleLocked(ctx)
		m.changing.Unlock()
		if err != nil {
			return err
		}
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	f()
	return nil
}

// Change runs f, which returns what to commit and what then puts it into memory; it may read memory as it is. Without
// anything to commit nothing happens.
func (m *Mirror) Change(ctx context.Context, f func() (ops []storage.Op, done func(), err error)) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	if err := m.settleLocked(ctx); err != nil {
		return err
	}
	ops, done, err := f()
	if err != nil || len(ops) == 0 {
		return err
	}
	err = m.store.Apply(ctx, ops...)
	m.mu.Lock()
	if err != nil {
		m.doubtful = true
	} else {
		done()
	}
	m.mu.Unlock()
	if err != nil {
		_ = m.settleLocked(context.WithoutCancel(ctx)) // it stays doubtful when this fails
		return fmt.Errorf("write %s: %w", ops[0].Key, err)
	}
	return nil
}

// Reread reads everything again.
func (m *Mirror) Reread(ctx context.Context) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	m.mu.Lock()
	m.doubtful = true
	m.mu.Unlock()
	return m.settleLocked(ctx)
}

func (m *Mirror) inDoubt() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.doubtful
}

// settleLocked reads again what is in doubt. The caller holds changing, or is New.
func (m *Mirror) settleLocked(ctx context.Context) error {
	if !m.inDoubt() {
		return nil
	}
	put, err := m.load(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	put()
	m.doubtful = false
	return nil
}
