package bolt_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	bbolt "go.etcd.io/bbolt"

	"coffer/storage"
	"coffer/storage/bolt"
	"coffer/storage/storagetest"
)

// open opens a store that is closed, and its file checked, at the end of the test.
func open(t testing.TB, path string, options ...bolt.Option) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		check(t, path)
	})
	return s
}

// check runs bbolt's consistency check over the file.
func check(t testing.TB, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PreLoadFreelist: true, ReadOnly: true})
	if err != nil {
		t.Errorf("check %s: %v", path, err)
		return
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("check %s: %v", path, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Storage {
		return open(t, filepath.Join(t.TempDir(), "db"), bolt.WithoutSync())
	})
}

func TestViewConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Storage {
		return storage.NewView(open(t, filepath.Join(t.TempDir(), "db"), bolt.WithoutSync()), "a/view/")
	})
}

func TestFileAndFolderAreTheOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	open(t, filepath.Join(dir, "db"))
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "db"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
}

func TestSecondOpenerIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	if _, err := bolt.Open(path); !errors.Is(err, storage.ErrLocked) {
		t.Fatalf("second Open: %v; want ErrLocked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestForeignFileIsRefused(t *testing.T) {
	for name, content := range map[string]string{
		"text": "this is not a database\n", "zeroes": string(make([]byte, 64<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := bolt.Open(path); !errors.Is(err, bolt.ErrCorrupt) {
				t.Fatalf("Open: %v; want ErrCorrupt", err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != content {
				t.Errorf("Open changed the file (%v)", err)
			}
		})
	}
}

func TestReopenFindsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	for i := range 100 {
		if err := s.Apply(t.Context(), storage.Put(fmt.Sprintf("f/%d", i), []byte("v"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := open(t, path).List(t.Context(), "f/", "", 0)
	if err != nil || len(names) != 100 {
		t.Fatalf("%d names, %v; want 100", len(names), err)
	}
}

// TestTornCommitIsLostAsAWhole damages the newest meta page, as a power cut in the last write of a commit
// would: the store opens with the commit before, whole.
func TestTornCommitIsLostAsAWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	for round := range 6 {
		s := open(t, path)
		last := fmt.Sprint(round)
		for i, v := range []string{"before " + last, "torn " + last} {
			own := fmt.Sprintf("n/%d/%d", round, i)
			value := []byte(v)
			err := s.Apply(t.Context(), storage.Put("x", value), storage.Put(own, value), storage.Put("y", value))
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		tearNewestMeta(t, path)
		s = open(t, path)
		want := "before " + last
		for _, key := range []string{"x", "y", "n/" + last + "/0"} {
			if got, err := s.Get(t.Context(), key); err != nil || string(got) != want {
				t.Errorf("round %d: Get(%q) = %q, %v; want %q", round, key, got, err, want)
			}
		}
		if _, err := s.Get(t.Context(), "n/"+last+"/1"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("round %d: a part of the torn commit is there: %v", round, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// tearNewestMeta overwrites the second half of the meta page with the higher transaction id. The layout is
// bbolt's: a page header of 16 bytes, then magic, version, page size and flags (4 bytes each), root
// bucket (16), freelist (8), high-water mark (8), transaction id (8), checksum (8).
func tearNewestMeta(t *testing.T, path string) {
	t.Helper()
	const txidOffset = 16 + 16 + 16 + 8 + 8
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pageSize := int64(os.Getpagesize())
	var txids [2]uint64
	for i := range txids {
		var raw [8]byte
		if _, err := f.ReadAt(raw[:], int64(i)*pageSize+txidOffset); err != nil {
			t.Fatal(err)
		}
		txids[i] = binary.NativeEndian.Uint64(raw[:])
	}
	newest := int64(0)
	if txids[1] > txids[0] {
		newest = 1
	}
	if _, err := f.WriteAt(make([]byte, 16), newest*pageSize+txidOffset); err != nil {
		t.Fatal(err)
	}
}

func TestDeletedPagesAreUsedAgain(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"), bolt.WithoutSync())
	value := make([]byte, 500)
	const keys, rounds = 50, 60
	cycle := func(round int) {
		var puts, deletes []storage.Op
		for i := range keys {
			key := fmt.Sprintf("t/%x/%d", (round*keys+i)*2654435761%(1<<32), i)
			puts, deletes = append(puts, storage.Put(key, value)), append(deletes, storage.Delete(key))
		}
		if err := errors.Join(s.Apply(t.Context(), puts...), s.Apply(t.Context(), deletes...)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 5 {
		cycle(round)
	}
	before, err := s.Size()
	if err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		cycle(5 + round)
	}
	after, err := s.Size()
	if err != nil {
		t.Fatal(err)
	}
	if after > before {
		t.Errorf("the file grew from %d to %d bytes over %d keys created and deleted", before, after, keys*rounds)
	}
}

func TestCloseFinishesWhatWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	var wg sync.WaitGroup
	acknowledged := make([]bool, 64)
	for i := range acknowledged {
		wg.Go(func() {
			err := s.Apply(t.Context(), storage.Put(fmt.Sprintf("k/%d", i), nil))
			if err != nil && !errors.Is(err, storage.ErrClosed) {
				t.Errorf("Apply: %v", err)
			}
			acknowledged[i] = err == nil
		})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	s = open(t, path)
	for i, ack := range acknowledged {
		_, err := s.Get(t.Context(), fmt.Sprintf("k/%d", i))
		if found := err == nil; found != ack {
			t.Errorf("key %d: found %v, acknowledged %v", i, found, ack)
		}
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	var wg sync.WaitGroup
	results := make([]error, 400)
	for i := range results {
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { results[i] = s.Apply(ctx, storage.Put(fmt.Sprintf("k/%d", i), nil)) })
		wg.Go(cancel)
	}
	wg.Wait()
	// This commit comes after all that were taken.
	if err := s.Apply(t.Context(), storage.Put("last", nil)); err != nil {
		t.Fatal(err)
	}
	for i, err := range results {
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("batch %d: %v", i, err)
		}
		_, getErr := s.Get(t.Context(), fmt.Sprintf("k/%d", i))
		if written := getErr == nil; written != (err == nil) {
			t.Errorf("batch %d: Apply returned %v, Get %v", i, err, getErr)
		}
	}
}

func benchmarkApply(b *testing.B, writers int) {
	s := open(b, filepath.Join(b.TempDir(), "db"))
	value := make([]byte, 256)
	var next sync.Mutex
	n := 0
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for {
				next.Lock()
				i := n
				n++
				next.Unlock()
				if i >= b.N {
					return
				}
				key := fmt.Sprintf("k/%x", uint32(i)*2654435761)
				if err := s.Apply(b.Context(), storage.Put(key, value)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

func BenchmarkApply1(b *testing.B)   { benchmarkApply(b, 1) }
func BenchmarkApply16(b *testing.B)  { benchmarkApply(b, 16) }
func BenchmarkApply128(b *testing.B) { benchmarkApply(b, 128) }

func BenchmarkGet(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "db"), bolt.WithoutSync())
	var batch []storage.Op
	for i := range 10_000 {
		batch = append(batch, storage.Put(fmt.Sprintf("k/%x", uint32(i)*2654435761), make([]byte, 256)))
	}
	if err := s.Apply(b.Context(), batch...); err != nil {
		b.Fatal(err)
	}
	key := fmt.Sprintf("k/%x", uint32(0))
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := s.Get(b.Context(), key); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
