package api

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"coffer/engines"
)

// errBusy is returned to a request that found no memory in time (503).
var errBusy = &engines.Error{Kind: errUnavailable, Message: "the server is busy with other large requests, try again"}

// errTooCostly is returned for a body whose decoded form would be larger than one request may have (413).
var errTooCostly = &engines.Error{Kind: engines.ErrTooLarge, Message: "JSON payload exceeds allowed memory"}

// How many requests wait for one pool, because each keeps what it has read so far, and for the pool of small bodies, of
// which little was read: as many as a listener has streams. One more takes the place of the last one of the client that
// has the most of them, which gets errBusy.
const (
	maxWaiting      = 128
	maxWaitingSmall = 4096
)

// pool is an amount of memory that requests share. A request takes more and more of it while its body arrives.
//
// Requests that hold a part and wait for more must not wait for one another. Therefore one of them at a time is
// privileged: what it takes comes out of a reserve that is as large as the largest request, so it never waits. The
// others get what is left of the common part. When the privileged request ends, the next becomes privileged. Clients
// take turns in that, and the requests of one client stay in the order in which they asked: who sends many waits for
// himself. Every request that waits therefore gets what it needs in the end.
type pool struct {
	// largest bounds one request, in bytes. It is also the size of the reserve.
	largest int64
	// maxWaiting bounds how many requests wait.
	maxWaiting int

	mu sync.Mutex
	// Guarded by mu. common is what is left of the common part.
	common int64
	// privileged is nil while nobody needs to be.
	privileged *share
	// waiting is how many wait, and lines are the clients whose requests do, in the order of their turns.
	waiting int
	lines   []*line
	// receiving are the shares whose bodies are arriving.
	receiving map[*share]struct{}
	// lastClient is who was served last of those that waited, or became privileged last.
	lastClient netip.Prefix
}

// line is what waits of one client, the oldest first.
type line struct {
	client  netip.Prefix
	waiting []*waiter
}

// share is what one request holds of a pool. Its methods are called by that request alone. The zero share holds
// nothing.
type share struct {
	pool   *pool
	client netip.Prefix
	// hurry is called once, by another request, when the body arrives while others wait. It must not call the pool.
	hurry func()

	// Guarded by pool.mu. common and reserved are what is held of either part, in bytes.
	common, reserved int64
	hurried          bool
}

type waiter struct {
	share *share
	n     int64
	ready chan struct{} // closed when the share has got its n bytes, or gets none
	err   error         // set before ready is closed when it gets none
}

// newPool returns a pool for requests of up to largest bytes. Beside the reserve for one of them there are common bytes
// for all the others.
func newPool(largest, common int64) *pool {
	return &pool{largest: largest, common: common, maxWaiting: maxWaiting, receiving: map[*share]struct{}{}}
}

// open returns a share of nothing for a request of that client.
func (p *pool) open(client netip.Prefix) *share { return &share{pool: p, client: client} }

// take adds n bytes to the share and waits for them if necessary, up to the end of ctx. It returns errTooCostly when
// the share would become larger than a request may be, and errBusy when there are too many who wait, or ctx ends.
func (s *share) take(ctx context.Context, n int64) error {
	if n <= 0 {
		return nil
	}
	p := s.pool
	p.mu.Lock()
	if s.common+s.reserved+n > p.largest {
		p.mu.Unlock()
		return errTooCostly
	}
	if p.grantLocked(s, n) {
		p.mu.Unlock()
		return nil
	}
	w := &waiter{share: s, n: n, ready: make(chan struct{})}
	if !p.enterLocked(w) {
		p.mu.Unlock()
		return errBusy
	}
	delete(p.receiving, s)
	p.hurryLocked()
	p.mu.Unlock()
	select {
	case <-w.ready:
		return w.err
	case <-ctx.Done():
		p.abandon(w)
		return errBusy
	}
}

// enterLocked puts w into the line of its client. It reports false when there is no place for it.
func (p *pool) enterLocked(w *waiter) bool {
	var own, longest *line
	for _, l := range p.lines {
		if l.client == w.share.client {
			own = l
		}
		if longest == nil || len(l.waiting) > len(longest.waiting) {
			longest = l
		}
	}
	if p.waiting == p.maxWaiting {
		if own != nil && len(own.waiting) >= len(longest.waiting)-1 || len(longest.waiting) == 1 {
			return false
		}
		last := len(longest.waiting) - 1
		longest.waiting[last].err = errBusy
		close(longest.waiting[last].ready)
		longest.waiting[last] = nil
		longest.waiting = longest.waiting[:last]
		p.waiting--
	}
	if own == nil {
		own = &line{client: w.share.client}
		p.lines = append(p.lines, own)
	}
	own.waiting = append(own.waiting, w)
	p.waiting++
	return true
}

// most returns how many more bytes the request may take, at most n.
func (s *share) most(n int64) int64 {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return min(n, s.pool.largest-s.common-s.reserved)
}

// held is how many bytes the share holds.
func (s *share) held() int64 {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.common + s.reserved
}

// grantLocked gives n bytes to the share if they are there and nobody waits for them. The first that finds none becomes
// privileged.
func (p *pool) grantLocked(s *share, n int64) bool {
	switch {
	case p.privileged == s:
		s.reserved += n
	case p.waiting > 0:
		return false
	case p.common >= n:
		p.common -= n
		s.common += n
	case p.privileged == nil:
		p.privileged, p.lastClient = s, s.client
		s.reserved += n
	default:
		return false
	}
	return true
}

// serveLocked gives to those who wait what has become free.
func (p *pool) serveLocked() {
	for p.waiting > 0 {
		w := p.nextLocked()
		switch {
		case w.n <= p.common:
			p.common -= w.n
			w.share.common += w.n
		case p.privileged == nil:
			p.privileged = w.share
			w.share.reserved += w.n
		default:
			return
		}
		close(w.ready)
		l := p.lines[0]
		p.lastClient = l.client
		l.waiting[0] = nil // it would keep what its request holds
		l.waiting = l.waiting[1:]
		p.waiting--
		p.lines = p.lines[1:]
		if len(l.waiting) > 0 {
			p.lines = append(p.lines, l)
		}
	}
}

// nextLocked puts the line first whose turn it is and returns its oldest. That is not the client who was served last,
// so that one with many requests does not keep out the others.
func (p *pool) nextLocked() *waiter {
	if l := p.lines[0]; l.client == p.lastClient && len(p.lines) > 1 {
		p.lines = append(p.lines[1:], l)
	}
	return p.lines[0].waiting[0]
}

// abandon ends the wait of w, which may have been served meanwhile.
func (p *pool) abandon(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, l := range p.lines {
		at := slices.Index(l.waiting, w)
		if at < 0 {
			continue
		}
		l.waiting = slices.Delete(l.waiting, at, at+1)
		p.waiting--
		if len(l.waiting) == 0 {
			p.lines = slices.Delete(p.lines, i, i+1)
		}
		p.serveLocked() // the next may want less
		return
	}
}

// giveBack returns n bytes of the share, and the privilege where what is left fits into the common part.
func (s *share) giveBack(n int64) {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	reserved := min(n, s.reserved)
	s.reserved -= reserved
	common := min(n-reserved, s.common)
	s.common -= common
	p.common += common
	if p.privileged == s && s.reserved <= p.common {
		p.common -= s.reserved
		s.common, s.reserved = s.common+s.reserved, 0
		p.privileged = nil
	}
	p.serveLocked()
}

// release returns all that the share holds. It may be called more than once.
func (s *share) release() {
	if s.pool == nil {
		return
	}
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.receiving, s)
	if s.common == 0 && p.privileged != s {
		return
	}
	p.common += s.common
	s.common, s.reserved = 0, 0
	if p.privileged == s {
		p.privileged = nil
	}
	p.serveLocked()
}

// receive notes that the share's body is arriving. When others wait already, hurry is called at once.
func (s *share) receive() {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	s.pool.receiving[s] = struct{}{}
	if s.pool.waiting > 0 {
		s.hurryLocked()
	}
}

// await is receive for another matter in which the request waits for its client.
func (s *share) await(hurry func()) {
	s.pool.mu.Lock()
	s.hurry, s.hurried = hurry, false
	s.pool.mu.Unlock()
	s.receive()
}

// received notes that the request waits for its client no more.
func (s *share) received() {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	delete(s.pool.receiving, s)
	s.hurry = nil
}

// hurryLocked hurries all whose bodies are arriving.
func (p *pool) hurryLocked() {
	for s := range p.receiving {
		s.hurryLocked()
	}
}

func (s *share) hurryLocked() {
	if !s.hurried && s.hurry != nil {
		s.hurried = true
		s.hurry()
	}
}
