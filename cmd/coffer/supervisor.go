package main

import (
	"context"
	"os"
	"time"

	"coffer/server/core"
	"coffer/server/notify"
)

// statusEvery is how often the service manager hears whether the server is sealed, and the log of lines it lost.
const statusEvery = 5 * time.Second

// supervisor tells the service manager how the server is. It belongs to the goroutine that waits for signals: when
// that one hangs, the watchdog finds out.
type supervisor struct {
	manager *notify.Manager
	svc     service
	log     *logging
	// ticks come every statusEvery, watchdog as often as the manager wants to hear; nil for never.
	ticks, watchdog <-chan time.Time
	timers          []*time.Ticker
	// told is when the log told of lost lines last.
	told time.Time
}

func (p *process) newSupervisor(svc service, log *logging) *supervisor {
	s := &supervisor{svc: svc, log: log}
	var err error
	if s.manager, err = notify.New(p.env, os.Getpid()); err != nil {
		log.Warn("the service manager cannot be told how the server is", "error", err)
	}
	timer := time.NewTicker(statusEvery)
	s.timers, s.ticks = append(s.timers, timer), timer.C
	if every := s.manager.Every(); every > 0 {
		timer = time.NewTicker(every)
		s.timers, s.watchdog = append(s.timers, timer), timer.C
	}
	return s
}

// ready says that the server serves.
func (s *supervisor) ready(ctx context.Context) {
	s.check(s.manager.Ready())
	s.status(ctx)
	s.alive()
}

func (s *supervisor) reloading() { s.check(s.manager.Reloading()) }

func (s *supervisor) stopping() {
	s.check(s.manager.Stopping())
	s.check(s.manager.Status("stopping: answering what was asked"))
}

func (s *supervisor) alive() {
	if s.watchdog != nil {
		s.check(s.manager.Alive())
	}
}

// tick shows what may have changed meanwhile.
func (s *supervisor) tick(ctx context.Context) {
	s.status(ctx)
	if time.Since(s.told) > time.Minute {
		s.log.tellDropped()
		s.told = time.Now()
	}
}

func (s *supervisor) status(ctx context.Context) {
	if s.manager == nil {
		return
	}
	state, err := s.svc.State(ctx)
	if err != nil {
		s.check(s.manager.Status("the storage does not answer: " + err.Error()))
		return
	}
	s.check(s.manager.Status(describeState(state)))
}

// check logs that the manager does not listen; the server goes on without it.
func (s *supervisor) check(err error) {
	if err != nil {
		s.log.Debug("the service manager was not told", "error", err)
	}
}

func (s *supervisor) close() {
	for _, t := range s.timers {
		t.Stop()
	}
	s.check(s.manager.Close())
}

// describeState is one line for people.
func describeState(s core.State) string {
	switch {
	case !s.Initialized:
		return "not initialized"
	case s.Sealed:
		return "sealed (seal: " + s.Seal + ")"
	default:
		return "unsealed (seal: " + s.Seal + ")"
	}
}
