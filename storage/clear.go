package storage

import (
	"context"
	"strings"
)

// clearBatch bounds how many keys one step of Clear lists and removes.
const clearBatch = 512

// Clear removes every key below prefix, which ends in "/", in bounded batches. When it is interrupted,
// what is left can be cleared by calling it again.
func Clear(ctx context.Context, s Storage, prefix string) error {
	for after := ""; ; {
		names, err := s.List(ctx, prefix, after, clearBatch)
		if err != nil {
			return err
		}
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
		if len(batch) > 0 {
			if err := s.Apply(ctx, batch...); err != nil {
				return err
			}
		}
		if len(names) < clearBatch {
			return nil
		}
		after = names[len(names)-1]
	}
}
