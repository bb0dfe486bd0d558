package storagetest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/storage"
)

func testUnordered(t *testing.T, s storage.Storage) {
	var want []string
	var batch []storage.Op
	for i := range 300 {
		name := fmt.Sprintf("n%d", i*7919%300)
		key := "folder/" + name
		if i%3 == 0 {
			name += "/"
			key += "/below"
		}
		want = append(want, name)
		batch = append(batch, storage.Put(key, []byte(name)))
	}
	apply(t, s, batch...)
	apply(t, s, storage.Put("folder", nil), storage.Put("folder-", nil), storage.Put("folder0", nil))
	slices.Sort(want)
	for _, limit := range []int{1, 7, 299, 300, 301} {
		var got []string
		for mark := ""; ; {
			names, next, err := storage.Page(t.Context(), s, "folder/", mark, limit)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, names...)
			if mark = next; next == "" {
				break
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("limit %d: -want +got\n%s", limit, diff)
		}
	}
	if err := storage.Clear(t.Context(), s, "folder/"); err != nil {
		t.Fatal(err)
	}
	wantList(t, s, "", "", 0, "folder", "folder-", "folder0")
}

// Tally is a Storage that counts the names that are read where List has to read the whole folder for each page, as a
// barrier's does. It is safe for concurrent use.
type Tally struct {
	storage.Storage
	names atomic.Int64
}

// Names is how many names were read so far.
func (t *Tally) Names() int { return int(t.names.Load()) }

// List implements storage.Storage.
func (t *Tally) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	all, err := t.Storage.List(ctx, prefix, "", 0)
	if err != nil {
		return nil, err
	}
	t.names.Add(int64(len(all)))
	return t.Storage.List(ctx, prefix, after, limit)
}

// Page implements storage.Pager.
func (t *Tally) Page(
	ctx context.Context, prefix, mark string, limit int,
) (names []string, next string, err error) {
	names, next, err = storage.Page(ctx, t.Storage, prefix, mark, limit)
	t.names.Add(int64(len(names)))
	return names, next, err
}
