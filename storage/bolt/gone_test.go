package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"coffer/storage"
)

// stored makes a store with one value in a new folder, and closes it.
func stored(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "data", "coffer.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Apply(t.Context(), storage.Put("k", []byte("v"))), s.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestNeverEmptyWhereDataWas: whatever happens to the file, no empty store is opened in its place.
func TestNeverEmptyWhereDataWas(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone":        os.Remove,
		"empty":       func(path string) error { return os.Truncate(path, 0) },
		"a lost link": func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/nowhere/coffer.db", path)) },
		"empty, no marker": func(path string) error {
			return errors.Join(os.Truncate(path, 0), os.Remove(MarkerPath(path)))
		},
		"a lost link, no marker": func(path string) error {
			return errors.Join(os.Remove(path), os.Symlink("/nowhere/coffer.db", path), os.Remove(MarkerPath(path)))
		},
		"a new database": func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				return err
			}
			return db.Close()
		},
		"its bucket emptied": func(path string) error {
			return edit(path, func(b *bbolt.Bucket) error { return b.Delete([]byte("k")) })
		},
		"its bucket gone": func(path string) error {
			return edit(path, func(b *bbolt.Bucket) error { return b.Tx().DeleteBucket([]byte(bucketName)) })
		},
		"its bucket gone, no marker": func(path string) error {
			return errors.Join(os.Remove(MarkerPath(path)),
				edit(path, func(b *bbolt.Bucket) error { return b.Tx().DeleteBucket([]byte(bucketName)) }))
		},
		"a second bucket": func(path string) error {
			return edit(path, func(b *bbolt.Bucket) error {
				_, err := b.Tx().CreateBucket([]byte("other"))
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := stored(t)
			must(t, damage(path))
			s, err := Open(path)
			var damaged *DamageError
			if !errors.As(err, &damaged) {
				t.Fatalf("Open: %v; want a *DamageError", err)
			}
			if s != nil {
				t.Error("a store was returned")
			}
			for _, part := range []string{path, "everything in it", "no whole backup is beside it"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

func edit(path string, change func(*bbolt.Bucket) error) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket([]byte(bucketName))) })
	return errors.Join(err, db.Close())
}

// TestBackupsAreNamed: the newest whole one with data is.
func TestBackupsAreNamed(t *testing.T) {
	path := stored(t)
	whole, err := os.ReadFile(path)
	must(t, err)
	broken := append([]byte{}, whole[:len(whole)-1]...)
	broken[3*os.Getpagesize()] ^= 0xFF
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	for name, file := range map[string]struct {
		content []byte
		changed time.Time
	}{
		"coffer.db.old":    {whole, day(1)},
		"copy of the week": {whole, day(2)},
		"coffer.db.cut":    {whole[:len(whole)/512], day(3)},
		"notes.txt":        {[]byte("remember the milk"), day(4)},
	} {
		at := filepath.Join(filepath.Dir(path), name)
		must(t, os.WriteFile(at, file.content, 0o600), os.Chtimes(at, file.changed, file.changed))
	}
	must(t, os.Truncate(path, 5000))
	_, err = Open(path)
	if err == nil || !strings.Contains(err.Error(), "take the backup "+filepath.Dir(path)+"/copy of the week of 2026-01-02T00:00:00Z") {
		t.Errorf("Open: %v", err)
	}
}

// TestMarkerComesWithTheFirstCommit, and to the data of versions that left none.
func TestMarkerComesWithTheFirstCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "coffer.db")
	s, err := Open(path)
	must(t, err)
	if _, err := os.Stat(MarkerPath(path)); err == nil {
		t.Error("a store without data has a marker")
	}
	must(t, s.Close(), os.Remove(path)) // whoever has stored nothing may begin anew
	s, err = Open(path)
	must(t, err, s.Apply(t.Context(), storage.Put("k", nil)))
	for range 2 {
		if _, err := os.Stat(MarkerPath(path)); err != nil {
			t.Errorf("a store with data has no marker: %v", err)
		}
		must(t, s.Close(), os.Remove(MarkerPath(path)))
		s, err = Open(path)
		must(t, err)
	}
	must(t, s.Close())
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.new")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestNothingIsStoredWithoutAMarker: a commit whose marker cannot be written is refused.
func TestNothingIsStoredWithoutAMarker(t *testing.T) {
	path := filepath.Join(t.TempDir(), "coffer.db")
	s, err := Open(path)
	must(t, err)
	defer s.Close()
	must(t, os.Mkdir(MarkerPath(path)+".new", 0o700))
	if err := s.Apply(t.Context(), storage.Put("k", nil)); !errors.Is(err, ErrUnwritten) {
		t.Errorf("Apply: %v", err)
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	must(t, os.Remove(MarkerPath(path)+".new"), s.Apply(t.Context(), storage.Put("k", nil)))
	if err := s.Trouble(); err != nil {
		t.Errorf("Trouble: %v", err)
	}
}

// TestCutOffCreation: a new database that was not completed is made again.
func TestCutOffCreation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "coffer.db")
	must(t, os.WriteFile(newPath(path), []byte("half a database"), 0o600))
	s, err := Open(path)
	must(t, err)
	must(t, s.Apply(t.Context(), storage.Put("k", nil)), s.Close())
}

// TestCopiesUnderLoadAreNeverEmpty joins the first pages of a file with the rest of what it was some commits later, as a
// copy has them that is made while the server writes.
func TestCopiesUnderLoadAreNeverEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, err := Open(path, WithoutSync(), func(s *settings) { s.bolt.PageSize = minPageSize })
	must(t, err)
	var moments [][]byte
	for i := range 16 {
		batch := []storage.Op{storage.Put("base", []byte("value"))}
		for j := range i * i {
			batch = append(batch, storage.Put(fmt.Sprintf("k/%d/%d", i%3, j), make([]byte, 60)))
		}
		must(t, s.Apply(t.Context(), batch...), s.Apply(t.Context(), storage.Delete(fmt.Sprintf("k/%d/1", i%3))))
		file, err := os.ReadFile(path)
		must(t, err)
		moments = append(moments, file)
	}
	must(t, s.Close())
	damaged := 0
	file := make([]byte, 0, 8<<20)
	for i, first := range moments {
		for _, later := range moments[i+1:] {
			for at := 2 * minPageSize; at < min(len(first), 48*minPageSize); at += minPageSize {
				file = append(append(file[:0], first[:at]...), later[at:]...)
				found, err := examine(bytes.NewReader(file), int64(len(file)))
				if err == nil && (found.empty || !found.bucket) {
					t.Fatal("a copy passes as empty")
				}
				if err != nil {
					damaged++
				}
			}
		}
	}
	if damaged < 1000 {
		t.Errorf("only %d copies are damaged: the test shows nothing", damaged)
	}
}
