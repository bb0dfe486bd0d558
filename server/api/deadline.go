package api

import (
	"context"
	"sync"
	"time"

	"coffer/server/inflight"
	"coffer/storage"
)

// deadline is a request's context: it ends with its parent or at a time, as one of context.WithDeadline does,
// but it costs a timer only where somebody waits for its end. Most requests are answered without waiting for
// anything.
type deadline struct {
	context.Context
	at time.Time

	mu sync.Mutex
	// Guarded by mu. inner does the work once it is needed; closed is set when the request is over.
	inner  context.Context //nolint:containedctx // this is a context
	cancel context.CancelFunc
	closed bool

	// ledger pays for what the request reads; it is outside of mu.
	ledger ledger
	// entry is the request's among those that are being served.
	entry inflight.Entry
	// stream sends the answer of a request that is answered piece by piece.
	stream stream
}

func withDeadline(parent context.Context, at time.Time) *deadline {
	return &deadline{Context: parent, at: at}
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) {
	if parent, ok := d.Context.Deadline(); ok && parent.Before(d.at) {
		return parent, true
	}
	return d.at, true
}

// Value implements context.Context.
func (d *deadline) Value(key any) any {
	if key == (storage.BudgetKey{}) && d.ledger.gate != nil {
		return &d.ledger
	}
	return d.Context.Value(key)
}

// Done implements context.Context.
func (d *deadline) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inner == nil {
		d.inner, d.cancel = context.WithDeadline(d.Context, d.at)
		if d.closed {
			d.cancel()
		}
	}
	return d.inner.Done()
}

// Err implements context.Context.
func (d *deadline) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.inner != nil:
		return d.inner.Err()
	case d.Context.Err() != nil:
		return d.Context.Err()
	case d.closed:
		return context.Canceled
	case time.Until(d.at) <= 0:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// Interrupt ends the context while the request is being served, because the session ends.
func (d *deadline) Interrupt() { d.close() }

// close ends the context.
func (d *deadline) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.cancel != nil {
		d.cancel()
	}
}
