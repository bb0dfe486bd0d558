package ceremony

import (
	"context"
	"errors"
	"fmt"

	"coffer/barrier/seal"
	"coffer/storage"
)

// Settle records that somebody used a share of the present key. So the shares have reached their owners: the former key
// is good no more, and the server cannot be initialised again. ended tells that there was a former key.
func Settle(ctx context.Context, s storage.Storage) (ended bool, err error) {
	err = changeConfig(ctx, s, func(c *seal.Config) bool {
		ended = c.Former != nil
		pending := ended || c.Unclaimed
		c.Former, c.Unclaimed = nil, false
		return pending
	})
	return ended, err
}

// Claim records that somebody used a token of the server, so that it cannot be initialised again.
func Claim(ctx context.Context, s storage.Storage) error {
	return changeConfig(ctx, s, func(c *seal.Config) bool {
		pending := c.Unclaimed
		c.Unclaimed = false
		return pending
	})
}

// Unclaimed reports whether nobody has used a share or a token of the server since it was initialised.
func Unclaimed(ctx context.Context, s storage.Storage) (bool, error) {
	c, err := seal.ReadConfig(ctx, s)
	return c.Unclaimed, err
}

// Answered records that the answer of Init was sent.
func Answered(ctx context.Context, s storage.Storage) error {
	return s.Apply(ctx, storage.Put(seal.AnsweredPath, []byte{1}))
}

func answered(ctx context.Context, s storage.Storage) (bool, error) {
	_, err := s.Get(ctx, seal.AnsweredPath)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// changeConfig stores what change makes of the seal's configuration, if it reports that there is something to store.
func changeConfig(ctx context.Context, s storage.Storage, change func(*seal.Config) bool) error {
	c, err := seal.ReadConfig(ctx, s)
	if err != nil || !change(&c) {
		return err
	}
	op, err := c.Op()
	if err == nil {
		err = Commit(ctx, s, seal.ConfigPath, []storage.Op{op})
	}
	if err != nil {
		return fmt.Errorf("ceremony: change the seal's configuration: %w", err)
	}
	return nil
}
