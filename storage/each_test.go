package storage_test

import (
	"errors"
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
	if err := storage.Each(t.Context(), open(t), "f/", put); err != nil || len(got) != 2 || got["a"] != "1" || got["b"] != "2" {
		t.Errorf("%v, %v", got, err)
	}
	stop, calls := errors.New("stop"), 0
	err := storage.Each(t.Context(), open(t), "f/", func(string, []byte) error {
		calls++
		return stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	storagetest.EachFault(t, open, func(t *testing.T, _ storage.Storage, faulty *storagetest.Faulty) {
		seen := 0
		err := storage.Each(t.Context(), faulty, "f/", func(string, []byte) error {
			seen++
			return nil
		})
		if err == nil && seen != 2 {
			t.Errorf("%d records and no error", seen)
		}
	})
}
