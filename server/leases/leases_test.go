package leases

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// fakeSecrets notes what is revoked, and fails as often as it is told.
type fakeSecrets struct {
	mu sync.Mutex
	// revoked and failures are guarded by mu.
	revoked  map[string]time.Time
	failures int
	renewal  engines.LeaseGrant
	block    chan struct{}
}

func (f *fakeSecrets) RevokeSecret(ctx context.Context, l Lease) error {
	if f.block != nil {
		select {
		case <-f.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failures > 0 {
		f.failures--
		return errors.New("the engine refuses")
	}
	f.revoked[l.ID] = time.Now()
	return nil
}

func (f *fakeSecrets) RenewSecret(_ context.Context, _ Lease, increment time.Duration) (engines.LeaseGrant, error) {
	r := f.renewal
	if increment > 0 {
		r.TTL = increment
	}
	return r, nil
}

func (f *fakeSecrets) at(id string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revoked[id]
}

// fakeTokens knows the ids of living tokens; the lease of each is "t/" and its id, for an hour.
type fakeTokens map[string]bool

func (f fakeTokens) Lease(_ context.Context, leaseID string) (token.Lease, error) {
	if id, ok := strings.CutPrefix(leaseID, "t/"); ok && f[id] {
		return token.Lease{ID: leaseID, Issued: time.Now(), Expires: time.Now().Add(time.Hour), Renewable: true}, nil
	}
	return token.Lease{}, token.ErrBadToken
}

func (f fakeTokens) EachLease(ctx context.Context, visit func(token.Lease)) error {
	for id := range f {
		if l, err := f.Lease(ctx, "t/"+id); err == nil {
			visit(l)
		}
	}
	return nil
}

func (f fakeTokens) WhileAlive(_ context.Context, _ string, do func() error) error { return do() }

func (f fakeTokens) RevokeLease(context.Context, string, func(context.Context) (bool, error)) error {
	return nil
}

func (f fakeTokens) RevokeLeases(context.Context, []string, time.Time) ([]string, error) {
	return nil, nil
}

func (f fakeTokens) ExpireLease(context.Context, string) error        { return nil }
func (f fakeTokens) Alive(_ context.Context, id string) (bool, error) { return f[id], nil }

// session is a running manager.
type session struct {
	*Manager
	secrets *fakeSecrets
	end     func()
}

func start(t *testing.T, store storage.Storage, secrets *fakeSecrets, tokens Tokens) *session {
	t.Helper()
	if secrets == nil {
		secrets = &fakeSecrets{}
	}
	if secrets.revoked == nil {
		secrets.revoked = map[string]time.Time{}
	}
	if tokens == nil {
		tokens = fakeTokens{}
	}
	m := New(Config{Storage: store})
	_ = m.LoadRevocations(t.Context()) // where storage fails there are none
	ctx, cancel := context.WithCancel(t.Context())
	m.Start(ctx, tokens, secrets)
	return &session{Manager: m, secrets: secrets, end: sync.OnceFunc(func() { cancel(); m.Wait() })}
}

func (s *session) register(t *testing.T, path string, ttl time.Duration) Lease {
	t.Helper()
	l, err := s.Register(t.Context(), Secret{Path: path, Token: "h1", TTL: ttl, Internal: map[string]any{"user": "u"}}, true)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func count(t *testing.T, store storage.Storage) int {
	t.Helper()
	n := 0
	for _, folder := range []string{recordFolder, tokenFolder} {
		keys, err := listAll(store, folder)
		if err != nil {
			t.Fatal(err)
		}
		n += len(keys)
	}
	return n
}

func listAll(store storage.Storage, folder string) (keys []string, err error) {
	names, err := store.List(context.Background(), folder, "", 0)
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			deeper, err := listAll(store, folder+name)
			if err != nil {
				return nil, err
			}
			keys = append(keys, deeper...)
		} else {
			keys = append(keys, folder+name)
		}
	}
	return keys, err
}

func TestLeasesEndOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store, nil, nil)
		defer s.end()
		began := time.Now()
		var leases []Lease
		for _, minutes := range []int{30, 5, 10, 5, 20} {
			leases = append(leases, s.register(t, "db/creds/app", time.Duration(minutes)*time.Minute))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		for i, minutes := range []int{30, 5, 10, 5, 20} {
			if got := s.secrets.at(leases[i].ID).Sub(began); got != time.Duration(minutes)*time.Minute {
				t.Errorf("a lease of %d minutes ended after %v", minutes, got)
			}
		}
		if n := count(t, store); n != 0 || s.Count() != 0 {
			t.Errorf("%d keys and %d leases left", n, s.Count())
		}
	})
}

func TestLeasesEndOnTimeAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		first := start(t, store, nil, nil)
		began := time.Now()
		overdue, later := first.register(t, "db/creds/a", time.Minute), first.register(t, "db/creds/b", time.Hour)
		first.end()
		time.Sleep(10 * time.Minute)
		second := start(t, store, nil, nil)
		defer second.end()
		synctest.Wait()
		if got := second.secrets.at(overdue.ID).Sub(began); got != 10*time.Minute {
			t.Errorf("the overdue lease ended after %v", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := second.secrets.at(later.ID).Sub(began); got != time.Hour {
			t.Errorf("the other lease ended after %v", got)
		}
	})
}

func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store, &fakeSecrets{renewal: engines.LeaseGrant{TTL: 10 * time.Minute, MaxTTL: time.Hour}}, nil)
		defer s.end()
		began := time.Now()
		l := s.register(t, "db/creds/app", 10*time.Minute)
		for range 6 {
			time.Sleep(9 * time.Minute)
			if _, _, err := s.Renew(t.Context(), l.ID, 0); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(6*time.Minute - time.Second) // one second before the end
		got, _, err := s.Renew(t.Context(), l.ID, 5*time.Hour)
		if err != nil || !got.Expires.Equal(began.Add(time.Hour)) {
			t.Fatalf("renewed until %v, %v", got.Expires.Sub(began), err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if at := s.secrets.at(l.ID).Sub(began); at != time.Hour {
			t.Errorf("it ended after %v", at)
		}
		if _, _, err := s.Renew(t.Context(), l.ID, 0); !errors.Is(err, ErrNotFound) {
			t.Errorf("renewal after the end: %v", err)
		}
	})
}

// TestTheRecordIsTheTruth makes the clock wrong about a lease.
func TestTheRecordIsTheTruth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, memory.New(), nil, nil)
		defer s.end()
		began := time.Now()
		l := s.register(t, "db/creds/app", time.Hour)
		s.queue.set(l.ID, l.Kind, began)
		synctest.Wait()
		if !s.secrets.at(l.ID).IsZero() {
			t.Error("revoked before its time")
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := s.secrets.at(l.ID).Sub(began); got != time.Hour {
			t.Errorf("it ended after %v", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, memory.New(), nil, fakeTokens{"h1": true})
		defer s.end()
		fixed, err := s.Register(t.Context(), Secret{Path: "a", TTL: time.Hour}, false)
		if err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]error{
			"t/h1": ErrToken, fixed.ID: ErrNotRenewable, "x/y": ErrNotFound, "": ErrNotFound, "/": ErrNotFound,
			"a//b": ErrNotFound, "../x": ErrNotFound,
		} {
			if _, _, err := s.Renew(t.Context(), id, 0); !errors.Is(err, want) || !errors.Is(err, engines.ErrInvalid) {
				t.Errorf("renew %q: %v, want %v", id, err, want)
			}
			if errors.Is(want, ErrNotFound) {
				if err := s.Revoke(t.Context(), id); err != nil {
					t.Errorf("revoke %q: %v", id, err)
				}
				if err := s.RevokeLater(t.Context(), id); err != nil {
					t.Errorf("revoke later %q: %v", id, err)
				}
			}
		}
	})
}

func TestFailedRevocationIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store, &fakeSecrets{failures: 3}, nil)
		defer s.end()
		began := time.Now()
		l := s.register(t, "db/creds/app", time.Minute)
		time.Sleep(time.Hour)
		synctest.Wait()
		want := time.Minute + 10*time.Second + 20*time.Second + 40*time.Second
		if got := s.secrets.at(l.ID).Sub(began); got != want {
			t.Errorf("revoked after %v, want %v", got, want)
		}
	})
}

func TestIrrevocable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store, &fakeSecrets{failures: 1000}, nil)
		l := s.register(t, "db/creds/app", time.Minute)
		time.Sleep(24 * time.Hour)
		check := func(s *session) {
			t.Helper()
			synctest.Wait()
			found, total, err := s.Irrevocable(t.Context(), 10)
			if err != nil || total != 1 || len(found) != 1 || found[0].ID != l.ID || found[0].Failure != "the engine refuses" {
				t.Fatalf("%+v of %d, %v", found, total, err)
			}
		}
		check(s)
		if got := 1000 - s.secrets.failures; got != maxAttempts {
			t.Errorf("tried %d times", got)
		}
		s.end()
		s = start(t, store, &fakeSecrets{failures: 1000}, nil)
		defer s.end()
		time.Sleep(time.Hour)
		check(s)
		if err := s.Revoke(t.Context(), l.ID); err == nil {
			t.Error("the failure is not told")
		}
		check(s)
		if err := s.RevokeForce(t.Context(), "db/creds"); err != nil {
			t.Fatal(err)
		}
		if n := count(t, store); n != 0 || s.Count() != 0 {
			t.Errorf("%d keys and %d leases left", n, s.Count())
		}
	})
}

func TestRevokePrefix(t *testing.T) {
	for _, later := range []bool{false, true} {
		t.Run(fmt.Sprint("later ", later), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, memory.New(), nil, nil)
				defer s.end()
				in := []Lease{s.register(t, "db/creds/a", time.Hour), s.register(t, "db/creds/b/c", time.Hour)}
				out := []Lease{s.register(t, "db/creds2", time.Hour), s.register(t, "dc/creds", time.Hour)}
				revoke := s.RevokePrefix
				if later {
					revoke = s.RevokePrefixLater
				}
				for _, prefix := range []string{"db/creds", strings.Repeat("x", storage.MaxKeySize)} {
					if err := revoke(t.Context(), prefix); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				for _, l := range in {
					if s.secrets.at(l.ID).IsZero() {
						t.Errorf("%s lives", l.ID)
					}
				}
				if err := revoke(t.Context(), out[0].ID); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if s.secrets.at(out[0].ID).IsZero() || !s.secrets.at(out[1].ID).IsZero() || s.Count() != 1 {
					t.Error("a single lease by its id")
				}
			})
		})
	}
}

func TestList(t *testing.T) {
	s := start(t, memory.New(), nil, nil)
	defer s.end()
	a := s.register(t, "db/creds/a", time.Hour)
	s.register(t, "db/roles", time.Hour)
	for prefix, want := range map[string][]string{
		"": {"db/"}, "db/": {"creds/", "roles/"}, "db/creds/a/": {strings.TrimPrefix(a.ID, "db/creds/a/")}, "x/": nil,
		strings.Repeat("x", storage.MaxKeySize) + "/": nil, // as Vault says: there are none
	} {
		got, err := s.List(t.Context(), prefix)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", prefix, got, err)
		}
	}
}

// slowTokens visits nothing before it is told to.
type slowTokens struct {
	fakeTokens
	visit chan struct{}
}

func (s slowTokens) EachLease(ctx context.Context, visit func(token.Lease)) error {
	<-s.visit
	return s.fakeTokens.EachLease(ctx, visit)
}

// TestListsWaitForTheLeasesOfTokens asks before the leases are loaded, in vain and with patience.
func TestListsWaitForTheLeasesOfTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := slowTokens{fakeTokens{"h1": true}, make(chan struct{})}
		s := start(t, memory.New(), nil, tokens)
		defer s.end()
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if names, err := s.List(hasty, "t/"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q, %v", names, err)
		}
		if err := s.RevokePrefix(hasty, "t/"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if l, err := s.Lookup(t.Context(), "t/h1"); err != nil || l.Kind != Token {
			t.Errorf("lookup does not wait: %+v, %v", l, err)
		}
		time.AfterFunc(time.Second, func() { close(tokens.visit) })
		if names, err := s.List(t.Context(), "t/"); err != nil || !slices.Equal(names, []string{"h1"}) {
			t.Errorf("%q, %v", names, err)
		}
	})
}

func TestTokenTakesItsSecretsAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store, nil, nil)
		defer s.end()
		l := s.register(t, "db/creds/a", time.Hour)
		ops, done, err := s.RemoveToken(t.Context(), "", "h1")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !s.secrets.at(l.ID).IsZero() {
			t.Error("revoked before the commit")
		}
		if err := store.Apply(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
		done()
		synctest.Wait()
		if s.secrets.at(l.ID).IsZero() || count(t, store) != 0 {
			t.Error("the secret outlives its token")
		}
	})
}

func TestStoredLeasesAreThereBeforeTheyAreLoaded(t *testing.T) {
	store := memory.New()
	first := start(t, store, nil, nil)
	l := first.register(t, "db/creds/a", time.Hour)
	first.end()
	tokens := slowTokens{fakeTokens{}, make(chan struct{})}
	s := start(t, store, nil, tokens)
	defer s.end()
	defer close(tokens.visit)
	got, err := s.Lookup(t.Context(), l.ID)
	if err != nil || got.ID != l.ID || !got.Expires.Equal(l.Expires) {
		t.Errorf("%+v, %v", got, err)
	}
	if diff := cmp.Diff(l.Secret, got.Secret); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestLoadingDoesNotBringBack removes and renews leases while they are loaded.
func TestLoadingDoesNotBringBack(t *testing.T) {
	var q queue
	q.init()
	now := time.Now()
	stored := func(id string) Lease { return Lease{ID: id, Kind: Token, Expires: now} }
	q.drop("removed")
	q.set("renewed", Token, now.Add(time.Hour))
	for _, id := range []string{"removed", "renewed", "kept"} {
		q.load(stored(id))
	}
	q.loadingDone()
	if q.items["removed"] != nil || q.items["kept"] == nil || q.items["renewed"].due != now.Add(time.Hour).UnixNano() {
		t.Errorf("%+v", q.items)
	}
}

// TestTidyDoesNotBringBack removes a lease that somebody else has read and not yet loaded.
func TestTidyDoesNotBringBack(t *testing.T) {
	var q queue
	q.init()
	q.loadingDone() // the start's
	q.beginLoading()
	q.beginLoading()
	q.set("a", Token, time.Time{})
	q.loadingDone()
	q.drop("a")
	q.load(Lease{ID: "a", Kind: Token})
	if q.items["a"] != nil {
		t.Error("what was removed is back")
	}
	if q.loadingDone(); q.dropped != nil {
		t.Errorf("%v is kept", q.dropped)
	}
}

// TestPutOffIsNotForWhatMoved reads a record that says "later", and meanwhile the lease is to end now.
func TestPutOffIsNotForWhatMoved(t *testing.T) {
	var q queue
	q.init()
	now := time.Now()
	q.set("a", Token, now)
	seen := q.due("a")
	q.set("a", Token, now.Add(time.Second))
	q.putOff("a", seen, now.Add(time.Hour))
	if got := q.due("a"); got != now.Add(time.Second).UnixNano() {
		t.Errorf("due in %v", time.Duration(got-now.UnixNano()))
	}
	q.putOff("a", q.due("a"), now.Add(time.Hour))
	if got := q.due("a"); got != now.Add(time.Hour).UnixNano() {
		t.Errorf("due in %v", time.Duration(got-now.UnixNano()))
	}
}

func TestSlowRevocationsDoNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secrets := &fakeSecrets{block: make(chan struct{})}
		s := start(t, memory.New(), secrets, nil)
		defer s.end()
		l := s.register(t, "db/slow", time.Minute)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		waited := make(chan error, 1)
		go func() { waited <- s.Revoke(t.Context(), l.ID) }() // waits for the worker
		synctest.Wait()
		select {
		case err := <-waited:
			t.Fatalf("revoke returned %v while the worker had the lease", err)
		default:
		}
		s.register(t, "db/other", time.Hour)
		close(secrets.block)
		if err := <-waited; err != nil {
			t.Error(err)
		}
		if s.Count() != 1 {
			t.Errorf("%d leases", s.Count())
		}
	})
}

func TestTidy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := start(t, store, nil, fakeTokens{"h2": true})
		defer s.end()
		lost := s.register(t, "db/a", time.Hour) // of h1, which is gone
		kept, err := s.Register(t.Context(), Secret{Path: "db/b", Token: "h2", TTL: time.Hour}, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Apply(t.Context(), storage.Put(tokenKey("h3", "x"), []byte("db/none"))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.queue.drop(kept.ID) // as if the clock had lost them
		s.queue.drop("t/h2")
		if !s.Tidy(t.Context()) {
			t.Error("tidy did not start")
		}
		synctest.Wait()
		if s.secrets.at(lost.ID).IsZero() || s.Count() != 2 || count(t, store) != 2 {
			t.Errorf("%d leases, %d keys", s.Count(), count(t, store))
		}
	})
}

// TestRevokePrefixIsLinear counts the names that are read.
func TestRevokePrefixIsLinear(t *testing.T) {
	const n = 3000
	tally := &storagetest.Tally{Storage: memory.New()}
	s := start(t, tally, nil, nil)
	defer s.end()
	for range n {
		s.register(t, "db/creds/a", time.Hour)
	}
	before := tally.Names()
	if err := s.RevokePrefix(t.Context(), "db"); err != nil {
		t.Fatal(err)
	}
	if read := tally.Names() - before; read < n || read > 2*n {
		t.Errorf("%d names were read to revoke %d leases", read, n)
	}
}
