package leases

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"coffer/storage/memory"
)

// jumping starts a manager whose clock is ahead of the timers by what the second result holds, in nanoseconds.
func jumping(t *testing.T, store *memory.Store, trust bool) (*session, *atomic.Int64) {
	t.Helper()
	var ahead atomic.Int64
	m := New(Config{Storage: store, TrustClock: trust,
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())).Round(0) }})
	ctx, cancel := context.WithCancel(t.Context())
	secrets := &fakeSecrets{revoked: map[string]time.Time{}}
	m.Start(ctx, fakeTokens{}, secrets)
	return &session{Manager: m, secrets: secrets, end: func() { cancel(); m.Wait() }}, &ahead
}

// TestLeasesEndWhenTheClockJumps moves the clock while the worker sleeps until a lease is due.
func TestLeasesEndWhenTheClockJumps(t *testing.T) {
	for _, woken := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, ahead := jumping(t, memory.New(), false)
			defer s.end()
			l := s.register(t, "db/creds/app", 24*time.Hour)
			synctest.Wait()
			ahead.Store(int64(25 * time.Hour))
			began, limit := time.Now(), time.Minute
			if woken {
				s.Wake()
				limit = 0
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if at := s.secrets.at(l.ID); at.IsZero() || at.Sub(began) > limit {
				t.Errorf("woken %v: the lease ended at %v, want within %v of %v", woken, at, limit, began)
			}
		})
	}
}

// TestLeasesOfAWrongClock issues a lease while the clock is years ahead and starts again with the right one.
func TestLeasesOfAWrongClock(t *testing.T) {
	for _, trust := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := memory.New()
			s, ahead := jumping(t, store, false)
			right := s.register(t, "db/creds/right", time.Hour)
			ahead.Store(int64(100 * 24 * time.Hour))
			wrong := s.register(t, "db/creds/wrong", time.Hour)
			ahead.Store(0)
			s.end()
			s, _ = jumping(t, store, trust)
			defer s.end()
			synctest.Wait()
			if ended := !s.secrets.at(wrong.ID).IsZero(); ended != trust {
				t.Errorf("trust %v: the lease from later ended: %v", trust, ended)
			}
			if ended := !s.secrets.at(right.ID).IsZero(); ended {
				t.Errorf("trust %v: the other lease ended", trust)
			}
		})
	}
}
