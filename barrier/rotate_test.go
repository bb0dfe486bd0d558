package barrier_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"coffer/barrier"
	"coffer/barrier/secret"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

func wantTerm(t *testing.T, b *barrier.Barrier, want uint32) barrier.KeyInfo {
	t.Helper()
	info, err := b.KeyInfo()
	if err != nil || info.Term != want {
		t.Fatalf("KeyInfo = %+v, %v; want term %d", info, err, want)
	}
	return info
}

func TestRotate(t *testing.T) {
	s := memory.New()
	b := create(t, s)
	wantTerm(t, b, 1)
	for term := range 3 {
		apply(t, b, storage.Put(fmt.Sprint("of term ", term+1), []byte("v")))
		info, err := b.Rotate(t.Context())
		if err != nil || info.Term != uint32(term+2) {
			t.Fatalf("Rotate = %+v, %v", info, err)
		}
	}
	for _, b := range []*barrier.Barrier{b, reopen(t, s, root)} {
		wantTerm(t, b, 4)
		for term := range 3 {
			wantValue(t, b, fmt.Sprint("of term ", term+1), "v")
		}
		names, err := b.List(t.Context(), "", "", 0)
		if err != nil || len(names) != 3 {
			t.Errorf("List = %q, %v", names, err)
		}
	}
}

func TestRotateBesideWrites(t *testing.T) {
	s := memory.New()
	b := create(t, s)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 200 {
				key := fmt.Sprintf("%d/%d", w, i)
				if err := b.Apply(t.Context(), storage.Put(key, []byte(key))); err != nil {
					t.Error(err)
				}
				if got, err := b.Get(t.Context(), key); err != nil || string(got) != key {
					t.Errorf("Get = %q, %v", got, err)
				}
			}
		})
	}
	for range 20 {
		if _, err := b.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	again := reopen(t, s, root)
	wantTerm(t, again, 21)
	for w := range 4 {
		for i := range 200 {
			wantValue(t, again, fmt.Sprintf("%d/%d", w, i), fmt.Sprintf("%d/%d", w, i))
		}
	}
}

func TestCountIsNeverTooLow(t *testing.T) {
	s := memory.New()
	b := create(t, s)
	written := uint64(0)
	for round := range 5 {
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for range 1500 {
					apply(t, b, storage.Put(fmt.Sprint(w), nil), storage.Put("x", nil))
				}
			})
		}
		wg.Wait()
		written += 4 * 1500 * 2
		if info := wantTerm(t, b, 1); info.Encryptions < written {
			t.Fatalf("round %d: counted %d of %d", round, info.Encryptions, written)
		}
		// A crash: nothing is told to the old barrier.
		b = reopen(t, s, root)
		info := wantTerm(t, b, 1)
		if info.Encryptions < written || info.Encryptions > written+uint64(round+1)*20_000 {
			t.Fatalf("round %d: counted %d of %d after a restart", round, info.Encryptions, written)
		}
	}
}

func TestCountSurvivesFaults(t *testing.T) {
	for _, form := range []storagetest.Form{storagetest.NotWritten, storagetest.WrittenButFailed} {
		s := memory.New()
		f := storagetest.NewFaulty(s)
		b := create(t, f)
		for i := range 30_000 {
			if i%100 == 0 {
				f.Fail(storagetest.Apply, 1+i/100%50, form)
			}
			_ = b.Apply(t.Context(), storage.Put("k", nil))
		}
		if info := wantTerm(t, reopen(t, s, root), 1); info.Encryptions < 30_000-300 {
			t.Errorf("%s: counted %d of at least %d", form, info.Encryptions, 30_000-300)
		}
	}
}

func TestRotationConfig(t *testing.T) {
	s := memory.New()
	b := create(t, s)
	if got, err := b.RotationConfig(); err != nil || got != barrier.DefaultRotationConfig() {
		t.Fatalf("RotationConfig = %+v, %v", got, err)
	}
	valid := barrier.RotationConfig{Enabled: true, MaxOperations: 2_000_000, Interval: 48 * time.Hour}
	if err := b.SetRotationConfig(t.Context(), valid); err != nil {
		t.Fatal(err)
	}
	for name, invalid := range map[string]barrier.RotationConfig{
		"too few operations":  {MaxOperations: barrier.MinOperations - 1},
		"too many operations": {MaxOperations: barrier.MaxOperations + 1},
		"short interval":      {MaxOperations: barrier.MaxOperations, Interval: 24*time.Hour - time.Second},
		"negative interval":   {MaxOperations: barrier.MaxOperations, Interval: -time.Hour},
		"parts of a second":   {MaxOperations: barrier.MaxOperations, Interval: 24*time.Hour + time.Millisecond},
		"endless interval":    {MaxOperations: barrier.MaxOperations, Interval: 1<<63 - 1},
	} {
		if err := b.SetRotationConfig(t.Context(), invalid); !errors.Is(err, barrier.ErrInvalidConfig) {
			t.Errorf("%s: %v; want ErrInvalidConfig", name, err)
		}
	}
	if got, err := reopen(t, s, root).RotationConfig(); err != nil || got != valid {
		t.Errorf("after reopening: %+v, %v; want %+v", got, err, valid)
	}
}

// TestKeyFromLaterIsRotated begins a term while the clock is years ahead: its age would not be reached for as long.
func TestKeyFromLaterIsRotated(t *testing.T) {
	b := create(t, memory.New())
	now := time.Now().Add(30 * 365 * 24 * time.Hour)
	b.UseClock(func() time.Time { return now })
	config := barrier.RotationConfig{Enabled: true, MaxOperations: barrier.MaxOperations, Interval: 24 * time.Hour}
	if err := b.SetRotationConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} { // the first term is years old
		if got, err := b.MaybeRotate(t.Context()); got != want || err != nil {
			t.Fatalf("ahead: %v, %v; want %v", got, err, want)
		}
	}
	now = time.Now()
	for _, want := range []bool{true, false} {
		if got, err := b.MaybeRotate(t.Context()); got != want || err != nil {
			t.Errorf("set right: %v, %v; want %v", got, err, want)
		}
	}
}

func TestRotationByInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := create(t, memory.New())
		maybe := func(want bool) {
			t.Helper()
			if got, err := b.MaybeRotate(t.Context()); got != want || err != nil {
				t.Fatalf("MaybeRotate = %v, %v; want %v", got, err, want)
			}
		}
		time.Sleep(1000 * time.Hour)
		maybe(false) // no interval
		config := barrier.RotationConfig{Enabled: true, MaxOperations: barrier.MaxOperations, Interval: 24 * time.Hour}
		if err := b.SetRotationConfig(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		maybe(true)
		maybe(false)
		time.Sleep(24*time.Hour - time.Second)
		maybe(false)
		time.Sleep(time.Second)
		maybe(true)
		config.Enabled = false
		if err := b.SetRotationConfig(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Hour)
		maybe(false)
		wantTerm(t, b, 3)
	})
}

func TestRekey(t *testing.T) {
	s := memory.New()
	b := create(t, s)
	apply(t, b, storage.Put("k", []byte("v")))
	next := secret.Random(32)
	if err := b.Rekey(t.Context(), next, storage.Put("core/root-key", []byte("wrapped"))); err != nil {
		t.Fatal(err)
	}
	wantValue(t, s, "core/root-key", "wrapped")
	if err := b.VerifyRoot(next); err != nil {
		t.Errorf("VerifyRoot of the new key: %v", err)
	}
	for _, key := range []secret.Key{root, {}, secret.Random(32)} {
		if err := b.VerifyRoot(key); !errors.Is(err, barrier.ErrWrongKey) {
			t.Errorf("VerifyRoot of a wrong key: %v; want ErrWrongKey", err)
		}
	}
	if _, err := barrier.Open(t.Context(), s, root); !errors.Is(err, barrier.ErrWrongKey) {
		t.Errorf("Open with the old key: %v; want ErrWrongKey", err)
	}
	if _, err := b.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := reopen(t, s, next)
	wantValue(t, again, "k", "v")
	wantTerm(t, again, 2)
	if err := b.Rekey(t.Context(), secret.Random(16)); err == nil {
		t.Error("Rekey took a short key")
	}
	reopen(t, s, next)
}

// TestFaultsInKeyChanges lets each call fail in both forms, and checks that the storage always opens with
// the root key that the seal's record names, and that nothing written is lost.
func TestFaultsInKeyChanges(t *testing.T) {
	keys := map[string]secret.Key{"old": root, "new": secret.Random(32), "newer": secret.Random(32)}
	open := func(*testing.T) storage.Storage { return memory.New() }
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, f *storagetest.Faulty) {
		apply(t, create(t, base), storage.Put("before", []byte("v")))
		apply(t, base, storage.Put("core/root-key", []byte("old")))
		b, err := barrier.Open(t.Context(), f, root)
		if err != nil {
			return
		}
		written := map[string]bool{"before": true}
		put := func(key string) { written[key] = b.Apply(t.Context(), storage.Put(key, []byte("v"))) == nil }
		rekey := func(name string) { _ = b.Rekey(t.Context(), keys[name], storage.Put("core/root-key", []byte(name))) }
		_, _ = b.Rotate(t.Context())
		put("after rotate")
		rekey("new")
		put("after rekey")
		_, _ = b.Rotate(t.Context())
		_ = b.SetRotationConfig(t.Context(), barrier.RotationConfig{MaxOperations: barrier.MinOperations})
		put("after the second rotate")
		rekey("newer")
		put("at the end")
		name, err := base.Get(t.Context(), "core/root-key")
		if err != nil {
			t.Fatal(err)
		}
		again := reopen(t, base, keys[string(name)])
		if !f.Fired() {
			return
		}
		for key, ok := range written {
			if ok {
				wantValue(t, b, key, "v")
				wantValue(t, again, key, "v")
			}
		}
		// The fault was the only one: the barrier must still be able to change its keys.
		if _, err := b.Rotate(t.Context()); err != nil {
			t.Errorf("Rotate after the fault: %v", err)
		}
		if err := b.VerifyRoot(keys[string(name)]); err != nil {
			t.Errorf("VerifyRoot(%s): %v", name, err)
		}
		put("last")
		wantValue(t, reopen(t, base, keys[string(name)]), "last", "v")
	})
}

// TestKeyChangesOfUnknownOutcome lets every commit fail in one form while a key changes, also the second try.
func TestKeyChangesOfUnknownOutcome(t *testing.T) {
	for _, form := range []storagetest.Form{storagetest.NotWritten, storagetest.WrittenButFailed} {
		t.Run(string(form), func(t *testing.T) {
			base := memory.New()
			f := storagetest.NewFaulty(base)
			b := create(t, f)
			apply(t, b, storage.Put("before", []byte("v")))
			f.FailEvery(storagetest.Apply, form)
			if _, err := b.Rotate(t.Context()); !errors.Is(err, storagetest.ErrInjected) {
				t.Fatalf("Rotate: %v", err)
			}
			stored, err := reopen(t, base, root).KeyInfo()
			if err != nil {
				t.Fatal(err)
			}
			wantTerm(t, b, stored.Term)
			// While the key changes, what is stored cannot be read back either.
			f.Fail(storagetest.Get, 2, storagetest.NotWritten)
			next, inEffect := secret.Random(32), root
			if err := b.Rekey(t.Context(), next); !errors.Is(err, storagetest.ErrInjected) {
				t.Fatalf("Rekey: %v", err)
			}
			if form == storagetest.WrittenButFailed {
				inEffect = next
			}
			f.Heal()
			apply(t, b, storage.Put("between", []byte("v")))
			if _, err := b.Rotate(t.Context()); err != nil {
				t.Fatalf("Rotate after the failures: %v", err)
			}
			if err := b.VerifyRoot(inEffect); err != nil {
				t.Errorf("VerifyRoot: %v", err)
			}
			again := reopen(t, base, inEffect)
			wantTerm(t, again, stored.Term+1)
			wantValue(t, again, "before", "v")
			wantValue(t, again, "between", "v")
		})
	}
}
