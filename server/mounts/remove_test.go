package mounts_test

import (
	"context"
	"errors"
	"slices"
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

// TestAMoveGoesOnInTheBackground: the mount is at its new path at once, and others change meanwhile. Until what it issued
// is revoked the move is under way and the old path in use; a restart in between changes nothing of that.
func TestAMoveGoesOnInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		h := newHouse(t, store)
		e := h.enable(t, mounts.Secret, "s/", "kv")
		h.hold = make(chan struct{})
		if err := h.Remount(t.Context(), "s/", "moved/", "id"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.enable(t, mounts.Secret, "other/", "kv")
		again := newHouse(t, store) // the crash
		for name, h := range map[string]*house{"before the crash": h, "after it": again} {
			if _, ok := h.Find("s/"); ok {
				t.Errorf("%s: the old path serves", name)
			}
			if m, ok := h.Find("moved/"); !ok || m.UUID != e.UUID {
				t.Errorf("%s: at the new path is %+v, %t", name, m, ok)
			}
		}
		if from, to, ok := h.Moving("id"); !ok || from != "s/" || to != "moved/" {
			t.Errorf("the move is %q, %q, %t", from, to, ok)
		}
		if m, rest, ok := h.Issuer("s/x"); !ok || m.Entry.UUID != e.UUID || rest != "x" {
			t.Errorf("what it issued goes to %+v at %q, %t", m, rest, ok)
		}
		if err := h.Enable(t.Context(), mounts.Entry{Kind: mounts.Secret, Path: "s/", Type: "kv"}); err == nil {
			t.Error("its old path is free already")
		}
		if err := h.Tune(t.Context(), "moved/", func(e *mounts.Entry) error { e.Description = "d"; return nil }); err != nil {
			t.Error(err)
		}
		close(h.hold)
		synctest.Wait()
		if _, _, ok := again.Moving("id"); ok || len(again.left) != 1 || again.left[0] != "s/" {
			t.Errorf("after the crash leases were revoked at %q; under way: %t", again.left, ok)
		}
		if _, _, ok := h.Moving("id"); ok {
			t.Error("the move is still under way")
		}
		h.enable(t, mounts.Secret, "s/", "kv")
		if m, _ := newHouse(t, store).Find("moved/"); m.Description != "d" || m.UUID != e.UUID {
			t.Errorf("after another start it is %+v", m)
		}
	})
}

// TestAMountOnItsWayCanBeRemoved revokes what it issued at each of its paths.
func TestAMountOnItsWayCanBeRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		h := newHouse(t, store)
		h.enable(t, mounts.Secret, "a/", "kv")
		h.fail = errors.New("the lease's owner is away")
		for i, path := range []string{"a/", "b/"} {
			if err := h.Remount(t.Context(), path, []string{"b/", "c/"}[i], path); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if err := h.Disable(t.Context(), "c/"); !errors.Is(err, h.fail) {
			t.Fatal(err)
		}
		synctest.Wait()
		h.mu.Lock()
		h.fail, h.left = nil, nil
		h.mu.Unlock()
		again := newHouse(t, store)
		for _, path := range []string{"a/", "b/", "c/"} {
			if !slices.Contains(again.left, path) {
				t.Errorf("nothing was revoked at %s, but at %q", path, again.left)
			}
			again.enable(t, mounts.Secret, path, "kv")
		}
	})
}
