package mfa

import (
	"sync"
	"time"
)

// maxCounted bounds how many secrets' attempts are counted. When all places are taken by counts that still run,
// nobody else's code is looked at until one ends.
const maxCounted = 100_000

// attempts counts the codes that were tried against each secret.
type attempts struct {
	mu sync.Mutex
	// of is guarded by mu.
	of map[string]attempt
}

type attempt struct {
	count int
	until time.Time
}

func newAttempts() *attempts { return &attempts{of: make(map[string]attempt)} }

// take counts an attempt and reports whether it may be made: limit of them within a period, which begins with the
// first.
func (a *attempts) take(key string, limit int, period time.Duration, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.of[key]
	if ok && !now.Before(t.until) {
		ok = false
	}
	if !ok {
		if len(a.of) >= maxCounted && !a.sweepLocked(now) {
			return false
		}
		t = attempt{until: now.Add(period)}
	}
	if t.count >= limit {
		return false
	}
	t.count++
	a.of[key] = t
	return true
}

// sweepLocked forgets the counts that are over and reports whether there is room.
func (a *attempts) sweepLocked(now time.Time) bool {
	for key, t := range a.of {
		if !now.Before(t.until) {
			delete(a.of, key)
		}
	}
	return len(a.of) < maxCounted
}

// clear forgets the attempts at a secret, after the right code.
func (a *attempts) clear(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.of, key)
}
