package token

import (
	"errors"
	"testing"

	"coffer/storage"
)

// TestEndlessTokensHaveMarks revokes a root token and puts its record back.
func TestEndlessTokensHaveMarks(t *testing.T) {
	f := newFixture(t)
	marks := func() int { return len(keysOf(t, storage.NewView(f.base, endlessFolder))) }
	before := marks()
	text, err := f.store.CreateRoot(t.Context())
	if err != nil || marks() != before+1 {
		t.Fatalf("%d marks more, %v", marks()-before, err)
	}
	f.make(f.root, params{"policies": []any{"p"}})
	if marks() != before+1 {
		t.Error("a token with an end has a mark")
	}
	id := f.entry(text).ID
	record, err := f.base.Get(t.Context(), entryKey(id))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.store.RevokeID(t.Context(), id); err != nil || marks() != before {
		t.Fatalf("%d marks are left, %v", marks()-before, err)
	}
	if err := f.base.Apply(t.Context(), storage.Put(entryKey(id), record)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Authenticate(t.Context(), text); !errors.Is(err, ErrCorrupt) {
		t.Errorf("the record put back: %v; want ErrCorrupt", err)
	}
	if err := f.store.RevokeID(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Authenticate(t.Context(), text); !errors.Is(err, ErrBadToken) {
		t.Errorf("revoked again: %v; want ErrBadToken", err)
	}
}

// TestEndlessTokensOfBefore opens a store that was written when there were no marks.
func TestEndlessTokensOfBefore(t *testing.T) {
	f := newFixture(t)
	text, err := f.store.CreateRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = f.base.Apply(t.Context(), storage.Delete(endlessKnown), storage.Delete(endlessKey(f.root.ID)),
		storage.Delete(endlessKey(f.entry(text).ID)))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again, err := NewStore(t.Context(), f.store.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.Authenticate(t.Context(), text); err != nil {
			t.Error(err)
		}
	}
}
