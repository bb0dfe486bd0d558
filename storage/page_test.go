package storage_test

import (
	"errors"
	"fmt"
	"testing"

	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// TestClearIsLinear counts the names that are read: with List, each page would cost the whole folder.
func TestClearIsLinear(t *testing.T) {
	const n = 5000
	s := &storagetest.Tally{Storage: memory.New()}
	var batch []storage.Op
	for i := range n {
		batch = append(batch, storage.Put(fmt.Sprintf("f/%d", i), nil), storage.Put(fmt.Sprintf("f/g%d/x", i%10), nil))
	}
	if err := s.Apply(t.Context(), append(batch, storage.Put("g", nil))...); err != nil {
		t.Fatal(err)
	}
	if err := storage.Clear(t.Context(), storage.NewView(s, "f/"), ""); err != nil {
		t.Fatal(err)
	}
	if read := s.Names(); read < n || read > 2*n {
		t.Errorf("%d names were read to remove %d", read, n)
	}
	if left, err := s.List(t.Context(), "", "", 0); err != nil || len(left) != 1 {
		t.Errorf("%q, %v", left, err)
	}
}

func TestEachName(t *testing.T) {
	open := func(t *testing.T) storage.Storage {
		s := memory.New()
		for i := range 1100 {
			if err := s.Apply(t.Context(), storage.Put(fmt.Sprintf("f/%04d/x", i), nil)); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	stop, calls := errors.New("stop"), 0
	err := storage.EachName(t.Context(), open(t), "f/", func(string) error {
		calls++
		return stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	storagetest.EachFault(t, open, func(t *testing.T, _ storage.Storage, faulty *storagetest.Faulty) {
		seen := map[string]bool{}
		err := storage.EachName(t.Context(), faulty, "f/", func(name string) error {
			seen[name] = true
			return nil
		})
		if err == nil && len(seen) != 1100 {
			t.Errorf("%d names and no error", len(seen))
		}
	})
}
