package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"coffer/storage"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	log bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.String()
}

// watched opens a store with some values.
func watched(t *testing.T) (s *Store, path string, log *lines) {
	t.Helper()
	log = &lines{}
	path = filepath.Join(t.TempDir(), "data", "coffer.db")
	s, err := Open(path, WithLogger(slog.New(slog.NewTextHandler(log, nil))))
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	var batch []storage.Op
	for i := range 500 {
		batch = append(batch, storage.Put(fmt.Sprintf("k/%d", i), make([]byte, 3000)))
	}
	must(t, s.Apply(t.Context(), batch...))
	return s, path, log
}

// awaitTrouble waits until the trouble is want; at most a second, but for a busy machine.
func awaitTrouble(t *testing.T, s *Store, want error) {
	t.Helper()
	begun := time.Now()
	for !errors.Is(s.Trouble(), want) || want == nil && s.Trouble() != nil {
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("trouble is %v, want %v", s.Trouble(), want)
		}
		<-time.After(5 * time.Millisecond)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("%v took %v", want, took)
	}
}

// TestReplacedFileIsNoticed: nothing is acknowledged while another file, or none, is in the place of the open one, and
// writing goes on when it is back.
func TestReplacedFileIsNoticed(t *testing.T) {
	for name, test := range map[string]struct{ away, back func(path string) error }{
		"deleted": {away: os.Remove},
		"moved": {
			func(p string) error { return os.Rename(p, p+".away") },
			func(p string) error { return os.Rename(p+".away", p) },
		},
		"moved over": {
			func(p string) error {
				return errors.Join(os.Link(p, p+".own"), os.WriteFile(p+".other", []byte("x"), 0o600), os.Rename(p+".other", p))
			},
			func(p string) error { return os.Rename(p+".own", p) },
		},
		"folder renamed": {
			func(p string) error { return os.Rename(filepath.Dir(p), filepath.Dir(p)+".away") },
			func(p string) error { return os.Rename(filepath.Dir(p)+".away", filepath.Dir(p)) },
		},
		"folder exchanged": {
			func(p string) error {
				dir := filepath.Dir(p)
				return errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o700), os.WriteFile(p, []byte("x"), 0o600))
			},
			func(p string) error {
				dir := filepath.Dir(p)
				return errors.Join(os.RemoveAll(dir), os.Rename(dir+".away", dir))
			},
		},
	} {
		for _, idle := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, idle %v", name, idle), func(t *testing.T) {
				t.Parallel()
				s, path, log := watched(t)
				must(t, test.away(path))
				if idle {
					awaitTrouble(t, s, ErrReplaced)
				}
				if err := s.Apply(t.Context(), storage.Put("void", nil)); !errors.Is(err, ErrReplaced) {
					t.Errorf("Apply: %v", err)
				}
				if _, err := s.Get(t.Context(), "k/1"); err != nil {
					t.Errorf("Get: %v", err)
				}
				if err := s.Trouble(); !errors.Is(err, ErrReplaced) || strings.Contains(err.Error(), path) {
					t.Errorf("Trouble: %v", err)
				}
				if n := strings.Count(log.String(), "not in its place"); n != 1 {
					t.Errorf("%d lines in the log: %s", n, log.String())
				}
				if test.back == nil {
					return
				}
				must(t, test.back(path))
				awaitTrouble(t, s, nil)
				must(t, s.Apply(t.Context(), storage.Put("void", nil)))
			})
		}
	}
}

// TestChangedInPlaceIsNoticed cuts the file off and overwrites it while it is read and written. Faults of the memory that
// the file is mapped to are errors; nothing is acknowledged afterwards, and nobody hangs.
func TestChangedInPlaceIsNoticed(t *testing.T) {
	for name, change := range map[string]func(path string, backup []byte) error{
		"emptied":     func(p string, _ []byte) error { return os.Truncate(p, 0) },
		"cut":         func(p string, _ []byte) error { return os.Truncate(p, int64(3*os.Getpagesize())) },
		"overwritten": func(p string, backup []byte) error { return os.WriteFile(p, backup, 0o600) },
	} {
		for _, busy := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, busy %v", name, busy), func(t *testing.T) {
				t.Parallel()
				s, path, log := watched(t)
				backup, err := os.ReadFile(path)
				must(t, err, s.Apply(t.Context(), storage.Put("after", []byte("the backup"))))
				var clients sync.WaitGroup
				if busy {
					for i := range 4 {
						clients.Go(func() { until(t, s, fmt.Sprintf("k/%d", i), i == 0) })
					}
				}
				must(t, change(path, backup))
				awaitTrouble(t, s, ErrCorrupt)
				clients.Wait()
				if err := s.Apply(t.Context(), storage.Put("k", nil)); !errors.Is(err, ErrCorrupt) {
					t.Errorf("Apply: %v", err)
				}
				// Whatever of it can be read is not what was stored.
				for _, key := range []string{"k/7", "k/499"} {
					if _, err := s.Get(t.Context(), key); !errors.Is(err, ErrCorrupt) {
						t.Errorf("Get: %v", err)
					}
				}
				if !strings.Contains(log.String(), "while in use") {
					t.Errorf("log: %s", log.String())
				}
			})
		}
	}
}

// until reads, lists and writes until an error, which must be an ErrCorrupt.
func until(t *testing.T, s *Store, key string, writes bool) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		s.recent.forget(key)
		_, err := s.Get(t.Context(), key)
		if err == nil {
			_, err = s.List(t.Context(), "k/", "", 20)
		}
		if err == nil && writes {
			err = s.Apply(t.Context(), storage.Put(key, make([]byte, 3000)))
		}
		switch {
		case errors.Is(err, ErrCorrupt):
			// The page may be one of few that are gone; the store as a whole must come to it too.
			if s.Trouble() != nil {
				return
			}
		case err != nil:
			t.Errorf("%s: %v", key, err)
			return
		}
		if time.Now().After(deadline) {
			t.Error("nothing was noticed")
			return
		}
	}
}

// TestStalledDiskIsTold: a commit that does not end is a trouble.
func TestStalledDiskIsTold(t *testing.T) {
	s, _, _ := watched(t)
	must(t, s.watch.begin())
	must(t, s.Trouble())
	s.watch.begun.Add(-int64(stallLimit))
	awaitTrouble(t, s, ErrStalled)
	must(t, s.watch.end(s.watch.txid, nil), s.Trouble())
}

// TestFullDiskIsToldUntilThereIsRoom: also when nobody writes.
func TestFullDiskIsToldUntilThereIsRoom(t *testing.T) {
	s, path, log := watched(t)
	must(t, os.Mkdir(path+".probe", 0o700)) // no room
	must(t, s.watch.begin())
	if err := s.watch.end(0, unwritten(&os.PathError{Op: "write", Err: io.ErrShortWrite})); !errors.Is(err, ErrUnwritten) {
		t.Errorf("end: %v", err)
	}
	awaitTrouble(t, s, ErrUnwritten)
	must(t, os.WriteFile(filepath.Join(path+".probe", "x"), nil, 0o600)) // nor can the folder be removed
	s.watch.look(true)
	awaitTrouble(t, s, ErrUnwritten)
	must(t, os.RemoveAll(path+".probe"))
	awaitTrouble(t, s, nil)
	must(t, s.Apply(t.Context(), storage.Put("k", nil)))
	if text := log.String(); strings.Count(text, "nothing is written") != 1 || strings.Count(text, "written again") != 1 {
		t.Errorf("log: %s", text)
	}
}

// TestMovedDuringACommit: a commit that ends after the file was moved away is not acknowledged.
func TestMovedDuringACommit(t *testing.T) {
	s, path, _ := watched(t)
	must(t, s.watch.begin(), os.Rename(path, path+".away"))
	if err := s.watch.end(s.watch.txid, nil); !errors.Is(err, ErrReplaced) {
		t.Errorf("end: %v", err)
	}
	must(t, os.Rename(path+".away", path), s.Apply(t.Context(), storage.Put("k", nil)))
}
