package bolt_test

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"coffer/storage"
	"coffer/storage/bolt"
)

// Whoever reads after a writer was answered sees what it wrote or newer, however many read the same key.
func TestReadsSeeWhatWritersWereToldOf(t *testing.T) {
	s, err := bolt.Open(filepath.Join(t.TempDir(), "db"), bolt.WithoutSync())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const rounds = 300
	var told atomic.Int64
	if err := s.Apply(t.Context(), storage.Put("k", []byte("0"))); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for least := told.Load(); least < rounds; least = told.Load() {
				text, err := s.Get(t.Context(), "k")
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := strconv.ParseInt(string(text), 10, 64); err != nil || got < least {
					t.Errorf("read %q after %d was written", text, least)
					return
				}
			}
		})
	}
	for i := int64(1); i <= rounds; i++ {
		if err := s.Apply(t.Context(), storage.Put("k", strconv.AppendInt(nil, i, 10))); err != nil {
			t.Error(err)
			told.Store(rounds)
			break
		}
		told.Store(i)
	}
	readers.Wait()
}

// What is remembered is not the caller's: he may overwrite what he got.
func TestReadersOwnTheirValues(t *testing.T) {
	s, err := bolt.Open(filepath.Join(t.TempDir(), "db"), bolt.WithoutSync())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	values := map[string][]byte{"empty": {}, "short": []byte("value"), "long": []byte(strings.Repeat("x", 5000))}
	for key, value := range values {
		if err := s.Apply(t.Context(), storage.Put(key, value)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			got, err := s.Get(t.Context(), key)
			if err != nil || got == nil || !bytes.Equal(got, value) {
				t.Errorf("%s: %q, %v", key, got, err)
			}
			clear(got)
		}
		if err := s.Apply(t.Context(), storage.Delete(key)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(t.Context(), key); err == nil {
			t.Errorf("%s is deleted and read as %q", key, got)
		}
	}
}
