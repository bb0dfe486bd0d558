package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// readRoom is what a large value takes, in multiples of its stored size, from when it is read until its answer is
// written: encrypted, in clear, in the answer's data, and in the answer.
const readRoom = 4

// answerRoom is what of that must be there: the value or the list, and the answer.
const answerRoom = 2

// ledger pays for the large values that one request reads, and for its answer as long as the client takes to read that.
// It is the storage.Budget of the request's context. Its zero value pays for nothing.
type ledger struct {
	gate *BodyGate
	r    *http.Request

	mu sync.Mutex
	// share is guarded by mu. It is of the gate's pool for answers, or of that for large bodies: that of the request's own
	// body if that was one, because a request that waited with one share for another could wait for itself. It is nil
	// before anything is large.
	share *share
}

// adopt makes the share of the request's body the one that pays.
func (l *ledger) adopt(s *share) {
	if s.pool == l.gate.large {
		l.share = s
	}
}

// errAnswerTooLarge is returned for an answer that no request may have (413).
var errAnswerTooLarge = &engines.Error{Kind: engines.ErrTooLarge,
	Message: "the answer is larger than one request may have, ask for less at one time"}

// Spend implements storage.Budget. A list and the answer made of it must fit together into what one request may have;
// for the rest that reading takes the request gets what there is.
func (l *ledger) Spend(ctx context.Context, n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	largest := l.gate.large.largest
	if n > storage.MaxValueSize && answerRoom*int64(n) > largest {
		return errAnswerTooLarge
	}
	return l.takeLocked(ctx, min(readRoom*int64(n), largest-l.heldLocked()))
}

func (l *ledger) heldLocked() int64 {
	if l.share == nil {
		return 0
	}
	return l.share.held()
}

// takeLocked adds n bytes: out of the pool of answers what fits into one request there, and out of that of large bodies
// what does not. Nobody who holds a part of the latter waits for the former.
func (l *ledger) takeLocked(ctx context.Context, n int64) error {
	if n <= 0 {
		return nil
	}
	pool := l.gate.answers
	if l.heldLocked()+n > pool.largest {
		pool = l.gate.large
	}
	switch {
	case l.share == nil:
		l.share = pool.open(networkOf(l.r))
	case l.share.pool == l.gate.answers && pool == l.gate.large:
		next := pool.open(l.share.client)
		if err := next.take(ctx, l.share.held()+n); err != nil {
			return err
		}
		l.share.release()
		l.share = next
		return nil
	}
	return l.share.take(ctx, n)
}

// cover makes the ledger pay for n bytes at least.
func (l *ledger) cover(ctx context.Context, n int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.coverLocked(ctx, n)
}

func (l *ledger) coverLocked(ctx context.Context, n int64) error {
	if n > l.gate.large.largest {
		return errAnswerTooLarge
	}
	return l.takeLocked(ctx, n-l.heldLocked())
}

// keep makes the ledger pay for n bytes from now on and nothing else.
func (l *ledger) keep(ctx context.Context, n int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.coverLocked(ctx, n); err != nil {
		return err
	}
	if more := l.share.held() - n; more > 0 {
		l.share.giveBack(more)
	}
	return nil
}

// write writes a large answer that the ledger pays for. The client must read it at a minimum rate, which is higher when
// others wait for the memory.
func (l *ledger) write(w http.ResponseWriter, body []byte) {
	conn := http.NewResponseController(w)
	within := func(grace time.Duration, rate int64) {
		due := grace + time.Duration(int64(len(body))*int64(time.Second)/rate)
		_ = conn.SetWriteDeadline(time.Now().Add(due)) // where there is no connection, as in tests, there is no deadline
	}
	within(patientGrace, patientRate)
	l.share.await(func() { within(hurriedGrace, hurriedRate) })
	_, _ = w.Write(body) // a client that is gone needs no answer
	l.share.received()
	_ = conn.SetWriteDeadline(time.Time{})
}

// release returns what the ledger holds.
func (l *ledger) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.share != nil {
		l.share.release()
	}
}
