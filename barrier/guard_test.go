package barrier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/barrier"
	"coffer/barrier/secret"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

func scope() barrier.Scope {
	return barrier.Scope{Revision: 1, Within: []string{"policy/", "one"},
		Except: func(key string) bool { return strings.HasPrefix(key, "policy/hot/") }}
}

// guarded opens the barrier in s, which is made when there is none, and guards it.
func guarded(t testing.TB, s storage.Storage) *barrier.Barrier {
	t.Helper()
	exists, err := barrier.Exists(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if !exists {
		create(t, s)
		apply(t, s, storage.Put("core/root-key", []byte("wrapped")), storage.Put("core/recovery-key", []byte("first")))
	}
	b := reopen(t, s, root)
	if _, err := b.Guard(t.Context(), scope()); err != nil {
		t.Fatalf("Guard: %v", err)
	}
	return b
}

// contents returns what the storage holds.
func contents(s *memory.Store) map[string][]byte {
	all := map[string][]byte{}
	for _, op := range s.Contents() {
		all[op.Key] = bytes.Clone(op.Value)
	}
	return all
}

// putBack makes the storage hold what it held before, for the keys that want says.
func putBack(t *testing.T, s *memory.Store, before map[string][]byte, want func(key string) bool) {
	t.Helper()
	now := contents(s)
	keys := maps.Clone(before)
	maps.Copy(keys, now)
	n := 0
	for key := range keys {
		old, was := before[key]
		if !want(key) || was && bytes.Equal(old, now[key]) {
			continue
		}
		n++
		if was {
			apply(t, s, storage.Put(key, old))
		} else {
			apply(t, s, storage.Delete(key))
		}
	}
	if n == 0 {
		t.Fatal("nothing was put back")
	}
}

func values(key string) bool { return strings.HasPrefix(key, "barrier/") }

func wantStale(t *testing.T, s storage.Storage, key string) {
	t.Helper()
	got, err := s.Get(t.Context(), key)
	if !errors.Is(err, barrier.ErrCorrupt) || got != nil {
		t.Errorf("Get(%q) = %q, %v; want ErrCorrupt", key, got, err)
	} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", key)) {
		t.Errorf("the error does not name the key: %v", err)
	}
}

// TestReplayOfOneRecord puts back what a key held before a change, and looks at it with the barrier that made the
// change and with one that is opened later.
func TestReplayOfOneRecord(t *testing.T) {
	for name, change := range map[string]storage.Op{
		"an old value":             storage.Put("policy/a", []byte("new")),
		"a value that was deleted": storage.Delete("policy/a"),
		"a value in a folder":      storage.Put("policy/team/b", []byte("new")),
		"a new value is removed":   storage.Put("policy/c", []byte("new")),
		"a key by itself":          storage.Put("one", []byte("new")),
	} {
		t.Run(name, func(t *testing.T) {
			s := memory.New()
			b := guarded(t, s)
			apply(t, b, storage.Put("policy/a", []byte("old")), storage.Put("policy/team/b", []byte("old")),
				storage.Put("one", []byte("old")), storage.Put("other", []byte("old")))
			before := contents(s)
			apply(t, b, change, storage.Put("policy/unchanged", []byte("new")))
			after := contents(s)
			putBack(t, s, before, func(key string) bool { return values(key) && isOf(t, s, key, change.Key) })
			for _, b := range []*barrier.Barrier{b, guarded(t, s)} {
				wantStale(t, b, change.Key)
				wantValue(t, b, "other", "old")
				wantValue(t, b, "policy/unchanged", "new")
				if folder, name, found := strings.Cut(change.Key, "/"); found {
					first, rest, below := strings.Cut(name, "/")
					if below {
						first += "/"
					}
					names, err := b.List(t.Context(), folder+"/", "", 0)
					if err != nil || !slices.Contains(names, first) {
						t.Errorf("List = %q, %v; want %q in it, of which a reader learns (%q)", names, err, first, rest)
					}
				}
			}
			putBack(t, s, after, values)
			b = guarded(t, s)
			if got, err := b.Get(t.Context(), change.Key); errors.Is(err, barrier.ErrCorrupt) || string(got) != string(change.Value) {
				t.Errorf("with the new one back: %q, %v", got, err)
			}
		})
	}
}

// isOf reports whether a key below is where the record of a key behind the barrier is: writing the one changes the other.
func isOf(t *testing.T, s *memory.Store, below, key string) bool {
	t.Helper()
	scratch := memory.New()
	apply(t, scratch, s.Contents()...)
	probe := reopen(t, scratch, root)
	apply(t, probe, storage.Put(key, []byte("probe")))
	was, err := s.Get(t.Context(), below)
	is, isErr := scratch.Get(t.Context(), below)
	return !errors.Is(isErr, storage.ErrNotFound) && (err != nil || !bytes.Equal(was, is))
}

// TestChangesMendWhatWasReplayed writes and deletes keys whose records were put back: an operator needs no more.
func TestChangesMendWhatWasReplayed(t *testing.T) {
	s := memory.New()
	b := guarded(t, s)
	apply(t, b, storage.Put("policy/a", []byte("old")), storage.Put("policy/b", []byte("old")))
	before := contents(s)
	apply(t, b, storage.Put("policy/a", []byte("new")), storage.Delete("policy/b"))
	putBack(t, s, before, values)
	wantStale(t, b, "policy/a")
	wantStale(t, b, "policy/b")
	apply(t, b, storage.Put("policy/a", []byte("newest")), storage.Delete("policy/b"))
	for _, b := range []*barrier.Barrier{b, guarded(t, s)} {
		wantValue(t, b, "policy/a", "newest")
		names, err := b.List(t.Context(), "policy/", "", 0)
		if diff := cmp.Diff([]string{"a"}, names); err != nil || diff != "" {
			t.Errorf("%v: -want +got\n%s", err, diff)
		}
	}
}

// TestReplayOfTheManifest puts back parts of the manifest with the records, and other records of the storage.
func TestReplayOfTheManifest(t *testing.T) {
	manifest := func(key string) bool { return strings.HasPrefix(key, "core/manifest/") }
	is := func(keys ...string) func(string) bool {
		return func(key string) bool { return slices.Contains(keys, key) }
	}
	for _, test := range []struct {
		name   string
		change func(t *testing.T, b *barrier.Barrier) error
		back   func(key string) bool
		names  string
	}{
		{"the shards", put("policy/a", "new"), func(key string) bool { return manifest(key) && key != "core/manifest/root" }, "core/manifest/"},
		{"the shards and the records", put("policy/a", "new"),
			func(key string) bool { return (manifest(key) || values(key)) && key != "core/manifest/root" }, "core/manifest/"},
		{"the root", put("policy/a", "new"), is("core/manifest/root"), "core/manifest/"},
		{"the keyring", setConfig, is("core/keyring"), "core/keyring"},
		{"the keyring before a rotation, with its counter", rotate,
			func(key string) bool { return key == "core/keyring" || strings.HasPrefix(key, "core/encryptions/") }, "core/keyring"},
		{"the counter", many, is("core/encryptions/1"), "core/encryptions/1"},
		{"the recovery key", func(t *testing.T, b *barrier.Barrier) error {
			return b.Below().Apply(t.Context(), storage.Put("core/recovery-key", []byte("second")))
		}, is("core/recovery-key"), "core/recovery-key"},
		{"the recovery key before a rekey", func(t *testing.T, b *barrier.Barrier) error {
			return b.Rekey(t.Context(), root, storage.Put("core/recovery-key", []byte("second")))
		}, is("core/recovery-key"), "core/recovery-key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := memory.New()
			b := guarded(t, s)
			apply(t, b, storage.Put("policy/a", []byte("old")), storage.Put("policy/b", []byte("old")))
			before := contents(s)
			if err := test.change(t, b); err != nil {
				t.Fatal(err)
			}
			if _, err := barrier.Open(t.Context(), s, root); err != nil {
				t.Fatalf("before anything is put back: %v", err)
			}
			putBack(t, s, before, test.back)
			_, err := barrier.Open(t.Context(), s, root)
			if !errors.Is(err, barrier.ErrCorrupt) || !strings.Contains(err.Error(), test.names) {
				t.Errorf("Open: %v; want ErrCorrupt that names %s", err, test.names)
			}
		})
	}
}

func put(key, value string) func(*testing.T, *barrier.Barrier) error {
	return func(t *testing.T, b *barrier.Barrier) error {
		return b.Apply(t.Context(), storage.Put(key, []byte(value)))
	}
}

func setConfig(t *testing.T, b *barrier.Barrier) error {
	return b.SetRotationConfig(t.Context(), barrier.RotationConfig{MaxOperations: barrier.MinOperations})
}

func rotate(t *testing.T, b *barrier.Barrier) error {
	_, err := b.Rotate(t.Context())
	return err
}

// many writes until the counter's bound has moved, and then what the manifest covers.
func many(t *testing.T, b *barrier.Barrier) error {
	for range 20_000 {
		apply(t, b, storage.Put("other", nil))
	}
	return b.Apply(t.Context(), storage.Put("policy/a", nil))
}

// TestWholeRollbackOpens is what nobody can tell: the storage as a whole as it was, such as a backup.
func TestWholeRollbackOpens(t *testing.T) {
	s := memory.New()
	b := guarded(t, s)
	apply(t, b, storage.Put("policy/a", []byte("old")))
	before := contents(s)
	apply(t, b, storage.Put("policy/a", []byte("new")))
	if err := rotate(t, b); err != nil {
		t.Fatal(err)
	}
	putBack(t, s, before, func(string) bool { return true })
	b = guarded(t, s)
	wantValue(t, b, "policy/a", "old")
	apply(t, b, storage.Put("policy/a", []byte("newer")))
	wantValue(t, guarded(t, s), "policy/a", "newer")
}

// TestManifestCannotBeTakenAway removes all of it: that is not how a storage looks that never had one.
func TestManifestCannotBeTakenAway(t *testing.T) {
	s := memory.New()
	apply(t, guarded(t, s), storage.Put("policy/a", []byte("v")))
	for key := range contents(s) {
		if strings.HasPrefix(key, "core/manifest/") {
			apply(t, s, storage.Delete(key))
		}
	}
	if _, err := barrier.Open(t.Context(), s, root); !errors.Is(err, barrier.ErrCorrupt) {
		t.Errorf("Open: %v; want ErrCorrupt", err)
	}
}

func TestBelow(t *testing.T) {
	s := memory.New()
	below := guarded(t, s).Below()
	wantValue(t, below, "core/root-key", "wrapped")
	apply(t, below, storage.Put("core/root-key", []byte("new")), storage.Put("core/backup", []byte("shares")))
	wantValue(t, below, "core/root-key", "new")
	wantValue(t, s, "core/backup", "shares")
	apply(t, s, storage.Put("core/root-key", []byte("wrapped")))
	wantStale(t, below, "core/root-key")
	apply(t, below, storage.Put("core/root-key", []byte("newest")), storage.Delete("core/backup"))
	apply(t, s, storage.Put("core/backup", []byte("shares")))
	wantStale(t, below, "core/backup")
	b := guarded(t, s)
	wantStale(t, b.Below(), "core/backup")
	wantValue(t, b.Below(), "core/root-key", "newest")
	names, err := below.List(t.Context(), "core/", "", 0)
	if err != nil || !slices.Contains(names, "root-key") {
		t.Errorf("List = %q, %v", names, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Below().Apply(t.Context(), storage.Put("core/root-key", nil)); !errors.Is(err, barrier.ErrSealed) {
		t.Errorf("Apply after Close: %v; want ErrSealed", err)
	}
}

// TestScopeOfAnotherRevision covers more, and less, than what the stored manifest does.
func TestScopeOfAnotherRevision(t *testing.T) {
	s := memory.New()
	apply(t, guarded(t, s), storage.Put("policy/a", []byte("v")), storage.Put("user/x", []byte("old")))
	before := contents(s)
	apply(t, guarded(t, s), storage.Put("user/x", []byte("new")))
	b := reopen(t, s, root)
	upgraded, err := b.Guard(t.Context(), barrier.Scope{Revision: 2, Within: []string{"user/"}})
	if err != nil || upgraded {
		t.Fatalf("Guard = %v, %v", upgraded, err)
	}
	wantTerm(t, b, 1)
	wantValue(t, b, "user/x", "new")
	putBack(t, s, before, values)
	wantStale(t, b, "user/x")
	wantValue(t, b, "policy/a", "v")
}

func TestGuardConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Storage {
		return storage.NewView(guarded(t, memory.New()), "policy/")
	})
}

// TestGuardFaults lets each call fail while covered records change: none is ever taken for a replayed one.
func TestGuardFaults(t *testing.T) {
	open := func(t *testing.T) storage.Storage {
		s := memory.New()
		apply(t, guarded(t, s), storage.Put("policy/a", []byte("0")), storage.Put("policy/gone", []byte("0")))
		return s
	}
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, f *storagetest.Faulty) {
		b, err := barrier.Open(t.Context(), f, root)
		if errors.Is(err, barrier.ErrCorrupt) {
			t.Fatal(err)
		}
		if err != nil {
			return
		}
		if _, err := b.Guard(t.Context(), scope()); err != nil {
			return
		}
		wants := map[string]string{"policy/a": "0", "policy/gone": "0"}
		do := func(op storage.Op) {
			err := b.Apply(t.Context(), op)
			got, getErr := b.Get(t.Context(), op.Key)
			for errors.Is(getErr, storagetest.ErrInjected) || errors.Is(getErr, storage.ErrUnsettled) {
				got, getErr = b.Get(t.Context(), op.Key)
			}
			if errors.Is(getErr, storage.ErrNotFound) {
				got, getErr = []byte("-"), nil
			}
			want := string(op.Value)
			if op.Remove {
				want = "-"
			}
			if getErr != nil || err == nil && string(got) != want || err != nil && string(got) != want && string(got) != wants[op.Key] {
				t.Errorf("%q after %v: %q, %v", op.Key, err, got, getErr)
			}
			wants[op.Key] = string(got)
		}
		do(storage.Put("policy/a", []byte("1")))
		do(storage.Delete("policy/gone"))
		_, _ = b.Rotate(t.Context())
		do(storage.Put("policy/a", []byte("2")))
		_ = b.Rekey(t.Context(), root, storage.Put("core/root-key", []byte("new")))
		_ = b.Below().Apply(t.Context(), storage.Put("core/recovery-key", []byte("new")))
		do(storage.Put("policy/gone", []byte("3")))
		for _, key := range []string{"core/root-key", "core/recovery-key"} {
			if _, err := b.Below().Get(t.Context(), key); errors.Is(err, barrier.ErrCorrupt) {
				t.Error(err)
			}
		}
		again := guarded(t, base)
		for key, want := range wants {
			if want != "-" {
				wantValue(t, again, key, want)
			}
		}
		f.Heal()
		apply(t, b, storage.Put("policy/a", []byte("last")))
		wantValue(t, guarded(t, base), "policy/a", "last")
	})
}

// TestGuardBesideReaders reads covered keys while they change, rotate and move: no change is taken for a replay.
func TestGuardBesideReaders(t *testing.T) {
	s := memory.New()
	b := guarded(t, s)
	ctx, stop := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for w := range 4 {
		key := fmt.Sprint("policy/", w)
		readers.Go(func() {
			for ctx.Err() == nil {
				if _, err := b.Get(t.Context(), key); err != nil && !errors.Is(err, storage.ErrNotFound) {
					t.Error(err)
					return
				}
				if _, err := b.List(t.Context(), "policy/", "", 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
		writers.Go(func() {
			for i := range 100 {
				op := storage.Put(key, fmt.Append(nil, i))
				if i%3 == 2 {
					op = storage.Delete(key)
				}
				if err := b.Apply(t.Context(), op, storage.Put("policy/hot/x", nil)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		if _, err := b.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
	}
	writers.Wait()
	stop()
	readers.Wait()
	guarded(t, s)
}

// TestUncoveredRecordsCostNothing counts what is written for a record that the manifest does not cover.
func TestUncoveredRecordsCostNothing(t *testing.T) {
	s := memory.New()
	b := guarded(t, s)
	apply(t, b, storage.Put("policy/a", nil))
	before := contents(s)
	apply(t, b, storage.Put("other", nil), storage.Put("policy/hot/x", nil), storage.Put("only", nil))
	changed := 0
	for key, value := range contents(s) {
		if old, ok := before[key]; !ok || !bytes.Equal(old, value) {
			changed++
		}
	}
	if changed != 3 {
		t.Errorf("three records changed %d", changed)
	}
	if _, err := b.Get(t.Context(), "policy/hot/y"); !errors.Is(err, storage.ErrNotFound) {
		t.Error(err)
	}
	if err := b.VerifyRoot(secret.Random(32)); !errors.Is(err, barrier.ErrWrongKey) {
		t.Error(err)
	}
}
