package token

import (
	"context"
	"errors"
	"testing"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// family is a token with more children than one commit ends, the first of which has a child of its own.
func family(f *fixture) (top *Entry, below []*Entry) {
	f.t.Helper()
	top = f.make(f.root, params{"policies": []any{"p"}})
	for range revokeBatch {
		below = append(below, f.make(top, nil))
	}
	return top, append(below, f.make(below[0], nil))
}

// reopen is the next start over what is stored, up to where it carries on with what was being revoked.
func (f *fixture) reopen() *fixture {
	f.t.Helper()
	again := &fixture{t: f.t, leases: f.leases, base: f.base, clock: f.clock, root: f.root}
	cfg := f.store.cfg
	cfg.Background, cfg.Now = nil, again.now
	var err error
	if again.store, err = NewStore(f.t.Context(), cfg); err != nil {
		f.t.Fatal(err)
	}
	again.router, err = engines.NewRouter(again.store.Engine(engines.Config{TTLs: fixedTTLs{}}))
	if err != nil {
		f.t.Fatal(err)
	}
	return again
}

// TestManyEndWithTheMark lets the work after the mark fail: all are useless from the mark on, here and after the next
// start, which ends them.
func TestManyEndWithTheMark(t *testing.T) {
	for name, form := range map[string]storagetest.Form{
		"not written": storagetest.NotWritten, "written": storagetest.WrittenButFailed,
	} {
		t.Run(name, func(t *testing.T) {
			faulty := storagetest.NewFaulty(memory.New())
			f := openFixture(t, faulty)
			before := len(keysOf(t, f.base))
			top, below := family(f)
			faulty.Fail(storagetest.Apply, 2, form) // the first is the mark
			if err := f.store.RevokeID(t.Context(), top.ID); !errors.Is(err, storagetest.ErrInjected) {
				t.Fatalf("the second commit failed: %v", err)
			}
			for name, f := range map[string]*fixture{"here": f, "after the next start": f.reopen()} {
				for _, e := range append(below, top) {
					if f.alive(e) {
						t.Fatalf("%s one of %d tokens is good for something", name, len(below)+1)
					}
				}
				if _, err := f.store.ByAccessor(t.Context(), below[1].Caller.Accessor); !errors.Is(err, ErrBadToken) {
					t.Errorf("%s the accessor of one: %v", name, err)
				}
				if err := f.store.WhileAlive(t.Context(), below[1].ID, func() error { return nil }); !errors.Is(err, ErrBadToken) {
					t.Errorf("%s one gets a lease: %v", name, err)
				}
				if _, err := f.call(f.root, engines.Update, "renew", params{"token": below[2].Caller.Token.Reveal()}); err == nil {
					t.Errorf("%s one is renewed", name)
				}
			}
			f = f.reopen()
			f.store.FinishRevocations()
			if left := len(keysOf(t, f.base)); left != before || f.store.trees.any() || len(f.store.ending.counts) != 0 {
				t.Errorf("%d keys, want %d; %v", left, before, f.store.ending.counts)
			}
			checkWhole(t, f.base)
		})
	}
}

// TestManyLiveOnWithoutTheirParent makes more children orphans than one request does.
func TestManyLiveOnWithoutTheirParent(t *testing.T) {
	faulty := storagetest.NewFaulty(memory.New())
	f := openFixture(t, faulty)
	top, below := family(f)
	faulty.Fail(storagetest.Apply, revokeBatch/2, storagetest.NotWritten)
	if err := f.store.RevokeOrphan(t.Context(), top.Caller.Token); !errors.Is(err, storagetest.ErrInjected) {
		t.Fatal(err)
	}
	if f.alive(top) {
		t.Error("the parent is good for something")
	}
	f = f.reopen()
	if f.alive(top) {
		t.Error("after the next start the parent is good for something")
	}
	f.store.FinishRevocations()
	for i, e := range below {
		found, err := f.store.Authenticate(t.Context(), e.Caller.Token)
		if err != nil || found.Orphan() != (i < revokeBatch) {
			t.Fatalf("child %d: %+v, %v", i, found, err)
		}
	}
	checkWhole(t, f.base)
}

// TestManyGoOnWithoutTheCaller gives up waiting once the mark is stored.
func TestManyGoOnWithoutTheCaller(t *testing.T) {
	f := newFixture(t)
	work := make(chan func(context.Context), 1)
	f.store.cfg.Background = func(f func(context.Context)) { work <- f }
	f.store.trees.init(f.store.cfg.Background, f.store.log)
	top, below := family(f)
	ctx, cancel := context.WithCancel(t.Context())
	outcome := make(chan error, 1)
	go func() { outcome <- f.store.RevokeID(ctx, top.ID) }()
	carryOn := <-work
	cancel()
	if err := <-outcome; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller who gave up: %v", err)
	}
	if f.alive(below[0]) {
		t.Error("a child is good for something")
	}
	carryOn(t.Context())
	checkWhole(t, f.base)
	if _, err := f.base.Get(t.Context(), entryKey(below[0].ID)); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("its record: %v", err)
	}
}

// TestTokensAreRefusedWithThePathThatIssuedThem, and so are those that hang on them; those made later are not.
func TestTokensAreRefusedWithThePathThatIssuedThem(t *testing.T) {
	f := newFixture(t)
	f.leases.revoking = func(string, time.Time) bool { return false }
	parent := f.make(f.root, params{"policies": []any{"p"}})
	child := f.make(parent, nil)
	other := f.make(f.root, params{"policies": []any{"p"}})
	batch := f.make(parent, params{"type": "batch"})
	f.leases.revoking = func(path string, issued time.Time) bool {
		return path == parent.Caller.Path && !issued.After(parent.Life.Created)
	}
	for name, e := range map[string]*Entry{"the token": parent, "its child": child, "its batch token": batch, "another": other} {
		if f.alive(e) {
			t.Errorf("%s is good for something", name)
		}
	}
	if !f.alive(f.root) {
		t.Error("a token without a lease is refused")
	}
	f.pass(time.Nanosecond)
	later := f.make(f.root, params{"policies": []any{"p"}})
	if !f.alive(later) {
		t.Error("a token that was made later is refused")
	}
	gone, err := f.store.RevokeLeases(t.Context(), []string{parent.LeaseID(), later.LeaseID(), "auth/x/hnone"}, parent.Life.Created)
	if err != nil || len(gone) != 1 || gone[0] != parent.LeaseID() {
		t.Errorf("%q are gone, %v", gone, err)
	}
	f.leases.revoking = nil
	if f.alive(parent) || f.alive(child) || !f.alive(other) || !f.alive(later) {
		t.Error("others than those were revoked")
	}
}
