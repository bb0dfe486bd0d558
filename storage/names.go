package storage

import (
	"context"
	"fmt"
	"strings"
)

// Names returns the names of all values below prefix, which is "" or ends in "/", without it: those of each folder
// sorted, and those in its folders after them.
func Names(ctx context.Context, s Storage, prefix string) ([]string, error) {
	var names []string
	for folders := []string{""}; len(folders) > 0; folders = folders[1:] {
		below, err := s.List(ctx, prefix+folders[0], "", 0)
		if err != nil {
			return nil, fmt.Errorf("list %s%s: %w", prefix, folders[0], err)
		}
		for _, name := range below {
			if name = folders[0] + name; strings.HasSuffix(name, "/") {
				folders = append(folders, name)
			} else {
				names = append(names, name)
			}
		}
	}
	return names, nil
}
