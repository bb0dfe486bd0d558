package core

import (
	"context"
	"time"
)

const (
	// keepEvery is how often the clocks are compared when nobody asks for the time.
	keepEvery = time.Minute
	// lastMark is how long the end of a session waits for the mark to be stored.
	lastMark = 5 * time.Second
)

// keepTime looks at the clock until the session ends, and stores then how far the time has come.
func (s *session) keepTime(ctx context.Context) {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			s.cfg.clock.OnJump(func() {}) // nothing keeps what the session was
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMark)
			defer cancel()
			s.markLogged(s.cfg.clock.Flush(last, s.barrier))
		case <-ticker.C:
			s.markLogged(s.cfg.clock.Keep(ctx, s.barrier))
		}
	}
}

func (s *session) markLogged(err error) {
	if err != nil {
		s.logger.Warn("how far the time has come could not be stored", "error", err)
	}
}
