package leases_test

import (
	"context"
	"errors"
	"runtime"
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

// server is a token store over a lease manager, both running.
type server struct {
	tokens *token.Store
	leases *leases.Manager
	router *engines.Router
	root   *token.Entry
	end    func()
}

type policies struct{}

func (policies) Exists(context.Context, string) (bool, error)                { return true, nil }
func (policies) Sudo(context.Context, *engines.Caller, string) (bool, error) { return false, nil }

type ttls struct{}

func (ttls) DefaultTTL() time.Duration { return time.Hour }
func (ttls) MaxTTL() time.Duration     { return 24 * time.Hour }

func start(t testing.TB, store storage.Storage) *server {
	t.Helper()
	s := &server{leases: leases.New(leases.Config{Storage: store})}
	err := s.leases.LoadRevocations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.tokens, err = token.NewStore(t.Context(), token.Config{
		Storage: store, Leases: s.leases, Policies: policies{}, Sudo: policies{}, CubbyholePrefix: "logical/cubbyhole/",
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.router, err = engines.NewRouter(s.tokens.Engine(engines.Config{TTLs: ttls{}})); err != nil {
		t.Fatal(err)
	}
	root, err := s.tokens.CreateRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.root, err = s.tokens.Authenticate(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.leases.Start(ctx, s.tokens, nil)
	s.end = sync.OnceFunc(func() { cancel(); s.leases.Wait() })
	return s
}

func (s *server) call(by *token.Entry, path string, params map[string]any) (*engines.Response, error) {
	m, _ := s.router.Match(context.Background(), engines.Update, path)
	return m.Call(context.Background(), &engines.Request{
		Operation: engines.Update, Path: path, Params: params, Caller: by.Caller, Token: by.Caller.Token,
		Mount: &engines.Mount{Path: "auth/token/"},
	})
}

func (s *server) make(t testing.TB, by *token.Entry, params map[string]any) *token.Entry {
	t.Helper()
	resp, err := s.call(by, "create", params)
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.tokens.Authenticate(t.Context(), resp.Auth.Token)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (s *server) alive(t testing.TB, e *token.Entry) bool {
	t.Helper()
	_, err := s.tokens.Authenticate(context.Background(), e.Caller.Token)
	if err != nil && !errors.Is(err, token.ErrBadToken) {
		t.Fatal(err)
	}
	return err == nil
}

type params = map[string]any

func keys(t testing.TB, store *memory.Store) int {
	t.Helper()
	return len(store.Contents())
}

func TestTokenEndsWithItsChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store)
		defer s.end()
		before := keys(t, store)
		parent := s.make(t, s.root, params{"policies": "p", "ttl": "1h"})
		child := s.make(t, parent, params{"ttl": "10h"})
		time.Sleep(time.Hour - time.Second)
		if !s.alive(t, parent) || !s.alive(t, child) {
			t.Fatal("dead before the time")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if s.alive(t, parent) || s.alive(t, child) {
			t.Error("alive after the time")
		}
		if n := keys(t, store); n != before || s.leases.Count() != 0 {
			t.Errorf("%d keys, want %d; %d leases", n, before, s.leases.Count())
		}
	})
}

func TestTokenEndsAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store)
		e := s.make(t, s.root, params{"policies": "p", "ttl": "1h"})
		before := keys(t, store)
		s.end()
		time.Sleep(30 * time.Minute)
		s = start(t, store)
		defer s.end()
		synctest.Wait()
		if !s.alive(t, e) {
			t.Fatal("dead before the time")
		}
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if n := keys(t, store); s.alive(t, e) || n != before-2+2 { // record and place went; a root came, with its mark
			t.Errorf("alive %v, %d keys of %d", s.alive(t, e), n, before)
		}
	})
}

func TestRenewedTokenNeverPassesItsMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store)
		defer s.end()
		before := keys(t, store)
		began := time.Now()
		e := s.make(t, s.root, params{"policies": "p", "ttl": "1h", "explicit_max_ttl": "2h"})
		renew := params{"token": e.Caller.Token.Reveal(), "increment": "1h"}
		for time.Since(began) < 2*time.Hour-time.Second {
			time.Sleep(min(50*time.Minute, 2*time.Hour-time.Second-time.Since(began)))
			if _, err := s.call(s.root, "renew", renew); err != nil {
				t.Fatal(err)
			}
		}
		l, err := s.leases.Lookup(t.Context(), e.LeaseID())
		if err != nil || !l.Expires.Equal(began.Add(2*time.Hour)) || !l.Renewed.Equal(time.Now()) {
			t.Errorf("%+v, %v", l, err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := keys(t, store); s.alive(t, e) || n != before {
			t.Errorf("alive %v, %d keys, want %d", s.alive(t, e), n, before)
		}
	})
}

func TestLeaseOfAToken(t *testing.T) {
	s := start(t, memory.New())
	defer s.end()
	e := s.make(t, s.root, params{"policies": "p"})
	eternal := s.make(t, s.root, nil)
	ids, err := s.leases.List(t.Context(), "auth/token/create/")
	if err != nil || len(ids) != 2 {
		t.Fatal(ids, err)
	}
	l, err := s.leases.Lookup(t.Context(), e.LeaseID())
	if err != nil || l.Kind != leases.Token || !l.Renewable || l.TTL(time.Now()) < 59*time.Minute {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := s.leases.Lookup(t.Context(), eternal.LeaseID()); err != nil || !l.Expires.IsZero() || l.TTL(time.Now()) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
	if _, _, err := s.leases.Renew(t.Context(), e.LeaseID(), 0); !errors.Is(err, leases.ErrToken) {
		t.Error(err)
	}
	if err := s.leases.Revoke(t.Context(), e.LeaseID()); err != nil || s.alive(t, e) {
		t.Error("revoking the lease revokes the token", err)
	}
	if err := s.leases.RevokePrefix(t.Context(), "auth/token"); err != nil || s.alive(t, eternal) || s.leases.Count() != 0 {
		t.Error("revoking the prefix revokes the token", err)
	}
	if !s.alive(t, s.root) {
		t.Error("a root token without a lease has no prefix")
	}
}

func TestSpentTokenIsCleanedUpAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store)
		e := s.make(t, s.root, params{"policies": "p", "num_uses": "1"})
		if left, err := s.tokens.Use(t.Context(), e); err != nil || left.NumUses != -1 {
			t.Fatal(left, err)
		}
		before := keys(t, store)
		s.end() // and nobody revoked it
		s = start(t, store)
		defer s.end()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := keys(t, store); n != before-2+2 || s.alive(t, e) {
			t.Errorf("%d keys of %d", n, before)
		}
	})
}

// TestTokensBelowAPrefixEndLater ends tokens by a prefix and dies before anybody has revoked them.
func TestTokensBelowAPrefixEndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store)
		before := keys(t, store)
		e := s.make(t, s.root, params{"policies": "p"})
		child := s.make(t, e, nil)
		<-s.leases.Loaded()
		s.end() // nothing expires from here on
		if err := s.leases.RevokePrefixLater(t.Context(), "auth/token/create"); err != nil {
			t.Fatal(err)
		}
		if s.alive(t, e) || s.alive(t, child) {
			t.Error("alive though the revocation is settled")
		}
		s = start(t, store)
		defer s.end()
		synctest.Wait()
		if n := keys(t, store); n != before+2 || s.leases.Count() != 0 { // a root came, with its mark
			t.Errorf("%d keys, want %d; %d leases", n, before+2, s.leases.Count())
		}
	})
}

// stuck is a token store that cannot revoke.
type stuck struct{ *token.Store }

func (stuck) RevokeLease(context.Context, string, func(context.Context) (bool, error)) error {
	return errors.New("no")
}

// TestIrrevocableToken gives up on a token, and succeeds after the next start.
func TestIrrevocableToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store)
		e := s.make(t, s.root, params{"policies": "p", "ttl": "1h"})
		s.end()
		m := leases.New(leases.Config{Storage: store})
		ctx, cancel := context.WithCancel(t.Context())
		m.Start(ctx, stuck{s.tokens}, nil)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		found, total, err := m.Irrevocable(t.Context(), 0)
		if err != nil || total != 1 || len(found) != 1 || found[0].ID != e.LeaseID() || found[0].Failure != "no" {
			t.Errorf("%+v of %d, %v", found, total, err)
		}
		cancel()
		m.Wait()
		s = start(t, store)
		defer s.end()
		synctest.Wait()
		if found, total, err := s.leases.Irrevocable(t.Context(), 0); err != nil || total != 0 || s.leases.Count() != 0 {
			t.Errorf("%+v of %d, %v; %d leases", found, total, err, s.leases.Count())
		}
	})
}

// TestUnreadableToken forgets the lease of a token whose record cannot be read.
func TestUnreadableToken(t *testing.T) {
	store := memory.New()
	s := start(t, store)
	defer s.end()
	<-s.leases.Loaded()
	before := keys(t, store)
	e := s.make(t, s.root, params{"policies": "p", "no_parent": true})
	if err := store.Apply(t.Context(), storage.Put("sys/token/id/"+e.ID, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if err := s.leases.Revoke(t.Context(), e.LeaseID()); err == nil {
		t.Error("revoked without an error though nobody knows what it was")
	}
	if err := s.leases.RevokeForce(t.Context(), "auth/token/create"); err != nil || keys(t, store) != before || s.leases.Count() != 0 {
		t.Errorf("%v; %d keys, want %d; %d leases", err, keys(t, store), before, s.leases.Count())
	}
}

// TestRenewalWinsOverExpiry renews a token while its lease is being ended for being over.
func TestRenewalWinsOverExpiry(t *testing.T) {
	s := start(t, memory.New())
	defer s.end()
	e := s.make(t, s.root, params{"policies": "p"})
	renewed := false
	err := s.tokens.RevokeLease(t.Context(), e.LeaseID(), func(context.Context) (bool, error) {
		renewed = true
		if s.alive(t, e) {
			t.Error("the token is in use while it is asked whether it is due")
		}
		return false, nil
	})
	if err != nil || !renewed || !s.alive(t, e) {
		t.Errorf("%v, asked %v, alive %v", err, renewed, s.alive(t, e))
	}
}

// TestExpiryFaults lets tokens expire while every call to storage fails once.
func TestExpiryFaults(t *testing.T) {
	var stored *memory.Store
	open := func(*testing.T) storage.Storage {
		stored = memory.New()
		return stored
	}
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
		synctest.Test(t, func(t *testing.T) {
			s := start(t, base)
			parent := s.make(t, s.root, params{"policies": "p", "ttl": "1h"})
			s.make(t, parent, params{"ttl": "10h"})
			s.end()
			m := leases.New(leases.Config{Storage: faulty})
			tokens, err := token.NewStore(t.Context(), token.Config{
				Storage: faulty, Leases: m, Policies: policies{}, Sudo: policies{}, CubbyholePrefix: "c/",
			})
			if err != nil {
				return
			}
			ctx, cancel := context.WithCancel(t.Context())
			m.Start(ctx, tokens, nil)
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			cancel()
			m.Wait()
			if n := keys(t, stored); n != 4 { // the store's keys, and one root token with its mark
				t.Errorf("%d keys left", n)
			}
		})
	})
}

// fill stores n living tokens.
func fill(t testing.TB, store storage.Storage, n int) {
	t.Helper()
	tokens, err := token.NewStore(t.Context(), token.Config{
		Storage: store, Leases: leases.New(leases.Config{Storage: store}), Policies: policies{}, Sudo: policies{},
		CubbyholePrefix: "logical/cubbyhole/",
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		_, _, err := tokens.Issue(t.Context(), &engines.Login{Policies: []string{"p"}, TTL: time.Duration(i+3600) * time.Second},
			token.IssueAt{Mount: "auth/kubernetes/", Path: "auth/kubernetes/login", TTLs: ttls{}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyLeases starts with 100,000 leases: the first answers must not wait for them, and each may cost
// no more than 300 bytes of memory.
func TestManyLeases(t *testing.T) {
	const n = 100_000
	store := memory.New()
	fill(t, store, n)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	began := time.Now()
	s := start(t, store)
	defer s.end()
	s.make(t, s.root, params{"policies": "p"})
	ready := time.Since(began)
	<-s.leases.Loaded()
	loaded := time.Since(began)
	each := (heap() - before) / n
	t.Logf("ready after %v, loaded after %v, %d bytes each", ready, loaded, each)
	if s.leases.Count() != n+1 || ready > 2*time.Second || each > 300 {
		t.Errorf("%d leases, ready after %v, %d bytes each", s.leases.Count(), ready, each)
	}
	runtime.KeepAlive(store)
}

func BenchmarkCreateRevoke(b *testing.B) {
	s := start(b, memory.New())
	defer s.end()
	b.ReportAllocs()
	for b.Loop() {
		resp, err := s.call(s.root, "create", params{"policies": "p"})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.tokens.Revoke(b.Context(), resp.Auth.Token); err != nil {
			b.Fatal(err)
		}
	}
}
