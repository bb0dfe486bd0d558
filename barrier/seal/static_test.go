package seal_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/storage"
	"coffer/storage/memory"
)

// errGone is why a key cannot be had in these tests.
var errGone = errors.New("gone")

func staticKey(id string, key secret.Key) seal.StaticKey {
	return seal.StaticKey{ID: id, Load: func() (secret.Key, error) { return key.Clone(), nil }}
}

func goneKey(id string) seal.StaticKey {
	return seal.StaticKey{ID: id, Load: func() (secret.Key, error) { return secret.Key{}, errGone }}
}

func wrap(t *testing.T, s seal.Seal, root secret.Key) []byte {
	t.Helper()
	wrapped, err := s.Wrap(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}

func TestStatic(t *testing.T) {
	root, one, two := secret.Random(32), secret.Random(32), secret.Random(32)
	old := wrap(t, seal.NewStatic(staticKey("one", one)), root)
	for _, test := range []struct {
		name  string
		seal  *seal.Static
		want  error
		text  string
		stale bool
	}{
		{"the key", seal.NewStatic(staticKey("one", one)), nil, "", false},
		{"as previous key", seal.NewStatic(staticKey("two", two), staticKey("one", one)), nil, "", true},
		{"as previous key, the current one gone", seal.NewStatic(goneKey("two"), staticKey("one", one)), nil, "", true},
		{"another id", seal.NewStatic(staticKey("two", one)), seal.ErrWrongKey, `wants the key "one", the configuration has ["two"]`, true},
		{"another key of that id", seal.NewStatic(staticKey("one", two)), seal.ErrWrongKey, `wants the key "one"`, false},
		{"the key gone", seal.NewStatic(goneKey("one")), seal.ErrNoKey, `"one": gone`, false},
		{"the previous key gone", seal.NewStatic(staticKey("two", two), goneKey("one")), seal.ErrNoKey, `"one": gone`, true},
		{"a short key", seal.NewStatic(staticKey("one", secret.Random(31))), seal.ErrNoKey, `"one"`, false},
		{"a long key", seal.NewStatic(staticKey("one", secret.Random(33))), seal.ErrNoKey, `"one"`, false},
		{"no key", seal.NewStatic(staticKey("one", secret.Key{})), seal.ErrNoKey, `"one"`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.seal.Stale(old); got != test.stale {
				t.Errorf("stale: %v", got)
			}
			got, err := test.seal.Unwrap(t.Context(), bytes.Clone(old))
			if !errors.Is(err, test.want) || (err == nil) != got.Equal(root) {
				t.Fatalf("%v; want %v", err, test.want)
			}
			if err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v does not say %q", err, test.text)
			}
		})
	}
}

func TestStaticWrapRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		key  seal.StaticKey
		want error
	}{
		"gone":  {goneKey("one"), seal.ErrNoKey},
		"short": {staticKey("one", secret.Random(16)), seal.ErrNoKey},
		"no id": {staticKey("", secret.Random(32)), seal.ErrInvalidConfig},
		"id":    {staticKey(strings.Repeat("x", 65), secret.Random(32)), seal.ErrInvalidConfig},
	} {
		if _, err := seal.NewStatic(test.key).Wrap(t.Context(), secret.Random(32)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v; want %v", name, err, test.want)
		}
	}
}

// TestStaticRecordIsBound: no byte of the record can be changed, its id included, and it opens nowhere else.
func TestStaticRecordIsBound(t *testing.T) {
	root, key := secret.Random(32), secret.Random(32)
	s := seal.NewStatic(staticKey("one", key), staticKey("two", key))
	wrapped := wrap(t, s, root)
	for i := range wrapped {
		damaged := bytes.Clone(wrapped)
		damaged[i] ^= 1
		if _, err := s.Unwrap(t.Context(), damaged); !errors.Is(err, seal.ErrWrongKey) && !errors.Is(err, seal.ErrCorrupt) {
			// The term is not used; everything else counts.
			if i < 2+len("one")+1 || i >= 2+len("one")+5 {
				t.Errorf("byte %d: %v", i, err)
			}
		}
		if _, err := s.Unwrap(t.Context(), bytes.Clone(wrapped[:i])); !errors.Is(err, seal.ErrWrongKey) && !errors.Is(err, seal.ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	renamed := bytes.Replace(bytes.Clone(wrapped), []byte("one"), []byte("two"), 1)
	if _, err := s.Unwrap(t.Context(), renamed); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("renamed: %v", err)
	}
	foreign := wrap(t, seal.NewShamir(key), root)
	if _, err := s.Unwrap(t.Context(), append([]byte("\x01\x03one"), foreign...)); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("another seal's record: %v", err)
	}
}

// TestBothWays: the seal and the recovery key open the same root key, each by its own record.
func TestBothWays(t *testing.T) {
	root, recovery, key := secret.Random(32), secret.Random(32), secret.Random(32)
	static, s := seal.NewStatic(staticKey("one", key)), memory.New()
	store := func(auto seal.Auto) seal.Config {
		t.Helper()
		ops, err := seal.RecordsWith(t.Context(), auto, seal.Config{Shares: 5, Threshold: 3}, root, recovery)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Apply(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
		config, err := seal.ReadConfig(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		return config
	}
	opens := func(key secret.Key, err error) {
		t.Helper()
		if err != nil || !key.Equal(root) {
			t.Errorf("the root key does not come out: %v", err)
		}
	}
	config := store(static)
	opens(seal.RootKey(t.Context(), s, static))
	opens(seal.RootKeyWith(t.Context(), s, config, recovery))
	if _, err := seal.RootKeyWith(t.Context(), s, config, key); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("the seal's key as a recovery key: %v", err)
	}
	// The record of the one is none of the other.
	record, err := s.Get(t.Context(), seal.RecoveryKeyPath)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seal.NewShamir(recovery).Unwrap(t.Context(), record); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("moved to %s: %v", seal.RootKeyPath, err)
	}

	renewed := secret.Random(32)
	ops, err := seal.RecoveryRecords(t.Context(), seal.Config{Type: seal.TypeStatic, Shares: 1, Threshold: 1}, root, renewed)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	opens(seal.RootKey(t.Context(), s, static))
	opens(seal.RootKeyWith(t.Context(), s, config, renewed))
	if _, err := seal.RootKeyWith(t.Context(), s, config, recovery); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("the old recovery key: %v", err)
	}

	config = store(nil)
	opens(seal.RootKeyWith(t.Context(), s, config, recovery))
	if _, err := s.Get(t.Context(), seal.RecoveryKeyPath); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the record of the recovery key stays: %v", err)
	}
	config.Type = seal.TypeStatic
	if _, err := seal.RootKeyWith(t.Context(), s, config, recovery); !errors.Is(err, seal.ErrCorrupt) {
		t.Errorf("no record of a recovery key: %v", err)
	}
}

func TestRenewal(t *testing.T) {
	root, one, two := secret.Random(32), secret.Random(32), secret.Random(32)
	s, first := memory.New(), seal.NewStatic(staticKey("one", one))
	ops, err := seal.RecordsWith(t.Context(), first, seal.Config{Shares: 1, Threshold: 1}, root, secret.Random(32))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	if ops, err := seal.Renewal(t.Context(), s, first, root); err != nil || len(ops) > 0 {
		t.Errorf("under the current key already: %d changes, %v", len(ops), err)
	}
	if _, err := seal.Renewal(t.Context(), s, seal.NewStatic(goneKey("two"), staticKey("one", one)), root); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("the new key is gone: %v", err)
	}
	second := seal.NewStatic(staticKey("two", two), staticKey("one", one))
	ops, err = seal.Renewal(t.Context(), s, second, root)
	if err != nil || len(ops) != 1 {
		t.Fatalf("%d changes, %v", len(ops), err)
	}
	if err := s.Apply(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	if got, err := seal.RootKey(t.Context(), s, seal.NewStatic(staticKey("two", two))); err != nil || !got.Equal(root) {
		t.Errorf("the current key alone: %v", err)
	}
	if _, err := seal.RootKey(t.Context(), s, first); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("the previous key alone: %v", err)
	}
}

func TestParseKey(t *testing.T) {
	key := secret.Random(32)
	inHex, inBase64 := hex.EncodeToString(key.Reveal()), base64.StdEncoding.EncodeToString(key.Reveal())
	for name, text := range map[string]string{
		"hex": inHex, "upper case": strings.ToUpper(inHex), "line": inHex + "\r\n", "base64": inBase64, "base64 line": "\n" + inBase64 + "\n",
		"unpadded": strings.TrimRight(inBase64, "="), "URL": base64.URLEncoding.EncodeToString(key.Reveal()),
		"URL unpadded": base64.RawURLEncoding.EncodeToString(key.Reveal()),
	} {
		for _, parse := range []func([]byte) (secret.Key, error){seal.ParseKey, seal.ParseKeyFile} {
			if got, err := parse([]byte(text)); err != nil || !got.Equal(key) {
				t.Errorf("%s: another key, %v", name, err)
			}
		}
	}
	if got, err := seal.ParseKeyFile(key.Reveal()); err != nil || !got.Equal(key) {
		t.Errorf("raw: another key, %v", err)
	}
	for name, text := range map[string]string{
		"empty": "", "16 bytes in hex": inHex[:32], "24 bytes in base64": inBase64[:32], "63 digits": inHex[:63], "65 digits": inHex + "0",
		"a pass phrase": "correct horse battery staple", "31 raw bytes": string(key.Reveal()[:31]), "33 raw bytes": string(key.Reveal()) + "\xff",
		"too long": strings.Repeat("a", 1025), "48 bytes": strings.Repeat("ghij", 16),
	} {
		for _, parse := range []func([]byte) (secret.Key, error){seal.ParseKey, seal.ParseKeyFile} {
			_, err := parse([]byte(text))
			if !errors.Is(err, seal.ErrKeyText) {
				t.Errorf("%s: %v; want ErrKeyText", name, err)
			} else if len(text) > 6 && strings.Contains(err.Error(), text) {
				t.Errorf("%s: the error shows the text", name)
			}
		}
	}
}

// FuzzParseKey: what is taken for a key has 32 bytes, and its usual spellings give the same key.
func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{
		"", strings.Repeat("00", 32), strings.Repeat("A", 43) + "=", strings.Repeat("-", 43), strings.Repeat("\x00", 32), "\n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		key, err := seal.ParseKeyFile(content)
		if err != nil {
			if !errors.Is(err, seal.ErrKeyText) {
				t.Fatal(err)
			}
			return
		}
		if key.Len() != 32 {
			t.Fatalf("a key of %d bytes", key.Len())
		}
		if again, err := seal.ParseKey([]byte(hex.EncodeToString(key.Reveal()))); err != nil || !again.Equal(key) {
			t.Fatalf("the same key in hex: %v", err)
		}
	})
}

// FuzzStaticUnwrap: made-up records are an error.
func FuzzStaticUnwrap(f *testing.F) {
	s := seal.NewStatic(staticKey("one", secret.New(make([]byte, 32))))
	wrapped, err := s.Wrap(context.Background(), secret.Random(32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add([]byte{1, 0})
	f.Add([]byte{1, 255, 'a'})
	f.Add(wrapped[:len(wrapped)-1])
	f.Add(bytes.Replace(bytes.Clone(wrapped), []byte("one"), []byte("two"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		s.Stale(data)
		_, err := s.Unwrap(context.Background(), bytes.Clone(data))
		if !errors.Is(err, seal.ErrWrongKey) && !errors.Is(err, seal.ErrCorrupt) {
			t.Fatalf("made up bytes: %v", err)
		}
	})
}
