package storage_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

func TestViewConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Storage {
		base := memory.New()
		// Neighbours that a view must not show.
		err := base.Apply(t.Context(), storage.Put("view", nil), storage.Put("view-", nil), storage.Put("view0", nil))
		if err != nil {
			t.Fatal(err)
		}
		return storage.NewView(base, "view/")
	})
}

func TestViewStaysBelowItsPrefix(t *testing.T) {
	base := memory.New()
	v := storage.NewView(storage.NewView(base, "a/"), "b/")
	batch := []storage.Op{storage.Put("k", []byte("v")), storage.Put("../k", nil)}
	if err := v.Apply(t.Context(), batch...); err != nil {
		t.Fatal(err)
	}
	if batch[0].Key != "k" {
		t.Errorf("Apply changed the caller's batch: %q", batch[0].Key)
	}
	var keys []string
	for _, op := range base.Contents() {
		keys = append(keys, op.Key)
	}
	if diff := cmp.Diff([]string{"a/b/../k", "a/b/k"}, keys); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for _, key := range []string{"", "/k", "k/"} {
		if _, err := v.Get(t.Context(), key); !errors.Is(err, storage.ErrInvalidKey) {
			t.Errorf("Get(%q): %v; want ErrInvalidKey", key, err)
		}
	}
	if _, err := v.List(t.Context(), "k", "", 0); !errors.Is(err, storage.ErrInvalidKey) {
		t.Errorf("List: %v; want ErrInvalidKey", err)
	}
}

func TestFaulty(t *testing.T) {
	base := memory.New()
	f := storagetest.NewFaulty(base)
	put := func(key string) error { return f.Apply(t.Context(), storage.Put(key, nil)) }
	f.Fail(storagetest.Apply, 2, storagetest.NotWritten)
	if err := errors.Join(put("1")); err != nil {
		t.Fatal(err)
	}
	if err := put("2"); !errors.Is(err, storagetest.ErrInjected) {
		t.Fatalf("the second Apply: %v; want ErrInjected", err)
	}
	f.Fail(storagetest.Apply, 1, storagetest.WrittenButFailed)
	if err := put("3"); !errors.Is(err, storagetest.ErrInjected) {
		t.Fatalf("the third Apply: %v; want ErrInjected", err)
	}
	f.Fail(storagetest.Get, 1, storagetest.NotWritten)
	if _, err := f.Get(t.Context(), "1"); !errors.Is(err, storagetest.ErrInjected) {
		t.Fatalf("Get: %v; want ErrInjected", err)
	}
	f.Fail(storagetest.List, 1, storagetest.NotWritten)
	if _, err := f.List(t.Context(), "", "", 0); !errors.Is(err, storagetest.ErrInjected) {
		t.Fatalf("List: %v; want ErrInjected", err)
	}
	f.FailEvery(storagetest.Apply, storagetest.NotWritten)
	for range 3 {
		if err := put("4"); !errors.Is(err, storagetest.ErrInjected) {
			t.Fatalf("Apply while every one fails: %v; want ErrInjected", err)
		}
	}
	f.Heal()
	if err := put("5"); err != nil {
		t.Fatal(err)
	}
	names, err := f.List(t.Context(), "", "", 0)
	if diff := cmp.Diff([]string{"1", "3", "5"}, names); err != nil || diff != "" {
		t.Fatalf("%v: -want +got\n%s", err, diff)
	}
}

func TestEachFaultReachesEveryCall(t *testing.T) {
	runs := map[bool]int{}
	open := func(*testing.T) storage.Storage { return memory.New() }
	storagetest.EachFault(t, open, func(t *testing.T, _ storage.Storage, f *storagetest.Faulty) {
		for range 3 {
			_ = f.Apply(t.Context(), storage.Put("k", nil))
		}
		_, _ = f.Get(t.Context(), "k")
		runs[f.Fired()]++
	})
	// 4 forms of 3 Applies and 1 Get fail; of each of the six orders one run meets no fault.
	if diff := cmp.Diff(map[bool]int{true: 13, false: 6}, runs); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
