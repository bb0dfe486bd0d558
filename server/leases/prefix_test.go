package leases_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/server/leases"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// held is a token store whose revocations by prefix wait until they are let go, or fail.
type held struct {
	*token.Store
	let chan error
}

func (h held) RevokeLeases(ctx context.Context, ids []string, until time.Time) ([]string, error) {
	select {
	case err := <-h.let:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return h.Store.RevokeLeases(ctx, ids, until)
}

// hold lets the manager begin anew with a token store that is held.
func (s *server) hold(t *testing.T, store storage.Storage) (_ *held, end func()) {
	t.Helper()
	s.end()
	h := &held{let: make(chan error)}
	s.leases = leases.New(leases.Config{Storage: store})
	if err := s.leases.LoadRevocations(t.Context()); err != nil {
		t.Fatal(err)
	}
	var err error
	h.Store, err = token.NewStore(t.Context(), token.Config{
		Storage: store, Leases: s.leases, Policies: policies{}, Sudo: policies{}, CubbyholePrefix: "logical/cubbyhole/",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.tokens = h.Store
	if s.router, err = engines.NewRouter(s.tokens.Engine(engines.Config{TTLs: ttls{}})); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.leases.Start(ctx, h, nil)
	m := s.leases
	end = sync.OnceFunc(func() { cancel(); m.Wait() })
	t.Cleanup(end)
	return h, end
}

// TestTokensBelowAPrefixEndWithTheMark: they are refused before any is revoked, with their children, and after a crash.
// Those that are issued from then on live, though the clock stands still.
func TestTokensBelowAPrefixEndWithTheMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store)
		before := keys(t, store)
		e := s.make(t, s.root, params{"policies": "p"})
		child := s.make(t, e, nil)
		_, end := s.hold(t, store)
		synctest.Wait()
		if err := s.leases.RevokePrefixLater(t.Context(), "auth/token"); err != nil {
			t.Fatal(err)
		}
		if s.alive(t, e) || s.alive(t, child) {
			t.Error("alive though the revocation is stored")
		}
		if _, err := s.leases.Lookup(t.Context(), e.LeaseID()); !errors.Is(err, leases.ErrNotFound) {
			t.Errorf("its lease: %v", err)
		}
		end() // the crash
		h, end := s.hold(t, store)
		if s.alive(t, e) || s.alive(t, child) {
			t.Error("alive after the next start")
		}
		later := s.make(t, s.root, params{"policies": "p", "no_parent": "true"})
		synctest.Wait()
		h.let <- errors.New("away") // each is tried by itself then
		synctest.Wait()
		if !s.alive(t, later) || s.alive(t, e) || s.alive(t, child) {
			t.Error("after the work others than those live")
		}
		end()
		if n := keys(t, store); n != before+1 || len(store.Contents()) == 0 {
			t.Errorf("%d keys, want %d", n, before+1)
		}
	})
}

// TestRevokingAPrefixDoesNotHangOnItsCaller gives up at once.
func TestRevokingAPrefixDoesNotHangOnItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store)
		e := s.make(t, s.root, params{"policies": "p"})
		h, end := s.hold(t, store)
		defer end()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.leases.RevokePrefix(ctx, "auth/token/create"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		h.let <- nil
		synctest.Wait()
		if s.alive(t, e) || s.leases.Count() != 0 {
			t.Errorf("%d leases", s.leases.Count())
		}
	})
}

// TestTokensBelowAPrefixShareCommits counts them.
func TestTokensBelowAPrefixShareCommits(t *testing.T) {
	const n = 3000
	faulty := storagetest.NewFaulty(memory.New())
	s := start(t, faulty)
	defer s.end()
	<-s.leases.Loaded()
	for range n {
		s.make(t, s.root, params{"policies": "p", "no_parent": "true"})
	}
	before := faulty.Calls(storagetest.Apply)
	if err := s.leases.RevokePrefix(t.Context(), "auth/token/create"); err != nil || s.leases.Count() != 0 {
		t.Fatalf("%v; %d leases", err, s.leases.Count())
	}
	if commits := faulty.Calls(storagetest.Apply) - before; commits > 8 {
		t.Errorf("%d commits to revoke %d tokens", commits, n)
	}
	before = faulty.Calls(storagetest.Apply)
	if err := s.leases.RevokePrefix(t.Context(), "auth/token/create"); err != nil || faulty.Calls(storagetest.Apply) != before {
		t.Errorf("nothing is there to revoke: %d commits, %v", faulty.Calls(storagetest.Apply)-before, err)
	}
}

// TestADamagedMarkStillHolds: its prefix is in its key.
func TestADamagedMarkStillHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store)
		e := s.make(t, s.root, params{"policies": "p"})
		if err := store.Apply(t.Context(), storage.Put("sys/expire/prefix/auth/token", []byte("?"))); err != nil {
			t.Fatal(err)
		}
		_, end := s.hold(t, store)
		defer end()
		if s.alive(t, e) {
			t.Error("alive though its prefix was being revoked")
		}
	})
}
