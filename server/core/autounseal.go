package core

import (
	"context"
	"errors"
	"time"

	"coffer/barrier"
	"coffer/barrier/seal"
	"coffer/server/ceremony"
)

// unsealEvery is how often a server whose seal did not open it tries again: the file with the key may come
// late, from a disk that is plugged in or a volume that is mounted.
const unsealEvery = 5 * time.Second

// AutoUnseal opens the server with its own seal. It does nothing for a server that is open or that operators
// open, and nothing is written when the key is not the right one. Its error is in the log already.
func (c *Core) AutoUnseal(ctx context.Context) error {
	if !c.Sealed() {
		return nil
	}
	if c.cfg.Seal == nil {
		return c.waitForOperators(ctx)
	}
	err := c.autoUnseal(ctx)
	if err != nil {
		c.logAutoUnseal(err)
	}
	return err
}

// waitForOperators says in the log when the data is under a seal that the configuration lacks.
func (c *Core) waitForOperators(ctx context.Context) error {
	status, err := c.unseal.Status(ctx)
	if err == nil && status.Migration {
		c.logAutoUnseal(ceremony.ErrNoAuto)
	}
	return err
}

func (c *Core) logAutoUnseal(err error) {
	switch {
	case errors.Is(err, seal.ErrNotInitialized):
		c.cfg.Logger.Info("not initialized; the seal will open the server once it is", "seal", c.cfg.Seal.Type())
	case errors.Is(err, ceremony.ErrNoAuto):
		c.cfg.Logger.Warn("sealed: the data is under another seal than that of the configuration", "error", err)
	default:
		c.cfg.Logger.Error("sealed: the seal does not open the data; it takes the right key, or the recovery keys by hand",
			"seal", c.cfg.Seal.Type(), "error", err)
	}
}

func (c *Core) autoUnseal(ctx context.Context) error {
	opening, err := c.unseal.Auto(ctx)
	if err != nil {
		return err
	}
	defer opening.Zero()
	return c.unlock(ctx, opening)
}

// KeepUnsealing tries again after AutoUnseal failed with last: until the server was open, by its seal or by
// operators, or waits for operators in any case, or ctx ends. An error is logged when it is another one.
func (c *Core) KeepUnsealing(ctx context.Context, last error) {
	ticker := time.NewTicker(unsealEvery)
	defer ticker.Stop()
	for last != nil && !errors.Is(last, seal.ErrNotInitialized) && !errors.Is(last, ceremony.ErrNoAuto) {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// Who sealed it by hand wants it sealed.
		if c.opened.Load() {
			return
		}
		err := c.autoUnseal(ctx)
		if err != nil && err.Error() != last.Error() {
			c.logAutoUnseal(err)
		}
		last = err
	}
}

// changeSeal writes the seal's records anew, as the opening asks. A migration that fails is an error; a change
// of key that fails is not, the key in use opened the data.
func (c *Core) changeSeal(ctx context.Context, b *barrier.Barrier, o ceremony.Opening) error {
	log := c.cfg.Logger
	if o.Undone != nil {
		log.Error("the root key stays under the previous key of the seal", "error", o.Undone)
	}
	if len(o.Changes) == 0 {
		return nil
	}
	err := ceremony.Commit(ctx, b.Below(), seal.RootKeyPath, o.Changes)
	switch {
	case err == nil && o.Migration:
		log.Info("seal migration complete", "seal", c.sealType())
	case err == nil:
		log.Info("the root key is under the current key of the seal now; the previous one can go", "seal", c.sealType())
	case o.Migration:
		log.Error("seal migration failed", "error", err)
		return err
	default:
		log.Error("the root key stays under the previous key of the seal", "error", err)
	}
	return nil
}

func (c *Core) sealType() string {
	if c.cfg.Seal == nil {
		return seal.TypeShamir
	}
	return c.cfg.Seal.Type()
}
