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
	s.failed.Store(true)
	if err := s.Apply(t.Context(), storage.Delete("k")); !errors.Is(err, ErrFailed) {
		t.Errorf("Apply: %v; want ErrFailed", err)
	}
	if got, err := s.Get(t.Context(), "k"); err != nil || string(got) != "v" {
		t.Errorf("Get = %q, %v", got, err)
	}
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&fs.PathError{Op: "write", Err: syscall.ENOSPC}, true},
		{fmt.Errorf("wrapped: %w", &fs.PathError{Op: "write", Err: syscall.EIO}), true},
		{&fs.PathError{Op: "sync", Err: syscall.EIO}, false},
		{syscall.EIO, false},
		{syscall.ENOSPC, false},
	} {
		if got := retryable(test.err); got != test.want {
			t.Errorf("retryable(%v) = %v", test.err, got)
		}
	}
}
