package jobs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errFailed = errors.New("failed")

// session runs what is in the background until end.
func session(t *testing.T) (background func(func(context.Context)), end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	return func(f func(context.Context)) { workers.Go(func() { f(ctx) }) }, func() { cancel(); workers.Wait() }
}

func TestAJobIsTriedUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		background, end := session(t)
		defer end()
		s := New(background, slog.New(slog.DiscardHandler))
		began, attempts := time.Now(), []time.Duration{}
		work := func(context.Context) error {
			if attempts = append(attempts, time.Since(began)); len(attempts) < 4 {
				return errFailed
			}
			return nil
		}
		if err := Wait(t.Context(), s.Begin("a", work)); !errors.Is(err, errFailed) {
			t.Errorf("the first attempt: %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if want := 70 * time.Second; len(attempts) != 4 || attempts[3] != want || len(s.running) != 0 {
			t.Errorf("tried after %v; want the fourth after %v", attempts, want)
		}
	})
}

// TestAJobBeginsAfterItIsAskedFor: who asks for a job that is under way gets an attempt that began later, at once.
func TestAJobBeginsAfterItIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		background, end := session(t)
		defer end()
		s := New(background, slog.New(slog.DiscardHandler))
		attempts, hold := 0, make(chan error)
		work := func(context.Context) error {
			attempts++
			return <-hold
		}
		first := s.Begin("a", work)
		synctest.Wait()
		second, third := s.Begin("a", work), s.Begin("a", work)
		hold <- errFailed
		if err := <-first; !errors.Is(err, errFailed) {
			t.Errorf("the first: %v", err)
		}
		hold <- nil // the attempt after it does not wait
		if err := errors.Join(<-second, <-third); err != nil || attempts != 2 {
			t.Errorf("%d attempts, %v", attempts, err)
		}
		fourth := s.Begin("a", work)
		synctest.Wait()
		fifth := s.Begin("a", work)
		hold <- nil
		hold <- nil
		if err := errors.Join(<-fourth, <-fifth); err != nil || attempts != 4 {
			t.Errorf("%d attempts, %v", attempts, err)
		}
	})
}

func TestTheEndOfTheSessionIsToldToWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		background, end := session(t)
		s := New(background, slog.New(slog.DiscardHandler))
		work := func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		first := s.Begin("a", work)
		synctest.Wait()
		second := s.Begin("a", work)
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := Wait(hasty, first); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who does not wait: %v", err)
		}
		end()
		if err := errors.Join(<-first, <-second); !errors.Is(err, context.Canceled) || len(s.running) != 0 {
			t.Errorf("%v", err)
		}
	})
}

func TestWithoutABackgroundAJobIsTriedOnce(t *testing.T) {
	attempts := 0
	err := <-New(nil, nil).Begin("a", func(context.Context) error {
		attempts++
		return errFailed
	})
	if !errors.Is(err, errFailed) || attempts != 1 {
		t.Errorf("%d attempts, %v", attempts, err)
	}
}
