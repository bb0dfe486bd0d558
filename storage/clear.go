package storage

import (
	"context"
	"slices"
	"strings"
)

// Clear removes every key below prefix, which ends in "/", in bounded batches, and what lies under names that cannot be
// read. Its time grows with the number of keys and its memory does not. When it is interrupted, what is left can be
// cleared by calling it again.
func Clear(ctx context.Context, s Storage, prefix string) error {
	err := eachPage(LeaveOut(ctx), s, prefix, func(names []string) error {
		batch := make([]Op, 0, len(names))
		for _, name := range names {
			if strings.HasSuffix(name, "/") {
				if err := Clear(ctx, s, prefix+name); err != nil {
					return err
				}
				continue
			}
			batch = append(batch, Delete(prefix+name))
		}
		for part := range slices.Chunk(batch, pageSize) {
			if err := s.Apply(ctx, part...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return discard(ctx, s, prefix)
}
