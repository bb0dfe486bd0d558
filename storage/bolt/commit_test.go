package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"coffer/storage"
)

// TestCancelAfterTaken: once the committer has a batch, its outcome is what Apply returns, whatever becomes of
// the context.
func TestCancelAfterTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{queue: queue{wake: make(chan struct{}, 1)}} // no committer: the test is it
		ctx, cancel := context.WithCancel(t.Context())
		outcome := make(chan error, 1)
		go func() { outcome <- s.Apply(ctx, storage.Put("k", nil)) }()
		synctest.Wait()
		taken, _ := s.queue.take(nil)
		if len(taken) != 1 {
			t.Fatalf("took %d batches", len(taken))
		}
		cancel()
		synctest.Wait()
		select {
		case err := <-outcome:
			t.Fatalf("Apply returned %v before the commit", err)
		default:
		}
		taken[0].result <- nil
		if err := <-outcome; err != nil {
			t.Errorf("Apply: %v", err)
		}
	})
}

func TestCancelBeforeTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{queue: queue{wake: make(chan struct{}, 1)}}
		ctx, cancel := context.WithCancel(t.Context())
		outcome := make(chan error, 1)
		go func() { outcome <- s.Apply(ctx, storage.Put("k", nil)) }()
		synctest.Wait()
		cancel()
		if err := <-outcome; !errors.Is(err, context.Canceled) {
			t.Errorf("Apply: %v; want context.Canceled", err)
		}
		if taken, _ := s.queue.take(nil); len(taken) != 0 {
			t.Errorf("%d batches are left in the queue", len(taken))
		}
	})
}

func TestGroupIsBounded(t *testing.T) {
	large := storage.Put("k", make([]byte, maxGroupBytes/2))
	for name, test := range map[string]struct {
		op            storage.Op
		waiting, want int
	}{
		"few":            {storage.Put("k", nil), 3, 3},
		"many":           {storage.Put("k", nil), maxGroupBatches + 1, maxGroupBatches},
		"large":          {large, 3, 1},
		"one over a max": {storage.Put("k", make([]byte, maxGroupBytes+1)), 2, 1},
	} {
		q := queue{wake: make(chan struct{}, 1)}
		for range test.waiting {
			if err := q.add(&request{batch: []storage.Op{test.op}}); err != nil {
				t.Fatal(err)
			}
		}
		if taken, _ := q.take(nil); len(taken) != test.want {
			t.Errorf("%s: took %d, want %d", name, len(taken), test.want)
		}
	}
}

// TestOneBadBatchFailsAlone puts a batch that bbolt refuses between two good ones.
func TestOneBadBatchFailsAlone(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var group []*request
	for i, key := range []string{"a", strings.Repeat("k", 1<<16), "b"} {
		batch := []storage.Op{storage.Put(fmt.Sprint("own/", i), nil), storage.Put(key, nil)}
		group = append(group, &request{batch: batch, result: make(chan error, 1)})
	}
	s.commitGroup(group)
	for i, r := range group {
		if err := <-r.result; (err != nil) != (i == 1) {
			t.Errorf("batch %d: %v", i, err)
		}
		_, err := s.Get(t.Context(), fmt.Sprint("own/", i))
		if found := err == nil; found != (i != 1) {
			t.Errorf("batch %d: found %v, %v", i, found, err)
		}
	}
}

func TestAfterAFailedSyncOnlyReading(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Apply(t.Context(), storage.Put("k", []byte("v"))); err != nil {
		t.Fatal(err)
	}
	s.watch.committing.Lock()
	if err := s.watch.classifyLocked(fmt.Errorf("commit: %w", syscall.EIO)); !errors.Is(err, ErrFailed) {
		t.Errorf("a failed sync is %v", err)
	}
	s.watch.committing.Unlock()
	if err := s.Apply(t.Context(), storage.Delete("k")); !errors.Is(err, ErrFailed) {
		t.Errorf("Apply: %v; want ErrFailed", err)
	}
	if got, err := s.Get(t.Context(), "k"); err != nil || string(got) != "v" {
		t.Errorf("Get = %q, %v", got, err)
	}
}

// TestWhatAFailedCommitMeans: only what proves that nothing was stored lets the next commit try again.
func TestWhatAFailedCommitMeans(t *testing.T) {
	grown := func(w *watch) { w.size-- }
	for _, test := range []struct {
		err    error
		before func(*watch)
		want   error
	}{
		{&fs.PathError{Op: "write", Err: syscall.ENOSPC}, nil, ErrFull},
		{&fs.PathError{Op: "write", Err: syscall.EDQUOT}, nil, ErrFull},
		{&fs.PathError{Op: "write", Err: syscall.EFBIG}, grown, ErrFull},
		{fmt.Errorf("wrapped: %w", &fs.PathError{Op: "write", Err: syscall.EIO}), nil, ErrUnwritten},
		{&fs.PathError{Op: "sync", Err: syscall.EIO}, nil, ErrFailed},
		{&fs.PathError{Op: "sync", Err: syscall.ENOSPC}, nil, ErrFailed},
		{syscall.EIO, nil, ErrFailed},
		{syscall.ENOSPC, nil, ErrFailed},
		// bbolt's texts when it could not make the file longer, and when it could not sync the longer file.
		{errors.New("file resize error: truncate db: file too large"), nil, ErrFull},
		{errors.New("file sync error: sync db: input/output error"), grown, ErrFailed},
		{unwritten(&fs.PathError{Op: "open", Err: syscall.ENOSPC}), nil, ErrFull},
	} {
		s, err := Open(filepath.Join(t.TempDir(), "db"))
		if err != nil {
			t.Fatal(err)
		}
		w := s.watch
		w.committing.Lock()
		if err := w.checkLocked(); err != nil {
			t.Fatal(err)
		}
		if test.before != nil {
			test.before(w)
		}
		got := w.classifyLocked(test.err)
		w.committing.Unlock()
		if !errors.Is(got, test.want) || !errors.Is(s.Trouble(), test.want) {
			t.Errorf("%v: %v, trouble %v; want %v", test.err, got, s.Trouble(), test.want)
		}
		if err := s.Apply(t.Context(), storage.Put("k", nil)); errors.Is(err, ErrFailed) != errors.Is(test.want, ErrFailed) {
			t.Errorf("%v: the next Apply: %v", test.err, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
