package barrier_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"coffer/barrier"
	"coffer/storage"
	"coffer/storage/memory"
)

// account is a Watcher.
type account struct {
	reported            []storage.Damage
	replaced, discarded []string
}

func (a *account) Report(d storage.Damage)  { a.reported = append(a.reported, d) }
func (a *account) Any() bool                { return len(a.reported) > 0 }
func (a *account) Replaced(key string)      { a.replaced = append(a.replaced, key) }
func (a *account) Discarded(stored string)  { a.discarded = append(a.discarded, stored) }
func (a *account) last() (d storage.Damage) { return a.reported[len(a.reported)-1] }
func storedUnder(s *memory.Store) (n int)   { return len(below(s)) }
func below(s *memory.Store) (keys []string) {
	for key := range contents(s) {
		if values(key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// unnamed stores a value, or a folder with one, under a name that cannot be read.
func unnamed(t *testing.T, s *memory.Store, b storage.Storage, folder, name string) {
	t.Helper()
	before := contents(s)
	apply(t, b, storage.Put(folder+name, []byte("v")))
	for key, value := range contents(s) {
		if _, was := before[key]; was || !values(key) {
			continue
		}
		parts := strings.Split(key, "/")
		at := 1 + strings.Count(folder, "/")
		parts[at] = strings.Repeat("A", len(parts[at]))
		apply(t, s, storage.Delete(key), storage.Put(strings.Join(parts, "/"), value))
	}
}

// TestUnreadableNames lists, pages, clears and removes names that cannot be read.
func TestUnreadableNames(t *testing.T) {
	s := memory.New()
	b := create(t, s)
	a := &account{}
	b.Watch(a)
	apply(t, b, storage.Put("f/x", []byte("v")), storage.Put("g/x", []byte("v")))
	kept := storedUnder(s)
	unnamed(t, s, b, "f/", "y")
	unnamed(t, s, b, "f/", "z/deeper")
	if a.Any() {
		t.Errorf("reported before anybody looked: %v", a.reported)
	}
	if _, err := b.List(t.Context(), "f/", "", 0); !errors.Is(err, barrier.ErrCorrupt) {
		t.Errorf("List: %v; want ErrCorrupt", err)
	}
	if len(a.reported) != 2 || a.last().Key != "f/" || a.last().Stored == "" {
		t.Errorf("reported: %v; want both names", a.reported)
	}
	out := storage.LeaveOut(t.Context())
	if names, err := b.List(out, "f/", "", 0); err != nil || !slices.Equal(names, []string{"x"}) {
		t.Errorf("List that leaves out: %q, %v", names, err)
	}
	if names, _, err := b.Page(out, "f/", "", 10); err != nil || !slices.Equal(names, []string{"x"}) {
		t.Errorf("Page that leaves out: %q, %v", names, err)
	}
	if _, _, err := b.Page(t.Context(), "f/", "", 10); !errors.Is(err, barrier.ErrCorrupt) {
		t.Errorf("Page: %v; want ErrCorrupt", err)
	}
	// One is removed by its Damage, the other with the folder.
	if err := b.Remove(t.Context(), a.reported[0]); err != nil || len(a.discarded) != 1 {
		t.Errorf("Remove: %v, discarded %q", err, a.discarded)
	}
	if n := storedUnder(s); n != kept+1 {
		t.Errorf("%d values are left of %d", n, kept+1)
	}
	if err := storage.Clear(t.Context(), storage.NewView(b, "f/"), ""); err != nil {
		t.Error(err)
	}
	wantValue(t, b, "g/x", "v")
	if n := storedUnder(s); n != 1 || len(a.discarded) != 2 {
		t.Errorf("%d values are left, discarded %q", n, a.discarded)
	}
}

// TestRemoveTakesNothingThatCanBeRead asks to remove what is not damaged, or not any more.
func TestRemoveTakesNothingThatCanBeRead(t *testing.T) {
	s := memory.New()
	b := create(t, s)
	a := &account{}
	b.Watch(a)
	apply(t, b, storage.Put("f/x", []byte("v")))
	key := below(s)[0]
	value := contents(s)[key]
	apply(t, s, storage.Put(key, append(slices.Clone(value[:len(value)-1]), value[len(value)-1]^1)))
	if _, err := b.Get(t.Context(), "f/x"); !errors.Is(err, barrier.ErrCorrupt) {
		t.Fatal(err)
	}
	d := a.last()
	apply(t, s, storage.Put(key, value))
	if err := b.Remove(t.Context(), d); !errors.Is(err, barrier.ErrReadable) {
		t.Errorf("a value that can be read again: %v; want ErrReadable", err)
	}
	for _, stored := range []string{key, "core/keyring", "barrier/", "../x", key[:strings.LastIndexByte(key, '/')+1]} {
		if err := b.Remove(t.Context(), storage.Damage{Key: "f/", Stored: stored}); err == nil {
			t.Errorf("%q was removed", stored)
		}
	}
	wantValue(t, b, "f/x", "v")
	// What its owner could not use is the owner's to give up.
	owners := storage.Damage{Key: "f/x", Err: storage.ErrDamaged}
	if err := b.Remove(t.Context(), owners); err != nil || !slices.Contains(a.replaced, "f/x") {
		t.Errorf("%v, replaced %q", err, a.replaced)
	}
}
