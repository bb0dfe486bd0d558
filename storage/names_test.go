package storage_test

import (
	"slices"
	"testing"

	"coffer/storage"
	"coffer/storage/memory"
)

// TestNames lists a tree: what is beside the folder does not count, and a folder comes after the names beside it.
func TestNames(t *testing.T) {
	s := memory.New()
	for _, key := range []string{"p/b", "p/a/y", "p/a/x", "p/a/deep/z", "p/c", "q", "pp/x"} {
		if err := s.Apply(t.Context(), storage.Put(key, []byte("v"))); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, want := range map[string][]string{
		"p/": {"b", "c", "a/x", "a/y", "a/deep/z"}, "nothing/": nil,
		"": {"q", "p/b", "p/c", "pp/x", "p/a/x", "p/a/y", "p/a/deep/z"},
	} {
		if got, err := storage.Names(t.Context(), s, prefix); err != nil || !slices.Equal(got, want) {
			t.Errorf("below %q: %v, %v; want %v", prefix, got, err, want)
		}
	}
}
