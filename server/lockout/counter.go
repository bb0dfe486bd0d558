package lockout

import (
	"container/list"
	"time"
)

// counter is what is remembered of a user's failures.
type counter struct {
	user  User
	count uint64
	last  time.Time
	// locked is set for a lock that was read from storage, whose count is not known.
	locked bool
}

// locks reports whether the failures lock the user out. A nil counter locks nobody.
func (c *counter) locks(p Policy, now time.Time) bool {
	return c != nil && (c.locked || c.count >= p.Threshold) && now.Sub(c.last) < p.Duration
}

// fail counts a failure.
func (c *counter) fail(p Policy, now time.Time) {
	if now.Sub(c.last) > p.CounterReset {
		c.count = 0
	}
	c.count++
	c.last, c.locked = now, false
}

// counters are a bounded number of counters, those last in order the first to go.
type counters struct {
	limit int
	of    map[User]*list.Element
	order *list.List // of *counter, the latest failure first
}

func newCounters(limit int) *counters {
	return &counters{limit: limit, of: make(map[User]*list.Element), order: list.New()}
}

// get returns a user's counter, or nil.
func (c *counters) get(u User) *counter {
	if e, ok := c.of[u]; ok {
		return e.Value.(*counter) //nolint:forcetypeassert // nothing else is put in
	}
	return nil
}

// make returns a user's counter, a new one if there is none, and puts it first.
func (c *counters) make(u User) *counter {
	if e, ok := c.of[u]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*counter) //nolint:forcetypeassert // nothing else is put in
	}
	if len(c.of) >= c.limit {
		c.drop(c.order.Back().Value.(*counter).user) //nolint:forcetypeassert // nothing else is put in
	}
	n := &counter{user: u}
	c.of[u] = c.order.PushFront(n)
	return n
}

func (c *counters) drop(u User) {
	if e, ok := c.of[u]; ok {
		c.order.Remove(e)
		delete(c.of, u)
	}
}
