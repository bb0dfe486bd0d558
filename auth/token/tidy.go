package token

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"coffer/storage"
)

// Tidy looks through everything stored, in the background, and puts right what a fault may have left:
// places in the tree without a token, tokens whose parent, time or uses are gone. It
// reports false when a tidy is running already.
func (s *Store) Tidy() bool {
	if !s.tidying.CompareAndSwap(false, true) {
		return false
	}
	s.cfg.Background(func(ctx context.Context) {
		defer s.tidying.Store(false)
		stats, err := s.tidy(ctx)
		s.log.Info("tokens tidied", slog.Int("tokens", stats.tokens), slog.Int("revoked", stats.revoked),
			slog.Int("index_entries_removed", stats.unindexed), slog.Any("error", err))
	})
	return true
}

type tidyStats struct{ tokens, revoked, unindexed int }

func (s *Store) tidy(ctx context.Context) (stats tidyStats, err error) {
	steps := []func(context.Context, *tidyStats) error{s.tidyTree, s.tidyTokens}
	for _, step := range steps {
		if err := step(ctx, &stats); err != nil {
			return stats, err
		}
	}
	return stats, nil
}

// each calls visit with every name in a folder that can be read, which it may remove.
func (s *Store) each(ctx context.Context, folder string, visit func(name string) error) error {
	return storage.EachName(storage.LeaveOut(ctx), s.cfg.Storage, folder, func(name string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return visit(name)
	})
}

// gone reports whether there is no record of a token.
func (s *Store) gone(ctx context.Context, id string) (bool, error) {
	_, err := s.read(ctx, id)
	if errors.Is(err, ErrBadToken) {
		return true, nil
	}
	if errors.Is(err, ErrCorrupt) {
		return false, nil
	}
	return false, err
}

func (s *Store) tidyTree(ctx context.Context, stats *tidyStats) error {
	return s.each(ctx, parentFolder, func(folder string) error {
		parent := strings.TrimSuffix(folder, "/")
		parentGone, err := s.gone(ctx, parent)
		if err != nil {
			return err
		}
		return s.each(ctx, parentFolder+folder, func(id string) error {
			childGone, err := s.gone(ctx, id)
			switch {
			case err != nil:
				return err
			case childGone:
				stats.unindexed++
				return s.cfg.Storage.Apply(ctx, storage.Delete(parentKey(parent, id)))
			case parentGone:
				stats.revoked++
				return s.RevokeID(ctx, id)
			}
			return nil
		})
	})
}

// overdue is how long after its end the lease manager has time to revoke a token.
const overdue = time.Hour

func (s *Store) tidyTokens(ctx context.Context, stats *tidyStats) error {
	return s.each(ctx, entryFolder, func(id string) error {
		stats.tokens++
		e, err := s.read(ctx, id)
		switch {
		case errors.Is(err, ErrBadToken):
			return nil
		case errors.Is(err, ErrCorrupt):
			s.log.Error("token record is unreadable", slog.String("id", id))
			return nil
		case err != nil:
			return err
		}
		orphaned := false
		if e.Parent != "" {
			if orphaned, err = s.gone(ctx, e.Parent); err != nil {
				return err
			}
		}
		// A request that uses a token for the last time revokes it itself; an unleased one has no clock.
		if orphaned || e.expired(s.now().Add(-overdue)) || (e.NumUses == spent && e.Unleased) {
			stats.revoked++
			return s.RevokeID(ctx, id)
		}
		return nil
	})
}
