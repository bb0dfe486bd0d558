package barrier

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"coffer/barrier/secret"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// before writes a barrier as it was when there were no manifests.
func before(t *testing.T, root secret.Key) *memory.Store {
	t.Helper()
	k := newKeyring(time.Now())
	k.guarded = false
	data, err := k.seal(root)
	if err != nil {
		t.Fatal(err)
	}
	first, err := newTerm(k.active())
	if err != nil {
		t.Fatal(err)
	}
	s := memory.New()
	if err := s.Apply(t.Context(), storage.Put(keyringPath, data), first.reserveOp(1)); err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), s, root)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(t.Context(), storage.Put("policy/a", []byte("v")), storage.Put("other", []byte("v"))); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Rekey(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	for _, op := range s.Contents() {
		if strings.HasPrefix(op.Key, manifestPrefix) {
			t.Fatalf("%s was written", op.Key)
		}
	}
	return s
}

func TestUpgrade(t *testing.T) {
	root := secret.Random(32)
	scope := Scope{Revision: 1, Within: []string{"policy/"}}
	s := before(t, root)
	old, err := s.Get(t.Context(), keyringPath)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		b, err := Open(t.Context(), s, root)
		if err != nil {
			t.Fatal(err)
		}
		upgraded, err := b.Guard(t.Context(), scope)
		if err != nil || upgraded != (n == 0) {
			t.Fatalf("Guard %d = %v, %v", n, upgraded, err)
		}
		for _, key := range []string{"policy/a", "other"} {
			if got, err := b.Get(t.Context(), key); err != nil || string(got) != "v" {
				t.Errorf("Get(%q) = %q, %v", key, got, err)
			}
		}
		if info, err := b.KeyInfo(); err != nil || info.Term != 3 {
			t.Errorf("KeyInfo = %+v, %v; want a term of its own", info, err)
		}
		if err := b.Apply(t.Context(), storage.Put("policy/b", []byte("new"))); err != nil {
			t.Fatal(err)
		}
	}
	// With the old keyring, and without the manifest, what was written since does not open.
	for _, op := range s.Contents() {
		if strings.HasPrefix(op.Key, manifestPrefix) {
			if err := s.Apply(t.Context(), storage.Delete(op.Key)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Apply(t.Context(), storage.Put(keyringPath, old)); err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), s, root)
	if err == nil {
		_, err = b.Get(t.Context(), "policy/b")
	}
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("with the old keyring: %v; want ErrCorrupt", err)
	}
}

func TestUpgradeFaults(t *testing.T) {
	root := secret.Random(32)
	scope := Scope{Revision: 1, Within: []string{"policy/"}}
	open := func(t *testing.T) storage.Storage { return before(t, root) }
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, f *storagetest.Faulty) {
		if b, err := Open(t.Context(), f, root); err == nil {
			_, _ = b.Guard(t.Context(), scope)
		}
		b, err := Open(t.Context(), base, root)
		if err == nil {
			_, err = b.Guard(t.Context(), scope)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.Get(t.Context(), "policy/a"); err != nil || string(got) != "v" {
			t.Errorf("Get = %q, %v", got, err)
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	d := (*manifest)(nil).edit()
	d.revision, d.term, d.used = 1, 2, 3
	d.below = d.below.with(keyringPath, tag{1}).with("core/a", tag{2})
	d.tags[7] = tag{3}
	f.Add(d.encode())
	f.Add(d.encode()[:headerSize])
	f.Add([]byte{manifestVersion})
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := decodeHeader(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(h.encode(), data) {
			t.Fatal("what was decoded encodes to other bytes")
		}
	})
}
