// Package jobs carries through, beside the requests, work that a mark in storage promises: whoever asked for it may
// give up, a failure is tried again, and a restart begins it anew from the mark.
package jobs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// How long a job that failed waits before it is tried again: at first, and at most.
const (
	firstRetry = 10 * time.Second
	lastRetry  = 5 * time.Minute
)

// Set is the jobs of one owner. It is safe for concurrent use.
type Set struct {
	// background runs a function beside the caller until the session ends; nil for a Set whose jobs run within Begin,
	// once.
	background func(func(context.Context))
	log        *slog.Logger

	mu sync.Mutex
	// running is guarded by mu, and so are the jobs in it.
	running map[string]*job
}

type job struct {
	work func(context.Context) error
	// waiting are told the outcome of the next attempt.
	waiting []chan error
	// again has a token when somebody asks for an attempt before its time.
	again chan struct{}
}

// New returns a Set without jobs. background runs a function beside the caller until the session ends, and is waited
// for then; without it (nil) a job is tried once, before Begin returns.
func New(background func(func(context.Context)), log *slog.Logger) *Set {
	return &Set{background: background, log: log, running: make(map[string]*job)}
}

// Begin has work done, in the background, until an attempt of it succeeds or the session ends. A job of that name that
// is under way is told to go on at once instead: an attempt that fails is not waited for, and one that succeeds is
// followed by another. So work begins after the call in any case. The outcome of that attempt is what the channel
// receives.
func (s *Set) Begin(name string, work func(context.Context) error) <-chan error {
	outcome := make(chan error, 1)
	if s.background == nil {
		outcome <- work(context.Background())
		return outcome
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.running[name]
	if j == nil {
		j = &job{work: work, again: make(chan struct{}, 1)}
		s.running[name] = j
		s.background(func(ctx context.Context) { s.run(ctx, name, j) })
	}
	j.waiting = append(j.waiting, outcome)
	select {
	case j.again <- struct{}{}:
	default:
	}
	return outcome
}

// Wait returns the outcome that Begin promised, or the error of ctx when that is done before.
func Wait(ctx context.Context, outcome <-chan error) error {
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Set) run(ctx context.Context, name string, j *job) {
	wait := firstRetry
	for {
		waiting := s.take(j)
		err := j.work(ctx)
		tell(waiting, err)
		switch {
		case ctx.Err() != nil:
			s.abandon(name, j, ctx.Err())
			return
		case err == nil:
			if s.leave(name, j) {
				return
			}
			wait = firstRetry
			continue
		}
		s.log.Error("work in the background failed; it is tried again", "job", name, "after", wait.String(), "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-j.again:
		case <-ctx.Done():
		}
		timer.Stop()
		wait = min(2*wait, lastRetry)
	}
}

// take begins an attempt: it returns who is told of it.
func (s *Set) take(j *job) (waiting []chan error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-j.again:
	default:
	}
	waiting, j.waiting = j.waiting, nil
	return waiting
}

// leave ends a job that succeeded, unless somebody has asked for it since it began.
func (s *Set) leave(name string, j *job) (left bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(j.waiting) > 0 {
		return false
	}
	delete(s.running, name)
	return true
}

// abandon ends a job at the end of the session.
func (s *Set) abandon(name string, j *job, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, name)
	tell(j.waiting, err)
}

func tell(waiting []chan error, err error) {
	for _, w := range waiting {
		w <- err
	}
}
