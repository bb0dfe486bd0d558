package storage

import (
	"context"
	"fmt"
)

// Each calls visit with the name and the value of every record in a folder, which ends in "/" and has no folders in it.
// It lists them in one go: the barrier decrypts every name of a folder for each page of a list. An error ends it.
func Each(ctx context.Context, s Storage, folder string, visit func(name string, value []byte) error) error {
	names, err := s.List(ctx, folder, "", 0)
	if err != nil {
		return fmt.Errorf("storage: list %s: %w", folder, err)
	}
	for _, name := range names {
		value, err := s.Get(ctx, folder+name)
		if err != nil {
			return fmt.Errorf("storage: read %s%s: %w", folder, name, err)
		}
		if err := visit(name, value); err != nil {
			return err
		}
	}
	return nil
}
