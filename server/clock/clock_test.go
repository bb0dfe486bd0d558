package clock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// machine is a computer whose clock can be set. In a bubble of synctest its monotonic clock is that of the bubble.
type machine struct{ off atomic.Int64 }

func (m *machine) now() time.Time { return time.Now().Add(time.Duration(m.off.Load())).Round(0) }

// set moves the clock.
func (m *machine) set(by time.Duration) { m.off.Add(int64(by)) }

// boot starts a server over s on the machine.
func (m *machine) boot(t *testing.T, s storage.Storage, trust bool) (*Clock, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	c := New(m.now, slog.New(slog.NewTextHandler(&log, nil)))
	if err := c.Load(t.Context(), s, trust); err != nil {
		t.Fatal(err)
	}
	return c, &log
}

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// modern is a machine that knows the time; bubbles begin in the year 2000.
func modern() *machine {
	m := &machine{}
	m.set(27 * year)
	return m
}

// between fails unless the time is the expected one, give or take a second.
func between(t *testing.T, what string, got, want time.Time) {
	t.Helper()
	if d := got.Sub(want); d.Abs() > time.Second {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestTimeNeverGoesBack sets the machine's clock in all directions and looks at the server's time.
func TestTimeNeverGoesBack(t *testing.T) {
	for _, tc := range []struct {
		name string
		jump time.Duration // what the clock is ahead by before it is set right
		wait time.Duration // how long ago that was
		want time.Duration // how far the server's time has come since
	}{
		{"five minutes, at once", 5 * time.Minute, 0, 0},
		{"five minutes, soon", 5 * time.Minute, 10 * time.Minute, 9 * time.Minute},
		{"five minutes, caught up", 5 * time.Minute, 2 * time.Hour, 2*time.Hour - 5*time.Minute},
		{"a day", day, 10 * time.Hour, 9 * time.Hour},
		{"73 years", 73 * year, 1000 * time.Hour, 1000 * time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := modern()
				c, _ := m.boot(t, memory.New(), false)
				between(t, "before", c.Now(), m.now())
				m.set(tc.jump)
				ahead := c.Now()
				between(t, "ahead", ahead, m.now())
				m.set(-tc.jump)
				for passed := time.Duration(0); passed < tc.wait; passed += tc.wait / 100 {
					before := c.Now()
					time.Sleep(tc.wait / 100)
					if c.Now().Before(before) {
						t.Fatal("it goes back")
					}
				}
				between(t, "after", c.Now(), ahead.Add(tc.want))
				if now := c.Now(); now.Before(ahead) {
					t.Errorf("%v is before %v, which was told", now, ahead)
				}
				between(t, "the wall clock", c.Wall(), m.now())
			})
		})
	}
}

// TestTimeGoesOnAfterARestart keeps the mark, boots in 1970, and finds the time later.
func TestTimeGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := memory.New(), modern()
		c, _ := m.boot(t, s, false)
		if err := c.Storage(s).Apply(t.Context(), storage.Put("a", nil)); err != nil {
			t.Fatal(err)
		}
		right := m.now()
		lost := right.Sub(time.Unix(100, 0))
		m.set(-lost)
		c, log := m.boot(t, s, false)
		between(t, "booted in 1970", c.Now(), right)
		between(t, "the wall clock of a machine that does not know the time", c.Wall(), right)
		time.Sleep(time.Hour)
		between(t, "an hour later", c.Now(), right.Add(time.Hour))
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "behind") {
			t.Errorf("%d warnings: %s", n, log)
		}
		m.set(lost + day)
		between(t, "once NTP has answered", c.Now(), m.now())
		if n := strings.Count(log.String(), "level=WARN"); n != 2 {
			t.Errorf("%d warnings: %s", n, log)
		}
	})
}

func TestStepsAreNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := modern()
		c, log := m.boot(t, memory.New(), false)
		jumps := 0
		c.OnJump(func() { jumps++ })
		for range 100 {
			time.Sleep(time.Minute)
			c.Now()
		}
		if jumps > 0 || log.Len() > 0 {
			t.Errorf("%d jumps of a clock that goes right, log %q", jumps, log)
		}
		m.set(time.Minute)
		c.Now()
		if jumps != 1 || log.Len() > 0 {
			t.Errorf("%d jumps, want 1, log %q", jumps, log)
		}
		m.set(time.Hour)
		c.Now()
		c.Now()
		if n := strings.Count(log.String(), "by=1h0m0s"); jumps != 2 || n != 1 {
			t.Errorf("%d jumps, want 2, log %q", jumps, log)
		}
		for range 100 { // a clock gone mad does not fill the log
			m.set(-time.Hour)
			c.Now()
			m.set(time.Hour)
			c.Now()
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings", n)
		}
	})
}

// counting counts commits and marks, and fails when told.
type counting struct {
	storage.Storage
	commits, marks int
	err            error
}

func (s *counting) Apply(ctx context.Context, ops ...storage.Op) error {
	s.commits++
	for _, op := range ops {
		if op.Key == markKey {
			s.marks++
		}
	}
	if s.err != nil {
		return s.err
	}
	return s.Storage.Apply(ctx, ops...)
}

func TestMarkGoesWithCommitsOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := &counting{Storage: memory.New()}, modern()
		c, _ := m.boot(t, s, false)
		store := c.Storage(s)
		write := func() error { c.Now(); return store.Apply(t.Context(), storage.Put("a", nil)) }
		for range 600 {
			if err := write(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if s.commits != 600 || s.marks != 10 {
			t.Errorf("%d commits with %d marks, want 600 with 10", s.commits, s.marks)
		}
		time.Sleep(time.Minute)
		s.err = errors.New("no")
		for n := range 2 {
			if write() == nil || s.marks != 11+n {
				t.Errorf("%d marks, want one with each failure", s.marks-10)
			}
		}
		s.err = nil
		if err := write(); err != nil || s.marks != 13 {
			t.Errorf("%v, %d marks", err, s.marks)
		}
		s.commits = 0
		for range 10 { // nobody did anything
			time.Sleep(time.Minute)
			if err := c.Keep(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		if s.commits != 0 {
			t.Errorf("an idle server commits %d times", s.commits)
		}
		for range 10 {
			c.Acted()
			if err := c.Keep(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		if s.commits != 1 {
			t.Errorf("%d commits, want 1", s.commits)
		}
	})
}

// TestTrustedClock is the way back from a mark that lies far ahead.
func TestTrustedClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := memory.New(), modern()
		m.set(70 * year)
		c, _ := m.boot(t, s, false)
		if err := c.Storage(s).Apply(t.Context(), storage.Put("a", nil)); err != nil {
			t.Fatal(err)
		}
		ahead := m.now()
		m.set(-70 * year)
		c, _ = m.boot(t, s, false)
		between(t, "without a word", c.Now(), ahead)
		c, log := m.boot(t, s, true)
		between(t, "told", c.Now(), m.now())
		if !strings.Contains(log.String(), "trusted") {
			t.Errorf("log %q", log)
		}
		if err := c.Flush(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		c, _ = m.boot(t, s, false)
		between(t, "from then on", c.Now(), m.now())
		right := m.now()
		m.set(-27 * year)
		c, _ = m.boot(t, s, true)
		between(t, "a clock that cannot be right", c.Now(), right)
	})
}

func TestUnreadableMark(t *testing.T) {
	s, m := memory.New(), modern()
	if err := s.Apply(t.Context(), storage.Put(markKey, []byte("nonsense!"))); err != nil {
		t.Fatal(err)
	}
	c, log := m.boot(t, s, false)
	between(t, "now", c.Now(), m.now())
	if !strings.Contains(log.String(), "unreadable") {
		t.Errorf("log %q", log)
	}
}

func TestNowCostsNothing(t *testing.T) {
	c := New(time.Now, slog.New(slog.DiscardHandler))
	if n := testing.AllocsPerRun(1000, func() { c.Now(); c.Wall() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNow(b *testing.B) {
	c := New(time.Now, slog.New(slog.DiscardHandler))
	for b.Loop() {
		c.Now()
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(put(1 << 60).Value)
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		if mark, err := decode(b); err == nil && !bytes.Equal(put(mark).Value, b) {
			t.Errorf("%x is written as %x", b, put(mark).Value)
		}
	})
}

// TestPagesThroughTheClock counts the names that are read: a page costs what it has, not the folder.
func TestPagesThroughTheClock(t *testing.T) {
	tally := &storagetest.Tally{Storage: memory.New()}
	for i := range 1000 {
		if err := tally.Apply(t.Context(), storage.Put(fmt.Sprint("f/", i), nil)); err != nil {
			t.Fatal(err)
		}
	}
	c, _ := modern().boot(t, tally, false)
	names, _, err := storage.Page(t.Context(), c.Storage(tally), "f/", "", 10)
	if read := tally.Names(); err != nil || len(names) != 10 || read > 20 {
		t.Errorf("%d names were read for %d, %v", read, len(names), err)
	}
}
