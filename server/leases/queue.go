package leases

import (
	"container/heap"
	"strings"
	"sync"
	"time"
)

// item is what memory holds of one lease: with its id, map slot and heap slot under 200 bytes.
type item struct {
	id string
	// due is when to look at the lease next, in Unix nanoseconds; 0 for never.
	due int64
	// index is the place in the heap, -1 outside it.
	index    int32
	attempts uint8
	kind     Kind
	// failed marks a lease that could not be revoked and waits for an operator.
	failed bool
	// withdrawn marks a lease that ends whatever its record says.
	withdrawn bool
}

// queue orders leases by when they end. A lease whose revocation is running is claimed: it is in items
// but not in the heap, and nobody else revokes it.
type queue struct {
	wake chan struct{} // a token in it tells the worker that the first lease has changed

	mu sync.Mutex
	// What follows is guarded by mu.
	items   map[string]*item
	heap    byDue
	claimed map[string]chan struct{} // closed at release
	// failures are why leases could not be revoked, for those of tokens: a secret's record says it itself.
	failures map[string]string
	// dropped holds what was removed while stored leases are read, so that no reader brings it back; nil while there
	// is none. readers counts them.
	dropped map[string]struct{}
	readers int
}

func (q *queue) init() {
	q.wake = make(chan struct{}, 1)
	q.items = make(map[string]*item)
	q.claimed = make(map[string]chan struct{})
	q.failures = make(map[string]string)
	q.beginLoading() // of what is stored at the start
}

// set puts a lease in or moves it to another time.
func (q *queue) set(id string, kind Kind, due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[id]
	if it == nil {
		it = &item{id: id, index: -1, kind: kind}
		q.items[id] = it
	}
	it.due, it.attempts, it.failed = nanos(due), 0, false
	delete(q.failures, id)
	q.placeLocked(it)
}

// load puts a stored lease in unless it is known or was removed since loading began.
func (q *queue) load(l Lease) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, gone := q.dropped[l.ID]; gone || q.items[l.ID] != nil {
		return
	}
	it := &item{id: l.ID, index: -1, kind: l.Kind, due: nanos(l.Expires), failed: l.Failure != ""}
	q.items[l.ID] = it
	q.placeLocked(it)
}

// beginLoading comes before stored leases are read for load, loadingDone after it.
func (q *queue) beginLoading() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.readers++; q.dropped == nil {
		q.dropped = make(map[string]struct{})
	}
}

func (q *queue) loadingDone() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.readers--; q.readers == 0 {
		q.dropped = nil
	}
}

// due is when the lease is looked at next.
func (q *queue) due(id string) (due int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it := q.items[id]; it != nil {
		due = it.due
	}
	return due
}

// putOff moves a lease to the time that its record says, unless it was moved since it was seen to be due at a time:
// then the record was read before it changed.
func (q *queue) putOff(id string, seen int64, ends time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it := q.items[id]; it != nil && it.due == seen {
		it.due, it.attempts, it.failed = nanos(ends), 0, false
		delete(q.failures, id)
		q.placeLocked(it)
	}
}

// drop forgets a lease.
func (q *queue) drop(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.dropped != nil {
		q.dropped[id] = struct{}{}
	}
	it := q.items[id]
	if it == nil {
		return
	}
	delete(q.items, id)
	delete(q.failures, id)
	if it.index >= 0 {
		heap.Remove(&q.heap, int(it.index))
	}
}

// placeLocked puts the item where it belongs: in the heap at its time, or outside.
func (q *queue) placeLocked(it *item) {
	_, claimed := q.claimed[it.id]
	inHeap := it.due != 0 && !it.failed && !claimed
	switch {
	case inHeap && it.index >= 0:
		heap.Fix(&q.heap, int(it.index))
	case inHeap:
		heap.Push(&q.heap, it)
	case it.index >= 0:
		heap.Remove(&q.heap, int(it.index))
	}
	if inHeap && it.index == 0 {
		q.wakeUp()
	}
}

func (q *queue) wakeUp() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next claims the first lease that is due. When none is, it returns "" and how long until the first one
// will be, or a negative duration when there is none at all.
func (q *queue) next(now time.Time) (id string, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heap) == 0 {
		return "", -1
	}
	first := q.heap[0]
	if wait := time.Duration(first.due - now.UnixNano()); wait > 0 {
		return "", wait
	}
	q.claimed[first.id] = make(chan struct{})
	heap.Remove(&q.heap, 0)
	return first.id, 0
}

// claim reserves the revocation of a lease. When somebody else has it, it returns a channel that is
// closed when that one is done.
func (q *queue) claim(id string) (busy <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c, ok := q.claimed[id]; ok {
		return c
	}
	q.claimed[id] = make(chan struct{})
	if it := q.items[id]; it != nil && it.index >= 0 {
		heap.Remove(&q.heap, int(it.index))
	}
	return nil
}

// release ends a claim. A lease that is still there goes back to its time.
func (q *queue) release(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.claimed[id])
	delete(q.claimed, id)
	if it := q.items[id]; it != nil {
		q.placeLocked(it)
	}
}

// retry notes a failed attempt. It returns how many there have been and puts the lease off by the backoff
// that follows from them, or for good when giveUp attempts are reached.
func (q *queue) retry(id string, now time.Time, giveUp int) (attempts int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[id]
	if it == nil {
		return 0
	}
	it.attempts++
	it.due = now.Add(backoff(int(it.attempts))).UnixNano()
	it.failed = int(it.attempts) >= giveUp
	return int(it.attempts)
}

// withdraw marks a lease as one that ends whatever its record says.
func (q *queue) withdraw(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it := q.items[id]; it != nil {
		it.withdrawn = true
	}
}

// withdrawn reports whether the lease is so marked.
func (q *queue) withdrawn(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[id]
	return it != nil && it.withdrawn
}

// giveUp notes why the lease of a token, whose attempts are used up, could not be revoked.
func (q *queue) giveUp(id, why string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it := q.items[id]; it != nil && it.failed {
		q.failures[id] = why
	}
}

// failure is what giveUp noted; "" for nothing.
func (q *queue) failure(id string) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failures[id]
}

// tokens lists the leases of tokens whose ids begin with prefix.
func (q *queue) tokens(prefix string) []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var ids []string
	for id, it := range q.items {
		if it.kind == Token && strings.HasPrefix(id, prefix) {
			ids = append(ids, id)
		}
	}
	return ids
}

// hasToken reports whether the id of the lease of a token begins with prefix.
func (q *queue) hasToken(prefix string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, it := range q.items {
		if it.kind == Token && strings.HasPrefix(id, prefix) {
			return true
		}
	}
	return false
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// failed lists the leases that could not be revoked.
func (q *queue) failed() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var ids []string
	for id, it := range q.items {
		if it.failed {
			ids = append(ids, id)
		}
	}
	return ids
}

// byDue is the heap.Interface of the queue.
type byDue []*item

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due < h[j].due }
func (h byDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = int32(i), int32(j) //nolint:gosec // memory ends long before 2^31 leases
}

// Push implements heap.Interface.
func (h *byDue) Push(x any) {
	it := x.(*item)           //nolint:forcetypeassert // only items go in
	it.index = int32(len(*h)) //nolint:gosec // as in Swap
	*h = append(*h, it)
}

// Pop implements heap.Interface.
func (h *byDue) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	it.index = -1
	return it
}
