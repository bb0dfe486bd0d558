// Package inflight knows the requests that are being served. Every request enters its Board and leaves it, so that
// costs no allocation and no lock that many wait for.
package inflight

import (
	"math/rand/v2"
	"sync"
	"time"

	"coffer/engines"
)

// Request is one request that is being served.
type Request struct {
	// ID is the request's, a UUID.
	ID string
	// Method and Path are those of HTTP: "GET", "/v1/sys/mounts".
	Method, Path string
	// Address is the client's, host:port.
	Address string
	Token   engines.Token
	Begun   time.Time
}

// Entry is the place of a request on a Board. Its zero value is on none.
type Entry struct {
	Request
	// Context is the request's; nil for one that nobody can interrupt.
	Context interface{ Interrupt() }

	shard      *shard
	prev, next *Entry // guarded by the shard's lock
}

// shards is over how many lists the requests of a Board are spread.
const shards = 16

// cacheLine is the size of what processors share, in bytes: the locks of two shards must not be on one.
const cacheLine = 64

type shard struct {
	mu    sync.Mutex
	first *Entry // guarded by mu
	_     [cacheLine - 16]byte
}

// Board lists requests. Its zero value is empty.
type Board struct{ shards [shards]shard }

// Enter puts a request on the board. The entry must stay where it is, and its Request as it is, until Leave.
func (b *Board) Enter(e *Entry) {
	s := &b.shards[rand.Uint32()%shards] //nolint:gosec // any shard will do
	e.shard = s
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.next = s.first; e.next != nil {
		e.next.prev = e
	}
	s.first = e
}

// Leave takes a request off its board.
func (e *Entry) Leave() {
	s := e.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.next != nil {
		e.next.prev = e.prev
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		s.first = e.next
	}
	e.prev, e.next = nil, nil
}

// Interrupt ends the contexts of all requests on the board.
func (b *Board) Interrupt() {
	for i := range b.shards {
		b.shards[i].interrupt()
	}
}

func (s *shard) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.first; e != nil; e = e.next {
		if e.Context != nil {
			e.Context.Interrupt()
		}
	}
}

// Requests returns those on the board, in no order.
func (b *Board) Requests() []Request {
	var all []Request
	for i := range b.shards {
		all = b.shards[i].appendTo(all)
	}
	return all
}

func (s *shard) appendTo(all []Request) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.first; e != nil; e = e.next {
		all = append(all, e.Request)
	}
	return all
}
