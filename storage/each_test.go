package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

func TestEach(t *testing.T) {
	open := func(t *testing.T) storage.Storage {
		s := memory.New()
		err := s.Apply(t.Context(), storage.Put("f/a", []byte("1")), storage.Put("f/b", []byte("2")), storage.Put("g", nil))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	got := map[string]string{}
	put := func(name string, value []byte) error {
		got[name] = string(value)
		return nil
	}
	if err := storage.Each(t.Context(), open(t), "f/", put, none(t)); err != nil || len(got) != 2 || got["a"] != "1" || got["b"] != "2" {
		t.Errorf("%v, %v", got, err)
	}
	stop, calls := errors.New("stop"), 0
	err := storage.Each(t.Context(), open(t), "f/", func(string, []byte) error {
		calls++
		return stop
	}, none(t))
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	storagetest.EachFault(t, open, func(t *testing.T, _ storage.Storage, faulty *storagetest.Faulty) {
		seen := 0
		err := storage.Each(t.Context(), faulty, "f/", func(string, []byte) error {
			seen++
			return nil
		}, none(t))
		if err == nil && seen != 2 {
			t.Errorf("%d records and no error", seen)
		}
	})
}

// none is for a folder in which nothing is lost.
func none(t *testing.T) func(string) {
	return func(name string) { t.Errorf("%q is lost", name) }
}

// damaged is a storage in which a value and a name cannot be read.
type damaged struct {
	*memory.Store
	reported []storage.Damage
}

func (d *damaged) Get(ctx context.Context, key string) ([]byte, error) {
	if key == "v/f/a" {
		return nil, storage.ErrDamaged
	}
	return d.Store.Get(ctx, key)
}

func (d *damaged) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if !storage.LeavesOut(ctx) {
		return nil, storage.ErrDamaged
	}
	return d.Store.List(ctx, prefix, after, limit)
}

func (d *damaged) Report(r storage.Damage) { d.reported = append(d.reported, r) }

// TestEachSetsAside visits what can be read, in a view, and tells what was lost.
func TestEachSetsAside(t *testing.T) {
	base := &damaged{Store: memory.New()}
	err := base.Apply(t.Context(), storage.Put("v/f/a", nil), storage.Put("v/f/b", nil), storage.Put("v/f/c", nil))
	if err != nil {
		t.Fatal(err)
	}
	var visited, lost []string
	err = storage.Each(t.Context(), storage.NewView(base, "v/"), "f/", func(name string, _ []byte) error {
		visited = append(visited, name)
		if name == "b" {
			return fmt.Errorf("decode: %w", storage.ErrDamaged)
		}
		return nil
	}, func(name string) { lost = append(lost, name) })
	if err != nil || !slices.Equal(visited, []string{"b", "c"}) || !slices.Equal(lost, []string{"", "a", "b"}) {
		t.Errorf("%v; visited %q, lost %q", err, visited, lost)
	}
	// The storage knows of the others itself.
	if len(base.reported) != 1 || base.reported[0].Key != "v/f/b" {
		t.Errorf("reported: %v", base.reported)
	}
}
