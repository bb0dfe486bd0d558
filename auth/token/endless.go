package token

import (
	"context"
	"errors"
	"fmt"

	"coffer/storage"
)

// A token without an end, such as the one of init, has a mark beside its record. The mark is where the barrier tells
// what was stored last, which it does not for the records of tokens: there are too many. So the record of such a token
// that was revoked, put back into the storage, does not make it good for ever.
const (
	endlessFolder = root + "endless/" // + id
	// endlessKnown is there once every token without an end has its mark.
	endlessKnown = root + "endless-known"
)

func endlessKey(id string) string { return endlessFolder + id }

// endless reports whether the token has no end.
func (e *Entry) endless() bool { return e.Life.Expires.IsZero() }

// checkEndless returns ErrCorrupt for an entry without an end that has no mark, and ErrBadToken when its record is gone
// meanwhile.
func (s *Store) checkEndless(ctx context.Context, e *Entry) error {
	if !e.endless() {
		return nil
	}
	_, err := s.cfg.Storage.Get(ctx, endlessKey(e.ID))
	missing := errors.Is(err, storage.ErrNotFound)
	if !missing && !errors.Is(err, storage.ErrDamaged) {
		return err
	}
	// The record may have been revoked between the two looks.
	if _, gone := s.cfg.Storage.Get(ctx, entryKey(e.ID)); errors.Is(gone, storage.ErrNotFound) {
		return ErrBadToken
	}
	if missing {
		return fmt.Errorf("%w: %s was revoked, and its record is back", ErrCorrupt, e.ID)
	}
	return fmt.Errorf("%w: %s: %w", ErrCorrupt, e.ID, err)
}

// markEndless marks the tokens without an end that were stored before there were marks.
func (s *Store) markEndless(ctx context.Context) error {
	_, err := s.cfg.Storage.Get(ctx, endlessKnown)
	if errors.Is(err, storage.ErrDamaged) {
		return nil // it is there, and nothing is in it
	}
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	ops := []storage.Op{storage.Put(endlessKnown, nil)}
	err = s.each(ctx, entryFolder, func(id string) error {
		b, err := s.cfg.Storage.Get(ctx, entryKey(id))
		if err != nil && !errors.Is(err, storage.ErrDamaged) {
			return err
		}
		if e, err := decode(id, b); err == nil && e.endless() {
			ops = append(ops, storage.Put(endlessKey(id), nil))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.cfg.Storage.Apply(ctx, ops...)
}
