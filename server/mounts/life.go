package mounts

import (
	"context"
	"time"

	"coffer/server/workers"
)

// life is how long an engine is at work. A mount that is tuned or moved keeps its engine, and its life with it.
type life struct {
	ctx    context.Context //nolint:containedctx // the engine's life is what it is
	cancel context.CancelFunc
	// calls are the requests in the engine's handlers; work is what it does beside them.
	calls workers.Gate
	work  workers.Group
}

func newLife(session context.Context) *life {
	l := &life{}
	l.ctx, l.cancel = context.WithCancel(session)
	return l
}

// background implements engines.Config.Background.
func (l *life) background(f func(ctx context.Context)) { l.work.Go(func() { f(l.ctx) }) }

// rest lets no request in any more and waits for those inside, or until ctx is done.
func (l *life) rest(ctx context.Context) error {
	select {
	case <-l.calls.Close():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end ends what the engine does beside requests and waits for it.
func (l *life) end() {
	l.cancel()
	l.work.Wait()
}

// Enter lets a request into the mount's handlers, which must Leave. It reports false once the mount is being removed,
// or its engine was replaced, or the session ends.
func (m *Mounted) Enter() bool { return m.life.calls.Enter() }

// Leave ends what Enter began.
func (m *Mounted) Leave() { m.life.calls.Leave() }

// End ends all engines with the session, whose context is done: no request comes in any more, those inside are waited
// for, and then what the engines do beside them. interrupt, when it is not nil, tells the requests to come to an end.
// End reports false when a request was still inside after patience.
func (t *Table) End(interrupt func(), patience time.Duration) (ended bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), patience)
	defer cancel()
	ended = true
	for range 2 { // a request that was inside may have mounted something
		lives := t.lives()
		for _, l := range lives {
			l.calls.Close()
		}
		if interrupt != nil {
			interrupt()
		}
		for _, l := range lives {
			ended = l.rest(ctx) == nil && ended
		}
		for _, l := range lives {
			l.end()
		}
	}
	return ended
}

func (t *Table) lives() []*life {
	var lives []*life
	for _, m := range *t.rows.Load() {
		lives = append(lives, m.life)
	}
	for _, m := range *t.leaving.Load() {
		lives = append(lives, m.life)
	}
	return lives
}
