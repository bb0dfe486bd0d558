package leases_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"coffer/barrier"
	"coffer/server/leases"
	"coffer/storage"
	"coffer/storage/memory"
)

// TestRevokedLaterWhileARevocationIsCalledOff revokes a token by its lease while another revocation of it has begun
// that does not come to its end: for the token was renewed, or storage failed, or its client went away.
func TestRevokedLaterWhileARevocationIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, memory.New())
		defer s.end()
		<-s.leases.Loaded()
		e := s.make(t, s.root, params{"policies": "p"})
		err := s.tokens.RevokeLease(t.Context(), e.LeaseID(), func(ctx context.Context) (bool, error) {
			if err := s.leases.RevokeLater(ctx, e.LeaseID()); err != nil {
				t.Error(err)
			}
			return false, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.alive(t, e) {
			l, err := s.leases.Lookup(t.Context(), e.LeaseID())
			t.Errorf("alive until %v though its revocation was answered (%v)", l.Expires, err)
		}
	})
}

// broken cannot read one key.
type broken struct {
	storage.Storage
	key string
}

func (b *broken) Get(ctx context.Context, key string) ([]byte, error) {
	if key == b.key {
		return nil, barrier.ErrCorrupt
	}
	return b.Storage.Get(ctx, key)
}

// TestOneUnreadableTokenDoesNotStopTheClock starts with one token whose record the barrier cannot open.
func TestOneUnreadableTokenDoesNotStopTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store)
		bad := s.make(t, s.root, params{"policies": "p", "ttl": "1h"})
		s.end()
		s = start(t, &broken{store, "sys/token/id/" + bad.ID})
		defer s.end()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		select {
		case <-s.leases.Loaded():
		default:
			t.Error("not loaded after half an hour")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.leases.RevokePrefix(ctx, "auth/userpass/"); errors.Is(err, context.DeadlineExceeded) {
			t.Error("a mount without any lease cannot be removed:", err)
		}
	})
}

// TestRevocationBeforeTheStart asks a manager that serves requests already and was not started yet.
func TestRevocationBeforeTheStart(t *testing.T) {
	store := memory.New()
	s := start(t, store)
	e := s.make(t, s.root, params{"policies": "p"})
	s.end()
	m := leases.New(leases.Config{Storage: store})
	err := m.Revoke(t.Context(), e.LeaseID())
	if err == nil && s.alive(t, e) {
		t.Error("revoked without an error, and alive")
	}
	ctx, cancel := context.WithCancel(t.Context())
	m.Start(ctx, s.tokens, nil)
	<-m.Loaded()
	if m.Count() != 1 {
		t.Errorf("the clock watches %d leases, want 1", m.Count())
	}
	cancel()
	m.Wait()
}

// TestListWaitsForNoSessionThatIsOver lists leases after the session has ended before they were loaded.
func TestListWaitsForNoSessionThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store)
		bad := s.make(t, s.root, params{"policies": "p", "ttl": "1h"})
		s.end()
		s = start(t, &broken{store, "sys/token/id/" + bad.ID})
		s.end()
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		began := time.Now()
		_, err := s.leases.List(ctx, "")
		if took := time.Since(began); took > 0 {
			t.Errorf("waited %v for a session that is over: %v", took, err)
		}
	})
}

// TestSpentTokenStaysNearItsEndAsAnOrphan makes a used-up token an orphan before it is revoked.
func TestSpentTokenStaysNearItsEndAsAnOrphan(t *testing.T) {
	s := start(t, memory.New())
	defer s.end()
	parent := s.make(t, s.root, params{"policies": "p"})
	e := s.make(t, parent, params{"num_uses": "1", "ttl": "30m"})
	if _, err := s.tokens.Use(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	near, err := s.leases.Lookup(t.Context(), e.LeaseID())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.tokens.RevokeOrphan(t.Context(), parent.Caller.Token); err != nil {
		t.Fatal(err)
	}
	l, err := s.leases.Lookup(t.Context(), e.LeaseID())
	if err != nil || l.Expires.After(near.Expires) {
		t.Errorf("ends in %v, before in %v (%v)", time.Until(l.Expires), time.Until(near.Expires), err)
	}
}

// nameless has a name among the records that cannot be read.
type nameless struct{ storage.Storage }

func (n nameless) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if strings.HasPrefix(prefix, "sys/expire/id/") && !storage.LeavesOut(ctx) {
		return nil, barrier.ErrCorrupt
	}
	return n.Storage.List(ctx, prefix, after, limit)
}

// TestOneUnreadableNameDoesNotStopTheClock starts with a lease whose name the barrier cannot read: the others are loaded,
// and who revokes what is below a prefix is not told that all is gone.
func TestOneUnreadableNameDoesNotStopTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nameless{memory.New()})
		defer s.end()
		synctest.Wait()
		select {
		case <-s.leases.Loaded():
		default:
			t.Error("not loaded")
		}
		if err := s.leases.RevokePrefix(t.Context(), "db"); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("RevokePrefix: %v; want ErrDamaged", err)
		}
	})
}
