// Package clock is the server's time: that of the machine, but it never goes back. What ends by it stays ended when
// the machine's clock is set back, and when the machine boots without knowing the time. See DESIGN.md.
package clock

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// window is how long the server relies on one comparison of the two clocks; shorter steps go unnoticed.
	window = time.Second
	// notable is the shortest step of the machine's clock that is logged, and logPause the time between two such lines.
	notable  = 3 * time.Minute
	logPause = time.Minute
	// closing is the longest lead over the machine's clock that closes by itself: the server's time goes slower by one
	// part in slowness until the machine's has caught up.
	closing  = 24 * time.Hour
	slowness = 10
)

// Clock is the time of one server. It is safe for concurrent use.
type Clock struct {
	machine func() time.Time
	// elapsed is monotonic: how long the process has run, as far as the machine was awake.
	elapsed func() time.Duration
	log     *slog.Logger

	last atomic.Pointer[reading]
	// stored is the mark in storage, in Unix nanoseconds. acted is set when a mark should be stored for its own sake.
	stored atomic.Int64
	acted  atomic.Bool
	jumped atomic.Pointer[func()]

	mu sync.Mutex
	// warned is when a step was logged last. It is guarded by mu.
	warned time.Duration
}

// reading is one comparison of the clocks: the server's time and the machine's in Unix nanoseconds, and when that was.
type reading struct {
	now, machine int64
	at           time.Duration
}

// New returns a clock that follows machine, the machine's clock.
func New(machine func() time.Time, log *slog.Logger) *Clock {
	start := time.Now()
	c := &Clock{machine: machine, elapsed: func() time.Duration { return time.Since(start) }, log: log,
		warned: -logPause}
	now := machine().UnixNano()
	c.last.Store(&reading{now: now, machine: now, at: c.elapsed()})
	return c
}

// OnJump has f called whenever the machine's clock is found to have gone forward by a second or more, also because the
// machine slept. f must not wait. It replaces what was set before.
func (c *Clock) OnJump(f func()) { c.jumped.Store(&f) }

// Now is the server's time: the machine's, or a later one while that is behind what Now has told. Whatever the server
// lets end is compared with it. Without a monotonic reading, what is kept in memory ends when what is stored does.
func (c *Clock) Now() time.Time {
	t := c.machine()
	if d := t.UnixNano() - c.last.Load().now; d >= 0 && d < int64(window) {
		return t.Round(0)
	}
	return c.look(t)
}

// Wall is what the machine's clock says. Times that others have set are compared with it: in certificates, signed
// tokens, one-time codes. A machine that is in the past before coffer existed does not know the time; then it is Now.
func (c *Clock) Wall() time.Time {
	if t := c.machine().Round(0); !t.Before(earliest) {
		return t
	}
	return c.Now()
}

// earliest is before every start of this program by a machine that knows the time.
var earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant

// look compares the clocks. t is what the machine's just said.
func (c *Clock) look(t time.Time) time.Time {
	now, step := c.compare(t)
	if step >= window {
		if f := c.jumped.Load(); f != nil {
			(*f)()
		}
	}
	return now
}

// compare also returns by how much the machine's clock was moved since the last comparison.
func (c *Clock) compare(t time.Time) (now time.Time, step time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, r := c.last.Load(), reading{machine: t.UnixNano(), at: c.elapsed()}
	passed := r.at - last.at
	step = time.Duration(r.machine-last.machine) - passed
	lead := time.Duration(last.now-r.machine) + passed
	switch {
	case lead < window:
		r.now = last.now
	case lead <= closing:
		r.now = last.now + int64(passed-passed/slowness)
	default:
		r.now = last.now + int64(passed)
	}
	r.now = max(r.now, r.machine)
	if passed >= window || step.Abs() >= window {
		c.last.Store(&r)
	}
	if step.Abs() >= notable && r.at-c.warned >= logPause {
		c.warned = r.at
		c.log.Warn("the machine's clock was set, or the machine slept; what the server saw end stays ended",
			slog.String("by", step.Round(time.Second).String()), slog.Time("clock", t.Round(0)),
			slog.Time("server_time", time.Unix(0, r.now)))
	}
	if r.now == r.machine {
		return t.Round(0), step
	}
	return time.Unix(0, r.now), step
}
