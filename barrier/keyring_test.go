package barrier

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"coffer/barrier/secret"
	"coffer/storage"
	"coffer/storage/memory"
)

func sampleKeyring() keyring {
	k := newKeyring(time.Unix(1_700_000_000, 0)).withNewTerm(time.Unix(1_800_000_000, 0))
	k.config = RotationConfig{Enabled: true, MaxOperations: MinOperations, Interval: MinInterval}
	return k
}

func TestKeyringRoundTrip(t *testing.T) {
	k := sampleKeyring()
	root := secret.Random(32)
	data, err := k.seal(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, secretBytes := range [][]byte{k.names.Reveal(), k.terms[0].key.Reveal(), k.terms[1].key.Reveal()} {
		if bytes.Contains(data, secretBytes[:8]) {
			t.Error("the record shows a key")
		}
	}
	got, err := openKeyring(data, root)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.encode(), k.encode()) || got.config != k.config || len(got.terms) != 2 ||
		!got.terms[1].installed.Equal(time.Unix(1_800_000_000, 0)) || got.active().id != 2 {
		t.Errorf("got %+v, want %+v", got, k)
	}
}

func TestDecodeKeyringRefuses(t *testing.T) {
	for name, change := range map[string]func(b []byte) []byte{
		"empty":              func([]byte) []byte { return nil },
		"no terms":           func(b []byte) []byte { return b[:keyringHeader] },
		"part of a term":     func(b []byte) []byte { return b[:len(b)-1] },
		"version":            func(b []byte) []byte { b[0] = 3; return b },
		"flag":               func(b []byte) []byte { b[1] = 2; return b },
		"operations":         func(b []byte) []byte { b[2] = 1; return b },
		"interval":           func(b []byte) []byte { b[10] = 1; return b },
		"terms out of order": func(b []byte) []byte { b[keyringHeader+3] = 2; return b },
		"term 0":             func(b []byte) []byte { b[keyringHeader+3] = 0; return b },
	} {
		if _, err := decodeKeyring(change(sampleKeyring().encode())); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v; want ErrCorrupt", name, err)
		}
	}
}

func TestZero(t *testing.T) {
	k := sampleKeyring()
	k.zero()
	for _, key := range []secret.Key{k.names, k.terms[0].key, k.terms[1].key} {
		if bytes.Equal(key.Reveal(), make([]byte, key.Len())) {
			continue
		}
		t.Error("a key is left")
	}
}

func FuzzDecodeKeyring(f *testing.F) {
	f.Add([]byte{})
	f.Add(sampleKeyring().encode())
	f.Add(newKeyring(time.Unix(0, 0)).encode())
	f.Add(keyring{names: secret.Random(nameKeySize), config: DefaultRotationConfig()}.withNewTerm(time.Unix(0, 0)).encode())
	f.Add(make([]byte, keyringHeader+keyringTerm))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := decodeKeyring(data)
		if err != nil {
			return
		}
		if !bytes.Equal(k.encode(), data) {
			t.Fatal("what was decoded encodes to other bytes")
		}
	})
}

func FuzzOpenKeyring(f *testing.F) {
	root := secret.New(make([]byte, 32))
	data, err := sampleKeyring().seal(root)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add(data[:len(data)-1])
	f.Add(append([]byte{2}, data[1:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := openKeyring(bytes.Clone(data), root); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrWrongKey) {
			t.Fatalf("made up bytes: %v", err)
		}
	})
}

func TestEncryptedLen(t *testing.T) {
	n, err := newNameCipher(secret.Random(nameKeySize))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "a/b", "abc/d/efgh", "a/" + string(bytes.Repeat([]byte("x"), 500)) + "/y"} {
		at, err := n.key(key)
		if err != nil || len(at.encrypted) != encryptedLen(key) {
			t.Errorf("%q has %d bytes encrypted, %v; computed %d", key, len(at.encrypted), err, encryptedLen(key))
		}
		folder, err := n.folder(key + "/")
		if err != nil || folder.encrypted != at.encrypted+"/" || len(folder.encrypted) != encryptedLen(key+"/") {
			t.Errorf("%q/ is %q, %v; the key is %q", key, folder.encrypted, err, at.encrypted)
		}
	}
}

// TestRotationByOperations sets the counter to just before what ends the term.
func TestRotationByOperations(t *testing.T) {
	for _, test := range []struct {
		name   string
		config RotationConfig
		start  uint64
		want   uint32
	}{
		{"at max_operations", RotationConfig{Enabled: true, MaxOperations: MinOperations}, MinOperations - 5, 2},
		{"before max_operations", RotationConfig{Enabled: true, MaxOperations: MinOperations}, MinOperations - 50, 1},
		{"disabled", RotationConfig{MaxOperations: MinOperations}, MinOperations, 1},
		{"disabled, at what NIST allows", RotationConfig{MaxOperations: MinOperations}, hardLimit - 5, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, root := memory.New(), secret.Random(32)
			ops, err := Create(root)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Apply(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
			b, err := Open(t.Context(), s, root)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.SetRotationConfig(t.Context(), test.config); err != nil {
				t.Fatal(err)
			}
			b.current.Load().active.used.Store(test.start)
			for range 10 {
				if err := b.Apply(t.Context(), storage.Put("k", nil), storage.Put("l", nil)); err != nil {
					t.Fatal(err)
				}
			}
			info, err := b.KeyInfo()
			if err != nil || info.Term != test.want || info.Term == 2 && info.Encryptions > 30 {
				t.Errorf("KeyInfo = %+v, %v; want term %d", info, err, test.want)
			}
		})
	}
}
