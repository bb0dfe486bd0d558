package storage

import (
	"context"
	"errors"
	"fmt"
)

// Each calls visit with the name and the value of every record in a folder, which ends in "/" and has no folders in it.
// It lists them in one go: the barrier decrypts every name of a folder for each page of a list. An error ends it.
//
// A record that cannot be read, or of which visit returns an ErrDamaged, is set aside: lost is called with its name in
// the place of visit, and with "" when there are names that cannot be read.
func Each(
	ctx context.Context, s Storage, folder string, visit func(name string, value []byte) error, lost func(name string),
) error {
	names, err := s.List(ctx, folder, "", 0)
	if errors.Is(err, ErrDamaged) {
		lost("")
		names, err = s.List(LeaveOut(ctx), folder, "", 0)
	}
	if err != nil {
		return fmt.Errorf("storage: list %s: %w", folder, err)
	}
	for _, name := range names {
		value, err := s.Get(ctx, folder+name)
		if err != nil {
			err = fmt.Errorf("storage: read %s%s: %w", folder, name, err)
		} else if err = visit(name, value); errors.Is(err, ErrDamaged) {
			SetAside(s, folder+name, err)
		}
		switch {
		case errors.Is(err, ErrDamaged):
			lost(name)
		case err != nil:
			return err
		}
	}
	return nil
}
