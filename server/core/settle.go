package core

import (
	"context"

	"coffer/server/ceremony"
)

// settle records what follows from whose shares opened the server.
func (c *Core) settle(ctx context.Context, s *session, used ceremony.Shares) {
	switch used {
	case ceremony.PresentShares:
		ended, err := ceremony.Settle(ctx, s.barrier.Below())
		if err != nil {
			s.logger.Error("the use of a share is not on record; the shares from before a rekey stay good", "error", err)
		}
		if ended {
			s.formerEnded()
		}
	case ceremony.FormerShares:
		s.logger.Warn("opened with the shares from before the last rekey; they end when one of the new ones is used, " +
			"or with DELETE sys/rekey/former")
	case ceremony.NoShares:
		unclaimed, err := ceremony.Unclaimed(ctx, s.barrier.Below())
		s.unclaimed.Store(unclaimed && err == nil)
	}
}

func (s *session) formerEnded() {
	s.logger.Info("the shares from before the last rekey are good no more: one of the new ones was used")
}

// claim records that a token was used: from now on the server cannot be initialised again.
func (s *session) claim(ctx context.Context) {
	if !s.unclaimed.CompareAndSwap(true, false) {
		return
	}
	if err := ceremony.Claim(ctx, s.barrier.Below()); err != nil {
		s.unclaimed.Store(true)
		s.logger.Warn("the first use of a token is not on record", "error", err)
	}
}

// InitAnswered records that the answer of Init was sent.
func (c *Core) InitAnswered(ctx context.Context) {
	if err := ceremony.Answered(ctx, c.cfg.Storage); err != nil {
		c.cfg.Logger.Warn("that init was answered is not on record", "error", err)
	}
}

// endUnclaimedLocked ends the session that a seal opened by itself, if an initialisation with the parameters p may
// replace the server. It reports whether it did.
func (c *Core) endUnclaimedLocked(ctx context.Context, p ceremony.InitParams) bool {
	s := c.session.Load()
	if s == nil || !s.unclaimed.Load() || !p.Replaces(ctx, c.cfg.Storage) {
		return false
	}
	if err := c.sealLocked(); err != nil {
		c.cfg.Logger.Warn("the session of the server that nobody used did not end well", "error", err)
	}
	return true
}
