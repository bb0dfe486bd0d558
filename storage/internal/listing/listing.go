// Package listing turns a cursor over ordered keys into the one-level listing of the Storage contract.
package listing

import (
	"context"
	"strings"
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

// List returns what storage.Storage.List promises. It steps over a folder with one Seek, so its cost
// depends on the number of names and not on what lies below them.
func List[K string | []byte](ctx context.Context, c Cursor[K], prefix, after string, limit int) ([]string, error) {
	names := []string{}
	key := c.Seek(prefix + after)
	for n := 1; len(key) > len(prefix) && string(key[:len(prefix)]) == prefix; n++ {
		if n%ctxInterval == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// For a string this shares memory with the key; for bytes it is the one copy.
		name := string(key[len(prefix):])
		folder := strings.IndexByte(name, '/')
		if folder >= 0 {
			name = name[:folder+1]
		}
		if name > after {
			names = append(names, name)
			if len(names) == limit {
				break
			}
		}
		if folder >= 0 {
			key = c.Seek(prefix + name[:folder] + "0") // "0" is the byte that follows "/"
		} else {
			key = c.Next()
		}
	}
	return names, nil
}
