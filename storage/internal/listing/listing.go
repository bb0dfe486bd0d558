// Package listing turns a cursor over ordered keys into the one-level listing of the Storage contract.
package listing

import (
	"context"
	"strings"

	"coffer/storage"
)

// Cursor walks a store's keys in byte order. An empty key means that there is none.
type Cursor[K string | []byte] interface {
	// Seek moves to the first key that is not less than from, and returns it.
	Seek(from string) K
	// Next moves to the following key and returns it.
	Next() K
}

// ctxInterval is how many names are read between two looks at the context.
const ctxInterval = 1024

// Within lists in growing room: list is called with a room in bytes, and again when the names need more of it. For
// many names it waits until the context's budget has room, between the calls.
func Within(ctx context.Context, list func(room int) (names []string, need int, err error)) ([]string, error) {
	for room := storage.LargeValue; ; {
		names, need, err := list(room)
		if err != nil || need <= room {
			return names, err
		}
		if err := storage.Spend(ctx, need); err != nil {
			return nil, err
		}
		room = need
	}
}

// perName is what a name takes beside its bytes.
const perName = 48

// List returns what storage.Storage.List promises, and how many bytes that needs. Names that need more than room are
// counted, not returned. It steps over a folder with one Seek, so its cost depends on the number of names and not on
// what lies below them.
func List[K string | []byte](
	ctx context.Context, c Cursor[K], prefix, after string, limit, room int,
) (names []string, need int, err error) {
	names = []string{}
	count := 0
	key := c.Seek(prefix + after)
	for n := 1; len(key) > len(prefix) && string(key[:len(prefix)]) == prefix; n++ {
		if n%ctxInterval == 0 && ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		// For a string this shares memory with the key; for bytes it is the one copy.
		name := string(key[len(prefix):])
		folder := strings.IndexByte(name, '/')
		if folder >= 0 {
			name = name[:folder+1]
		}
		if name > after {
			if need += len(name) + perName; need <= room {
				names = append(names, name)
			} else {
				names = nil
			}
			if count++; count == limit {
				break
			}
		}
		if folder >= 0 {
			key = c.Seek(prefix + name[:folder] + "0") // "0" is the byte that follows "/"
		} else {
			key = c.Next()
		}
	}
	return names, need, nil
}
