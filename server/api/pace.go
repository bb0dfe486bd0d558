package api

import (
	"net/http"
	"sync"
	"time"
)

// How fast a body must arrive, in bytes a second, after a grace. The second pair is for who is waited for.
const (
	patientGrace, patientRate = 10 * time.Second, 128 << 10
	hurriedGrace, hurriedRate = time.Second, 1 << 20
)

// pace sets the deadline by which the next part of a body must have come. Time that the server itself spends does not
// count.
type pace struct {
	http *http.ResponseController

	mu sync.Mutex
	// Guarded by mu. since and bytes are what the rate is counted from; stopped is when the server began to do something
	// else, zero while it reads.
	since   time.Time
	bytes   int64
	grace   time.Duration
	rate    int64
	stopped time.Time
}

// newPace returns the pace of a body that nobody waits for yet. Nothing is read until resume.
func newPace(w http.ResponseWriter) *pace {
	now := time.Now()
	return &pace{http: http.NewResponseController(w), since: now, stopped: now, grace: patientGrace, rate: patientRate}
}

// resume starts the clock, before a read.
func (p *pace) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = p.since.Add(time.Since(p.stopped))
	p.stopped = time.Time{}
	p.setLocked()
}

// stop stops it, after a read of n bytes.
func (p *pace) stop(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += int64(n)
	p.stopped = time.Now()
}

// hurry is called by others: from now on the rate is the higher one.
func (p *pace) hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since, p.bytes, p.grace, p.rate = time.Now(), 0, hurriedGrace, hurriedRate
	if p.stopped.IsZero() {
		p.setLocked()
	} else {
		p.stopped = p.since
	}
}

func (p *pace) setLocked() {
	due := time.Duration(p.bytes * int64(time.Second) / p.rate)
	p.set(p.since.Add(p.grace + due))
}

// end leaves no deadline, so that the request is not cut off while it is served.
func (p *pace) end() { p.set(time.Time{}) }

// linger is how long the rest of a body that was refused may still take.
const linger = time.Second

// abandon is end for a body whose rest nobody will read.
func (p *pace) abandon() { p.set(time.Now().Add(linger)) }

func (p *pace) set(t time.Time) {
	_ = p.http.SetReadDeadline(t) // where there is no connection, as in tests, there is no deadline
}
