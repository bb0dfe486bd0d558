package damage

import (
	"context"
	"errors"
	"strings"

	"coffer/storage"
)

// Check reads everything in s once, so that s reports what it cannot read. It returns how many values there are.
func Check(ctx context.Context, s storage.Storage) (checked int, err error) {
	return check(storage.LeaveOut(ctx), s, "")
}

func check(ctx context.Context, s storage.Storage, folder string) (checked int, err error) {
	err = storage.EachName(ctx, s, folder, func(name string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if strings.HasSuffix(name, "/") {
			n, err := check(ctx, s, folder+name)
			checked += n
			return err
		}
		checked++
		_, err := s.Get(ctx, folder+name)
		if errors.Is(err, storage.ErrDamaged) || errors.Is(err, storage.ErrNotFound) {
			return nil // it was reported, or removed meanwhile
		}
		return err
	})
	return checked, err
}
