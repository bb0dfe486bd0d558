package token

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// checkWhole fails when something is stored of a token without the rest of it: a place in the tree without a
// token, or a token that its accessor does not lead to, or without its parent.
func checkWhole(t *testing.T, base storage.Storage) {
	t.Helper()
	have := map[string]bool{}
	hashes, err := openKeys(context.Background(), base)
	if err != nil {
		t.Fatal(err)
	}
	keys := keysOf(t, base)
	for _, key := range keys {
		have[key] = true
	}
	need := func(by, key string) {
		if !have[key] {
			t.Errorf("%s has no %s", by, key)
		}
	}
	for _, key := range keys {
		value, err := base.Get(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		rest, _ := strings.CutPrefix(key, root)
		switch {
		case strings.HasPrefix(key, parentFolder):
			parent, child, _ := strings.Cut(strings.TrimPrefix(key, parentFolder), "/")
			need(key, entryKey(parent))
			need(key, entryKey(child))
		case strings.HasPrefix(key, cubbyholes):
			id, _, _ := strings.Cut(strings.TrimPrefix(key, cubbyholes), "/")
			need(key, entryKey(id))
		case strings.HasPrefix(rest, "id/"):
			id := strings.TrimPrefix(rest, "id/")
			e, err := decode(id, value)
			if err != nil {
				t.Fatal(err)
			}
			if named := hashes.idOfAccessor(e.Caller.Accessor); named != id {
				t.Errorf("the accessor of %s leads to %s", id, named)
			}
			if e.Parent != "" {
				need(key, entryKey(e.Parent))
				need(key, parentKey(e.Parent, id))
			}
		}
	}
}

func TestOneCommitEach(t *testing.T) {
	base := storagetest.NewFaulty(memory.New())
	f := openFixture(t, base)
	parent := f.make(f.root, params{"policies": []any{"p"}})
	count := func(what string, do func()) {
		t.Helper()
		before := base.Calls(storagetest.Apply)
		do()
		if got := base.Calls(storagetest.Apply) - before; got != 1 {
			t.Errorf("%s: %d commits", what, got)
		}
	}
	var e, w *Entry
	count("create", func() { e = f.make(parent, params{"num_uses": json.Number("9")}) })
	count("renew", func() { f.write(f.root, "renew", params{"token": e.Caller.Token.Reveal()}) })
	count("use", func() {
		if _, err := f.store.Use(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	})
	count("revoke", func() { f.write(f.root, "revoke", params{"token": e.Caller.Token.Reveal()}) })
	count("wrap", func() { w, _ = f.store.AddWrapping(t.Context(), "a/b", time.Hour, []byte("x")) })
	count("rewrap", func() { w, _ = f.store.Rewrap(t.Context(), w.Caller.Token) })
	count("unwrap", func() {
		if b, err := f.store.TakeWrapped(t.Context(), w.Caller.Token); string(b) != "x" || err != nil {
			t.Fatal(string(b), err)
		}
	})
}

func TestCreateAndRevokeLeaveNothing(t *testing.T) {
	f := newFixture(t)
	before := keysOf(t, f.base)
	for range 2000 {
		e := f.make(f.root, params{"policies": []any{"p"}, "ttl": "1h"})
		f.write(e, "revoke-self", nil)
	}
	if got := len(keysOf(t, f.base)); got != len(before) {
		t.Errorf("%d keys, want %d", got, len(before))
	}
	if n := len(f.store.cache.byText) + len(f.store.cache.byID) + len(f.leases.expires) + len(f.store.ending.counts); n > 4 {
		t.Errorf("%d things left in memory", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	var c cache
	c.init(10)
	for range 100 {
		e := &Entry{ID: base62(24), Caller: &engines.Caller{Token: engines.NewToken(base62(24))}}
		c.put(e)
		if c.get(e.Caller.Token) != e || c.byTokenID(e.ID) != e {
			t.Fatal("what was put is not there")
		}
	}
	if len(c.byText) != 10 || len(c.byID) != 10 {
		t.Errorf("%d and %d entries", len(c.byText), len(c.byID))
	}
}

// TestFaults makes every call to storage fail in every form, and checks that nothing is left half done
// and that what was reported done is done.
func TestFaults(t *testing.T) {
	open := func(*testing.T) storage.Storage { return memory.New() }
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
		store, err := NewStore(t.Context(), Config{
			Storage: faulty, Leases: &fakeLeases{expires: map[string]time.Time{}}, Policies: fakePolicies{},
			Sudo: fakePolicies{}, CubbyholePrefix: cubbyholes,
		})
		if err != nil {
			return
		}
		defer checkWhole(t, base)
		lives := func(e *Entry) bool {
			_, err := store.Authenticate(t.Context(), e.Caller.Token)
			return err == nil
		}
		root, err := store.CreateRoot(t.Context())
		if err != nil {
			return
		}
		f := &fixture{t: t, store: store, base: base}
		if f.router, err = engines.NewRouter(store.Engine(engines.Config{TTLs: fixedTTLs{}})); err != nil {
			t.Fatal(err)
		}
		if f.root, err = store.Authenticate(t.Context(), root); err != nil {
			return
		}
		create := func(by *Entry, p params) *Entry {
			resp, err := f.call(by, engines.Update, "create", p)
			if err != nil {
				return nil
			}
			e, err := store.Authenticate(t.Context(), resp.Auth.Token)
			if errors.Is(err, ErrBadToken) {
				t.Error("a token that was given out is bad")
			}
			return e
		}
		a := create(f.root, params{"policies": []any{"p"}})
		if a == nil {
			return
		}
		b, c := create(a, nil), create(a, params{"num_uses": json.Number("2")})
		if c != nil {
			if used, err := store.Use(t.Context(), c); err == nil && used.NumUses != 1 {
				t.Error("a use was not counted")
			}
		}
		if b != nil && store.RevokeOrphan(t.Context(), b.Caller.Token) == nil && lives(b) {
			t.Error("an orphan's parent lives on")
		}
		w, err := store.AddWrapping(t.Context(), "a", time.Hour, []byte("x"))
		if err == nil {
			w, err = store.Rewrap(t.Context(), w.Caller.Token)
		}
		if err == nil {
			_, _ = store.TakeWrapped(t.Context(), w.Caller.Token)
		}
		if store.Revoke(t.Context(), a.Caller.Token) == nil && (lives(a) || (c != nil && lives(c))) {
			t.Error("a revoked token lives on")
		}
	})
}

// TestNoChildOutlivesItsParent makes children while their parent is revoked.
func TestNoChildOutlivesItsParent(t *testing.T) {
	for range 50 {
		f := newFixture(t)
		parent := f.make(f.root, params{"policies": []any{"p"}})
		var made sync.Map
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 20 {
					if resp, err := f.call(parent, engines.Update, "create", nil); err == nil {
						made.Store(resp.Auth.Token, true)
					}
				}
			})
		}
		wg.Go(func() { f.write(f.root, "revoke", params{"token": parent.Caller.Token.Reveal()}) })
		wg.Wait()
		made.Range(func(token, _ any) bool {
			if _, err := f.store.Authenticate(t.Context(), token.(engines.Token)); !errors.Is(err, ErrBadToken) {
				t.Errorf("a child lives on: %v", err)
			}
			return true
		})
		checkWhole(t, f.base)
	}
}

// TestRevokedIsNotRead reads a token while it is revoked: no reader may put it back into the cache.
func TestRevokedIsNotRead(t *testing.T) {
	f := newFixture(t)
	for range 200 {
		e := f.make(f.root, params{"policies": []any{"p"}})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5 {
					_, _ = f.store.Authenticate(context.Background(), e.Caller.Token)
				}
			})
		}
		wg.Go(func() { _ = f.store.Revoke(context.Background(), e.Caller.Token) })
		wg.Wait()
		if f.alive(e) {
			t.Fatal("a revoked token is alive")
		}
	}
}

func TestWrappedIsTakenOnce(t *testing.T) {
	f := newFixture(t)
	before := keysOf(t, f.base)
	e, err := f.store.AddWrapping(t.Context(), "a/b", time.Hour, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			var err error
			if i%10 == 9 {
				_, err = f.store.Rewrap(context.Background(), e.Caller.Token)
			} else {
				_, err = f.store.TakeWrapped(context.Background(), e.Caller.Token)
			}
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ErrBadToken):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d took it", won.Load())
	}
	if left := len(keysOf(t, f.base)) - len(before); left != 0 && left != 2 { // gone, or moved
		t.Errorf("%d keys left", left)
	}
}

func TestCorruptEntryIsRevokedAndNotRead(t *testing.T) {
	f := newFixture(t)
	parent := f.make(f.root, params{"policies": []any{"p"}})
	e := f.make(parent, nil)
	f.store.cache.remove(e.ID)
	if err := f.base.Apply(t.Context(), storage.Put(entryKey(e.ID), []byte("?"))); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Authenticate(t.Context(), e.Caller.Token); !errors.Is(err, ErrCorrupt) || !strings.Contains(texts(err), e.ID) {
		t.Errorf("%v; want an error that names the record", err)
	}
	f.write(f.root, "revoke", params{"token": parent.Caller.Token.Reveal()})
	if f.alive(parent) || f.alive(e) {
		t.Error("alive")
	}
}

func TestTidy(t *testing.T) {
	f := newFixture(t)
	kept := f.make(f.root, params{"policies": []any{"p"}})
	before := keysOf(t, f.base)
	lost, child := f.make(f.root, params{"policies": []any{"p"}}), f.make(kept, nil)
	grandchild := f.make(child, nil)
	for _, e := range []*Entry{lost, child} { // as if they had never been
		f.store.cache.remove(e.ID)
		if err := f.base.Apply(t.Context(), storage.Delete(entryKey(e.ID))); err != nil {
			t.Fatal(err)
		}
	}
	old := f.make(f.root, params{"policies": []any{"p"}, "ttl": "1h"})
	f.pass(3 * time.Hour)
	f.write(f.root, "tidy", nil)
	if f.alive(grandchild) || !f.alive(kept) || f.alive(old) {
		t.Error("the wrong ones live")
	}
	if after := keysOf(t, f.base); len(after) != len(before) {
		t.Errorf("%d keys, want %d", len(after), len(before))
	}
	checkWhole(t, f.base)
}

// TestWrappedIsNotTakenBesideAUse uses a wrapping token, as a read of cubbyhole/response does, and unwraps before that
// request is over. The request may have seen what was wrapped, so whoever unwraps must learn that somebody was first.
func TestWrappedIsNotTakenBesideAUse(t *testing.T) {
	f := newFixture(t)
	for name, take := range map[string]func(*Entry) error{
		"unwrap": func(e *Entry) error { _, err := f.store.TakeWrapped(t.Context(), e.Caller.Token); return err },
		"rewrap": func(e *Entry) error { _, err := f.store.Rewrap(t.Context(), e.Caller.Token); return err },
		"lookup": func(e *Entry) error { _, err := f.store.Wrapping(t.Context(), e.Caller.Token); return err },
		"unwrap that looked at the token before it was used": func(e *Entry) error {
			return f.store.end(t.Context(), e.ID, endOptions{
				take: func(context.Context, *Entry) ([]storage.Op, func(), error) { return nil, nil, nil },
			})
		},
	} {
		e, err := f.store.AddWrapping(t.Context(), "a/b", time.Hour, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		used, err := f.store.Use(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if err := take(e); !errors.Is(err, ErrBadToken) {
			t.Errorf("%s: %v", name, err)
		}
		if err := f.store.EndUse(t.Context(), used); err != nil {
			t.Fatal(err)
		}
	}
}
