package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	bbolt "go.etcd.io/bbolt"

	"coffer/storage"
)

// What one transaction takes at most. More waits for the next, so that one commit's latency and memory
// stay bounded.
const (
	maxGroupBatches = 512
	maxGroupBytes   = 16 << 20
)

// request is one Apply that waits for the committer.
type request struct {
	batch []storage.Op
	// result gets exactly one value unless the request was withdrawn.
	result chan error
}

func (r *request) size() int {
	n := 0
	for i := range r.batch {
		n += len(r.batch[i].Key) + len(r.batch[i].Value)
	}
	return n
}

// queue holds the requests between Apply and the committer. Its length is bounded by the number of
// callers, each of which waits in Apply.
type queue struct {
	// wake has one token when the committer should look.
	wake chan struct{}

	mu sync.Mutex
	// Guarded by mu. The committer is woken when at least wanted requests wait.
	waiting []*request
	wanted  int
	closed  bool
}

func (q *queue) add(r *request) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return storage.ErrClosed
	}
	q.waiting = append(q.waiting, r)
	enough := len(q.waiting) >= q.wanted
	q.mu.Unlock()
	if enough {
		q.signal()
	}
	return nil
}

// want says how many requests are worth waking the committer for, and reports whether they are here.
func (q *queue) want(n int) (enough bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wanted = n
	return q.closed || len(q.waiting) >= n
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

// withdraw takes r out again and reports whether it was still waiting.
func (q *queue) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, r)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// take removes the next group from the queue. open is false when the queue is closed and empty.
func (q *queue) take(group []*request) (taken []*request, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, bytes := 0, 0
	for n < len(q.waiting) && n < maxGroupBatches {
		bytes += q.waiting[n].size()
		if n > 0 && bytes > maxGroupBytes {
			break
		}
		n++
	}
	group = append(group, q.waiting[:n]...)
	q.waiting = slices.Delete(q.waiting, 0, n)
	return group, !q.closed || n > 0
}

// Apply implements storage.Storage. Batches that arrive while a commit is being synced share the next
// one. A context that ends before the batch is in a transaction withdraws it; afterwards Apply waits.
func (s *Store) Apply(ctx context.Context, batch ...storage.Op) error {
	if err := storage.CheckBatch(batch); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{batch: batch, result: make(chan error, 1)}
	if err := s.queue.add(r); err != nil {
		return err
	}
	select {
	case err := <-r.result:
		return err
	case <-ctx.Done():
		if s.queue.withdraw(r) {
			return ctx.Err()
		}
		return <-r.result
	}
}

// maxPatience bounds how long a group waits for those who are expected to join it.
const maxPatience = 5 * time.Millisecond

// commitLoop is the store's only writer. It ends when the queue is closed and empty.
//
// Writers who were just answered tend to come back at once, about when those who wait already have been
// committed: without patience the two halves take turns for ever, and each commit serves half of what it
// could. So a group waits for as many as wrote lately, for at most half as long as a commit took. A single
// writer never waits.
func (s *Store) commitLoop() {
	defer close(s.done)
	debug.SetPanicOnFault(true) // a page that cannot be read is an error, and no end of the process
	var (
		group    []*request
		expected = 1
		patience time.Duration
	)
	for {
		s.gather(expected, patience)
		var open bool
		group, open = s.queue.take(group[:0])
		switch {
		case len(group) > 0:
			begun := time.Now()
			s.commitGroup(group)
			patience = min(time.Since(begun)/2, maxPatience)
			expected = min(len(group)+s.queue.len(), maxGroupBatches)
			clear(group)
		case open:
			expected = 1
			if !s.queue.want(1) {
				<-s.queue.wake
			}
		default:
			return
		}
	}
}

// gather waits until expected requests wait, or patience is at its end.
func (s *Store) gather(expected int, patience time.Duration) {
	if expected <= 1 || s.queue.want(expected) {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-s.queue.wake:
			if s.queue.want(expected) {
				return
			}
		case <-timer.C:
			return
		}
	}
}

// commitGroup commits the group in one transaction. When a batch cannot be put into it, each batch gets
// a transaction of its own, so that it fails alone.
func (s *Store) commitGroup(group []*request) {
	err := s.commit(group...)
	s.unlockNewMapping()
	for _, r := range group {
		s.mapping.count(r.size())
	}
	if len(group) > 1 && errors.Is(err, errRefused) {
		for _, r := range group {
			r.result <- s.commit(r)
		}
		return
	}
	for _, r := range group {
		r.result <- err
	}
}

// errRefused marks an error that occurred before anything was written.
var errRefused = errors.New("bolt: batch refused")

func (s *Store) commit(group ...*request) error {
	if err := s.watch.begin(); err != nil {
		return err
	}
	txid, err := s.transact(group)
	return s.watch.end(txid, err)
}

// transact commits the group in one transaction and returns its number.
func (s *Store) transact(group []*request) (txid uint64, err error) {
	defer s.forget(group)
	defer func() {
		if p := recover(); p != nil {
			err = s.watch.fail(ErrCorrupt, fmt.Errorf("%v", p))
		}
	}()
	if err := s.marker.prepare(); err != nil {
		return 0, unwritten(err)
	}
	tx, err := s.begin(true)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errRefused, err)
	}
	txid = uint64(tx.ID()) //nolint:gosec // It counts from 0.
	// For errors and panics; after a commit, and after a failed one, this does nothing.
	defer func() { _ = tx.Rollback() }()
	b := tx.Bucket(s.bucket)
	for _, r := range group {
		if err := put(b, r.batch); err != nil {
			return 0, fmt.Errorf("%w: %w", errRefused, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("bolt: commit: %w", err)
	}
	if err := s.marker.keep(); err != nil {
		return 0, unwritten(err)
	}
	return txid, nil
}

// forget makes reads look again at what the group may have changed. It comes before the writers are answered.
func (s *Store) forget(group []*request) {
	for _, r := range group {
		for i := range r.batch {
			s.recent.forget(r.batch[i].Key)
		}
	}
}

func put(b *bbolt.Bucket, batch []storage.Op) error {
	for i := range batch {
		op := &batch[i]
		var err error
		if op.Remove {
			err = b.Delete([]byte(op.Key))
		} else {
			err = b.Put([]byte(op.Key), op.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
