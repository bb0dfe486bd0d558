package barrier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/barrier"
	"coffer/barrier/record"
	"coffer/barrier/secret"
	"coffer/storage"
	"coffer/storage/bolt"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

var root = secret.New(bytes.Repeat([]byte("r"), record.KeySize))

// create makes a barrier in s and opens it.
func create(t testing.TB, s storage.Storage) *barrier.Barrier {
	t.Helper()
	ops, err := barrier.Create(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	return reopen(t, s, root)
}

func reopen(t testing.TB, s storage.Storage, key secret.Key) *barrier.Barrier {
	t.Helper()
	b, err := barrier.Open(t.Context(), s, key)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return b
}

func apply(t testing.TB, s storage.Storage, batch ...storage.Op) {
	t.Helper()
	if err := s.Apply(t.Context(), batch...); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

func wantValue(t testing.TB, s storage.Storage, key, want string) {
	t.Helper()
	if got, err := s.Get(t.Context(), key); err != nil || string(got) != want {
		t.Fatalf("Get(%q) = %q, %v; want %q", key, got, err, want)
	}
}

func openBolt(t *testing.T) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(filepath.Join(t.TempDir(), "db"), bolt.WithoutSync())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) storage.Storage { return create(t, memory.New()) })
	})
	t.Run("bolt", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) storage.Storage { return create(t, openBolt(t)) })
	})
	t.Run("view of a barrier of a view", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) storage.Storage {
			return storage.NewView(create(t, storage.NewView(memory.New(), "below/")), "above/")
		})
	})
}

func TestOpen(t *testing.T) {
	s := memory.New()
	if exists, err := barrier.Exists(t.Context(), s); exists || err != nil {
		t.Fatalf("Exists = %v, %v before Create", exists, err)
	}
	if _, err := barrier.Open(t.Context(), s, root); !errors.Is(err, barrier.ErrNotInitialized) {
		t.Fatalf("Open before Create: %v; want ErrNotInitialized", err)
	}
	apply(t, create(t, s), storage.Put("k", []byte("v")))
	if exists, err := barrier.Exists(t.Context(), s); !exists || err != nil {
		t.Fatalf("Exists = %v, %v after Create", exists, err)
	}
	withoutKeyring := memory.New()
	apply(t, withoutKeyring, storage.Put("k", []byte("v")))
	if exists, err := barrier.Exists(t.Context(), withoutKeyring); exists || !errors.Is(err, storage.ErrDamaged) {
		t.Fatalf("Exists = %v, %v over data without a keyring", exists, err)
	}
	wantValue(t, reopen(t, s, root), "k", "v")
	for name, key := range map[string]secret.Key{"other": secret.Random(32), "short": secret.Random(31), "none": {}} {
		if b, err := barrier.Open(t.Context(), s, key); err == nil || b != nil {
			t.Errorf("Open with a %s key: %v", name, err)
		}
	}
	if _, err := barrier.Open(t.Context(), s, secret.Random(32)); !errors.Is(err, barrier.ErrWrongKey) {
		t.Errorf("Open with another key: %v; want ErrWrongKey", err)
	}
}

func TestNothingReadableBelow(t *testing.T) {
	s := memory.New()
	b := create(t, s)
	words := []string{"mount", "secretname", "alice", "canaryvalue"}
	value := []byte("canaryvalue")
	apply(t, b, storage.Put("mount/secretname/alice", value), storage.Put("alice", value))
	seen := map[string]bool{}
	for _, op := range s.Contents() {
		for _, word := range words {
			if strings.Contains(op.Key, word) || bytes.Contains(op.Value, []byte(word)) {
				t.Errorf("%q is readable in %q = %q", word, op.Key, op.Value)
			}
		}
		name := op.Key[strings.LastIndexByte(op.Key, '/')+1:]
		if seen[name] {
			t.Errorf("the same name in two folders is stored as the same %q", name)
		}
		seen[name] = true
	}
}

func TestNamesCannotBeMoved(t *testing.T) {
	s := memory.New()
	b := create(t, s)
	apply(t, b, storage.Put("a/x", nil), storage.Put("b/y", nil))
	if _, err := b.List(t.Context(), "a/", "", 0); err != nil {
		t.Fatal(err)
	}
	var folders []string
	var x string
	for _, op := range s.Contents() {
		if key, ok := strings.CutPrefix(op.Key, "barrier/"); ok {
			folder, name, _ := strings.Cut(key, "/")
			folders = append(folders, folder)
			x = name
		}
	}
	// The last name goes into the other folder; the cache of listed names must not vouch for it.
	apply(t, s, storage.Put("barrier/"+folders[0]+"/"+x, nil))
	failed := 0
	for range 2 {
		for _, folder := range []string{"a/", "b/"} {
			if _, err := b.List(t.Context(), folder, "", 0); errors.Is(err, barrier.ErrCorrupt) {
				failed++
				if !strings.Contains(err.Error(), folder) {
					t.Errorf("the error does not name the folder: %v", err)
				}
			}
		}
	}
	if failed != 2 {
		t.Errorf("%d listings failed, want 2", failed)
	}
}

// encrypted returns the storage key below that holds the barrier's only value.
func encrypted(t *testing.T, s *memory.Store) (key string, value []byte) {
	t.Helper()
	for _, op := range s.Contents() {
		if strings.HasPrefix(op.Key, "barrier/") {
			if key != "" {
				t.Fatal("more than one value")
			}
			key, value = op.Key, bytes.Clone(op.Value)
		}
	}
	return key, value
}

func TestTamperedValues(t *testing.T) {
	foreign := memory.New()
	apply(t, create(t, foreign), storage.Put("folder/key", []byte("foreign")))
	_, foreignValue := encrypted(t, foreign)
	moved := memory.New()
	for _, test := range []struct {
		name   string
		tamper func(value []byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"one byte", func(v []byte) []byte { return v[:1] }},
		{"shorter than a record", func(v []byte) []byte { return v[:record.Overhead-1] }},
		{"truncated", func(v []byte) []byte { return v[:len(v)-1] }},
		{"longer", func(v []byte) []byte { return append(v, 0) }},
		{"version", func(v []byte) []byte { v[0] = 9; return v }},
		{"unknown term", func(v []byte) []byte { v[1] = 9; return v }},
		{"other term", func(v []byte) []byte { v[4] = 2; return v }},
		{"nonce", func(v []byte) []byte { v[6]++; return v }},
		{"ciphertext", func(v []byte) []byte { v[20]++; return v }},
		{"of another barrier", func([]byte) []byte { return foreignValue }},
		{"plaintext", func([]byte) []byte { return bytes.Repeat([]byte("plain"), 20) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := memory.New()
			b := create(t, s)
			if _, err := b.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			b = reopen(t, s, root)
			apply(t, b, storage.Put("folder/key", []byte("value")))
			at, value := encrypted(t, s)
			value[4] = 2
			apply(t, s, storage.Put(at, test.tamper(value)))
			got, err := b.Get(t.Context(), "folder/key")
			if test.name == "other term" {
				// It already is of term 2: the control that untouched bytes do open.
				if err != nil || string(got) != "value" {
					t.Fatalf("control: %q, %v", got, err)
				}
				return
			}
			if !errors.Is(err, barrier.ErrCorrupt) || got != nil {
				t.Fatalf("Get = %q, %v; want ErrCorrupt", got, err)
			}
			if !strings.Contains(err.Error(), `"folder/key"`) {
				t.Errorf("the error does not name the key: %v", err)
			}
		})
	}
	t.Run("moved", func(t *testing.T) {
		b := create(t, moved)
		apply(t, b, storage.Put("one", []byte("first")))
		from, value := encrypted(t, moved)
		apply(t, b, storage.Put("two", []byte("second")))
		for _, op := range moved.Contents() {
			if strings.HasPrefix(op.Key, "barrier/") && op.Key != from {
				apply(t, moved, storage.Put(op.Key, value))
			}
		}
		if got, err := b.Get(t.Context(), "two"); !errors.Is(err, barrier.ErrCorrupt) || got != nil {
			t.Errorf("Get of a moved value = %q, %v; want ErrCorrupt", got, err)
		}
		wantValue(t, b, "one", "first")
	})
}

func TestTamperedCore(t *testing.T) {
	for _, test := range []struct {
		name   string
		tamper func(s *memory.Store) storage.Op
		want   error
	}{
		{"keyring truncated", truncate("core/keyring"), barrier.ErrWrongKey},
		{"keyring empty", always(storage.Put("core/keyring", nil)), barrier.ErrCorrupt},
		{"counter truncated", truncate("core/encryptions/1"), barrier.ErrCorrupt},
		{"counter missing", always(storage.Delete("core/encryptions/1")), barrier.ErrCorrupt},
		{"counter is a value", func(s *memory.Store) storage.Op {
			_, value := encrypted(t, s)
			return storage.Put("core/encryptions/1", value)
		}, barrier.ErrCorrupt},
	} {
		s := memory.New()
		// The value has the name and the length of a counter.
		apply(t, create(t, s), storage.Put("core/encryptions/1", make([]byte, 8)))
		apply(t, s, test.tamper(s))
		if _, err := barrier.Open(t.Context(), s, root); !errors.Is(err, test.want) {
			t.Errorf("%s: %v; want %v", test.name, err, test.want)
		}
	}
}

func always(op storage.Op) func(*memory.Store) storage.Op {
	return func(*memory.Store) storage.Op { return op }
}

func truncate(key string) func(*memory.Store) storage.Op {
	return func(s *memory.Store) storage.Op {
		value, _ := s.Get(context.Background(), key)
		return storage.Put(key, value[:len(value)-1])
	}
}

func TestClose(t *testing.T) {
	b := create(t, memory.New())
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, getErr := b.Get(t.Context(), "k")
	_, listErr := b.List(t.Context(), "", "", 0)
	_, infoErr := b.KeyInfo()
	_, configErr := b.RotationConfig()
	_, rotateErr := b.Rotate(t.Context())
	_, maybeErr := b.MaybeRotate(t.Context())
	for call, err := range map[string]error{
		"Get": getErr, "List": listErr, "KeyInfo": infoErr, "RotationConfig": configErr, "Rotate": rotateErr,
		"MaybeRotate": maybeErr, "Apply": b.Apply(t.Context(), storage.Put("k", nil)),
		"SetRotationConfig": b.SetRotationConfig(t.Context(), barrier.DefaultRotationConfig()),
		"Rekey":             b.Rekey(t.Context(), secret.Random(32)), "VerifyRoot": b.VerifyRoot(root),
	} {
		if !errors.Is(err, barrier.ErrSealed) || !errors.Is(err, storage.ErrClosed) {
			t.Errorf("%s after Close: %v; want ErrSealed", call, err)
		}
	}
}

func TestOneApplyBelowForOneAbove(t *testing.T) {
	f := storagetest.NewFaulty(memory.New())
	b := create(t, f)
	before := f.Calls(storagetest.Apply)
	const n = 20_000 // more than two reservations
	for i := range n {
		apply(t, b, storage.Put(fmt.Sprint(i%10), nil))
	}
	if got := f.Calls(storagetest.Apply) - before; got != n {
		t.Errorf("%d Applies became %d", n, got)
	}
}

func TestTooLong(t *testing.T) {
	b := create(t, memory.New())
	deep := strings.Repeat("d/", storage.MaxKeySize/2-1) + "d"
	if err := b.Apply(t.Context(), storage.Put(deep, nil)); !errors.Is(err, storage.ErrInvalidKey) {
		t.Errorf("Apply of a key that is too long when encrypted: %v; want ErrInvalidKey", err)
	}
	if _, err := b.List(t.Context(), deep+"/", "", 0); !errors.Is(err, storage.ErrInvalidKey) {
		t.Errorf("List of a folder that is too long when encrypted: %v; want ErrInvalidKey", err)
	}
	err := b.Apply(t.Context(), storage.Put("k", make([]byte, storage.MaxValueSize)))
	if !errors.Is(err, storage.ErrValueTooLarge) {
		t.Errorf("Apply of a value that is too large when encrypted: %v; want ErrValueTooLarge", err)
	}
}

func TestFaultsLeaveWholeBatches(t *testing.T) {
	open := func(*testing.T) storage.Storage { return memory.New() }
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, f *storagetest.Faulty) {
		create(t, base)
		b, err := barrier.Open(t.Context(), f, root)
		if err != nil {
			return
		}
		for i := range 5 {
			v := fmt.Append(nil, i)
			_ = b.Apply(t.Context(), storage.Put("x", v), storage.Put(fmt.Sprint("n/", i), v), storage.Put("y", v))
		}
		again := reopen(t, base, root)
		x, err := again.Get(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		wantValue(t, again, "y", string(x))
		names, err := again.List(t.Context(), "n/", "", 0)
		if err != nil || !slices.Contains(names, string(x)) || len(names) < 2 {
			t.Errorf("names %q, %v; x is %s", names, err, x)
		}
	})
}

// FuzzStoredValue puts bytes where a value is stored.
func FuzzStoredValue(f *testing.F) {
	s := memory.New()
	b := create(f, s)
	apply(f, b, storage.Put("key", []byte("value")))
	var at string
	for _, op := range s.Contents() {
		if strings.HasPrefix(op.Key, "barrier/") {
			at = op.Key
			f.Add(op.Value[:len(op.Value)-1])
		} else {
			f.Add(op.Value)
		}
	}
	f.Add([]byte(nil))
	f.Add([]byte{1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		apply(t, s, storage.Put(at, data))
		got, err := b.Get(t.Context(), "key")
		if !errors.Is(err, barrier.ErrCorrupt) || !strings.Contains(err.Error(), "key") {
			t.Fatalf("Get = %q, %v; want ErrCorrupt", got, err)
		}
	})
}

// FuzzStoredName puts a foreign name into a folder.
func FuzzStoredName(f *testing.F) {
	for _, name := range []string{"a", "AAAA", "=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "a\x00"} {
		f.Add(name)
	}
	s := memory.New()
	b := create(f, s)
	f.Fuzz(func(t *testing.T, name string) {
		key := "barrier/" + name
		if storage.CheckKey(key) != nil {
			return
		}
		apply(t, s, storage.Put(key, nil))
		defer apply(t, s, storage.Delete(key))
		if got, err := b.List(t.Context(), "", "", 0); !errors.Is(err, barrier.ErrCorrupt) {
			t.Fatalf("List = %q, %v; want ErrCorrupt", got, err)
		}
	})
}

func BenchmarkGet(b *testing.B) {
	for _, test := range []struct {
		name string
		keys int
	}{{"cached", 1}, {"uncached", 100_000}} {
		b.Run(test.name, func(b *testing.B) {
			s := create(b, memory.New())
			keys := make([]string, test.keys)
			for i := range keys {
				keys[i] = fmt.Sprintf("logical/8f14e45f-ceea-467f-a9d5/versions/app%d/config", i)
				apply(b, s, storage.Put(keys[i], make([]byte, 256)))
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := s.Get(b.Context(), keys[i%len(keys)]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	s := create(b, memory.New())
	value := make([]byte, 256)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		apply(b, s, storage.Put(fmt.Sprintf("logical/8f14e45f-ceea-467f-a9d5/versions/app%d", i%100_000), value))
		i++
	}
}

func BenchmarkList(b *testing.B) {
	for _, n := range []int{10, 1000, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := create(b, memory.New())
			for i := range n {
				apply(b, s, storage.Put(fmt.Sprintf("logical/f/app%d", i), nil))
			}
			b.ReportAllocs()
			for b.Loop() {
				if names, err := s.List(b.Context(), "logical/f/", "", 0); err != nil || len(names) != n {
					b.Fatal(len(names), err)
				}
			}
		})
	}
}

func TestListPageOfEncryptedNames(t *testing.T) {
	b := create(t, memory.New())
	var want []string
	for i := range 300 {
		want = append(want, fmt.Sprintf("n%03d", i))
		apply(t, b, storage.Put("f/"+want[i], nil))
	}
	got, err := b.List(t.Context(), "f/", "n100", 5)
	if diff := cmp.Diff(want[101:106], got); err != nil || diff != "" {
		t.Errorf("%v: -want +got\n%s", err, diff)
	}
}

// TestPagesOfEncryptedNames shows that a page reads as many names as it has.
func TestPagesOfEncryptedNames(t *testing.T) {
	tally := &storagetest.Tally{Storage: memory.New()}
	b := create(t, tally)
	var batch []storage.Op
	for i := range 3000 {
		batch = append(batch, storage.Put(fmt.Sprintf("f/%d", i), nil))
	}
	apply(t, b, batch...)
	before := tally.Names()
	names, next, err := storage.Page(t.Context(), b, "f/", "", 10)
	if err != nil || len(names) != 10 || next == "" || tally.Names()-before != 10 {
		t.Errorf("%q, %q, %v with %d names read", names, next, err, tally.Names()-before)
	}
	if err := storage.Clear(t.Context(), b, "f/"); err != nil || tally.Names()-before > 3100 {
		t.Errorf("%v with %d names read", err, tally.Names()-before)
	}
}

// TestPagesOfACoveredFolder finds what was removed behind the barrier's back.
func TestPagesOfACoveredFolder(t *testing.T) {
	s := memory.New()
	b := create(t, s)
	if _, err := b.Guard(t.Context(), barrier.Scope{Revision: 1, Within: []string{"f/"}}); err != nil {
		t.Fatal(err)
	}
	apply(t, b, storage.Put("f/a", nil), storage.Put("f/b", nil))
	for _, op := range s.Contents() {
		if values(op.Key) {
			apply(t, s, storage.Delete(op.Key))
		}
	}
	names, next, err := storage.Page(t.Context(), b, "f/", "", 1)
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" || next != "" || err != nil {
		t.Errorf("%q, %v %s", next, err, diff)
	}
}
