package mfa

import (
	"container/list"
	"sync"
	"time"

	"github.com/google/uuid"

	"coffer/engines"
)

const (
	// waitFor is how long a login waits for its second factor.
	waitFor = 5 * time.Minute
	// maxWaiting bounds how many logins wait, of everybody and of one entity; the oldest go first. One who keeps
	// logging in drives out his own.
	maxWaiting          = 10_000
	maxWaitingOfSubject = 100
)

// Waiting is a login whose first factor was right.
type Waiting struct {
	// Login is what the auth method granted, without what it does at once: Spend and Release are nil.
	Login *engines.Login
	// Method is the auth method that granted it, a pointer.
	Method engines.Engine
	// Entity is the id of whose login it was, "" for somebody new.
	Entity string
	// Accessor is the method's mount accessor, Path that of the request.
	Accessor, Path string

	id      string
	expires time.Time
	subject subject
}

// subject is who a login is by: the auth method's word.
type subject struct{ accessor, alias string }

// waiting are the logins that wait.
type waiting struct {
	mu sync.Mutex
	// what follows is guarded by mu.
	of    map[string]*list.Element
	order *list.List // of *Waiting, the oldest first
	count map[subject]int
}

func newWaiting() *waiting {
	return &waiting{of: make(map[string]*list.Element), order: list.New(), count: make(map[subject]int)}
}

// Wait keeps a login for five minutes and returns the id of the request to finish it.
func (s *Store) Wait(w Waiting) string {
	now := s.cfg.Now()
	w.id, w.expires, w.subject = uuid.NewString(), now.Add(waitFor), subject{w.Accessor, w.Login.Alias}
	s.waiting.add(&w, now)
	return w.id
}

func (q *waiting) add(w *Waiting, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expireLocked(now)
	if q.count[w.subject] >= maxWaitingOfSubject {
		for e := q.order.Front(); e != nil; e = e.Next() {
			if old := waitingIn(e); old.subject == w.subject {
				q.dropLocked(old)
				break
			}
		}
	}
	if len(q.of) >= maxWaiting {
		q.dropLocked(waitingIn(q.order.Front()))
	}
	q.of[w.id] = q.order.PushBack(w)
	q.count[w.subject]++
}

func waitingIn(e *list.Element) *Waiting {
	return e.Value.(*Waiting) //nolint:forcetypeassert // nothing else is put in
}

func (q *waiting) expireLocked(now time.Time) {
	for e := q.order.Front(); e != nil && !now.Before(waitingIn(e).expires); e = q.order.Front() {
		q.dropLocked(waitingIn(e))
	}
}

func (q *waiting) dropLocked(w *Waiting) {
	e, ok := q.of[w.id]
	if !ok {
		return
	}
	q.order.Remove(e)
	delete(q.of, w.id)
	if q.count[w.subject]--; q.count[w.subject] == 0 {
		delete(q.count, w.subject)
	}
}

// Take hands a waiting login to one caller alone; false when there is none with that id, or not any more. A caller
// that does not finish it gives it back with Return.
func (s *Store) Take(id string) (*Waiting, bool) {
	q := s.waiting
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expireLocked(s.cfg.Now())
	e, ok := q.of[id]
	if !ok {
		return nil, false
	}
	w := waitingIn(e)
	q.dropLocked(w)
	return w, true
}

// Return lets a login wait on, until its time is over.
func (s *Store) Return(w *Waiting) {
	now := s.cfg.Now()
	if !now.Before(w.expires) {
		return
	}
	q := s.waiting
	q.mu.Lock()
	defer q.mu.Unlock()
	// In its old place, so that the order stays that of age.
	q.count[w.subject]++
	for e := q.order.Back(); e != nil; e = e.Prev() {
		if !waitingIn(e).expires.After(w.expires) {
			q.of[w.id] = q.order.InsertAfter(w, e)
			return
		}
	}
	q.of[w.id] = q.order.PushFront(w)
}
