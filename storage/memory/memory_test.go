package memory_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Storage { return memory.New() })
}

func TestAgainstModel(t *testing.T) {
	s, model := memory.New(), map[string]string{}
	r := rand.New(rand.NewPCG(1, 2))
	for range 40_000 {
		key := fmt.Sprintf("k%d", r.IntN(4000))
		op := storage.Put(key, []byte(key))
		if r.IntN(3) == 0 {
			op = storage.Delete(key)
			delete(model, key)
		} else {
			model[key] = key
		}
		if err := s.Apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	names, err := s.List(t.Context(), "", "", 0)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(model)), names); err != nil || diff != "" {
		t.Fatalf("%v: -want +got\n%s", err, diff)
	}
	if got := len(s.Contents()); got != len(model) {
		t.Fatalf("Contents has %d puts, want %d", got, len(model))
	}
	for key := range model {
		if err := s.Apply(t.Context(), storage.Delete(key)); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Contents(); len(got) != 0 {
		t.Fatalf("%d keys are left", len(got))
	}
}

// BenchmarkListSmallFolder shows that the size of the store does not matter to a small folder.
func BenchmarkListSmallFolder(b *testing.B) {
	s := memory.New()
	for i := range 100_000 {
		if err := s.Apply(b.Context(), storage.Put(fmt.Sprintf("f%d/%d", i/10, i), nil)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if names, err := s.List(b.Context(), "f500/", "", 0); err != nil || len(names) != 10 {
			b.Fatal(names, err)
		}
	}
}
