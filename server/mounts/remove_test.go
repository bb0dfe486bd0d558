package mounts_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"coffer/server/mounts"
	"coffer/storage/memory"
)

// TestRemovalGoesOnWithoutItsCaller: the client gave up waiting. The mount goes all the same, and meanwhile others are
// made and removed.
func TestRemovalGoesOnWithoutItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		h := newHouse(t, store)
		h.enable(t, mounts.Secret, "large/", "kv")
		h.hold = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		outcome := make(chan error, 1)
		go func() { outcome <- h.Disable(ctx, "large/") }()
		synctest.Wait()
		cancel()
		if err := <-outcome; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller who gave up: %v", err)
		}
		h.enable(t, mounts.Secret, "other/", "kv")
		close(h.hold)
		synctest.Wait()
		if err := h.Disable(t.Context(), "large/"); !errors.Is(err, mounts.ErrNoMount) {
			t.Errorf("the mount is still there: %v", err)
		}
		h.enable(t, mounts.Secret, "large/", "kv")
	})
}

// TestRemovalIsTriedAgain: what keeps a mount from going away passes.
func TestRemovalIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		h := newHouse(t, store)
		h.enable(t, mounts.Secret, "s/", "kv")
		h.fail = errors.New("the lease's owner is away")
		if err := h.Disable(t.Context(), "s/"); !errors.Is(err, h.fail) {
			t.Fatalf("error = %v", err)
		}
		if err := h.Disable(t.Context(), "s/"); !errors.Is(err, h.fail) {
			t.Fatalf("asked again: %v", err)
		}
		synctest.Wait()
		h.mu.Lock()
		h.fail = nil
		h.mu.Unlock()
		time.Sleep(time.Minute) // of the bubble's clock
		if left := store.Contents(); len(left) != 0 {
			t.Errorf("%d records are left", len(left))
		}
		h.enable(t, mounts.Secret, "s/", "kv")
	})
}
