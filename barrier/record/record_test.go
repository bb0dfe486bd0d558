package record_test

import (
	"bytes"
	"errors"
	"testing"

	"coffer/barrier/record"
	"coffer/barrier/secret"
)

func newCipher(t testing.TB, key secret.Key, term uint32) *record.Cipher {
	t.Helper()
	c, err := record.NewCipher(key, term)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSealAndOpen(t *testing.T) {
	c := newCipher(t, secret.Random(record.KeySize), 7)
	for _, plaintext := range []string{"", "a", "a longer plaintext of more than one block"} {
		data := c.Seal([]byte(plaintext), []byte("place"))
		if len(data) != len(plaintext)+record.Overhead {
			t.Errorf("record of %d bytes for %d", len(data), len(plaintext))
		}
		if term, err := record.Term(data); term != 7 || err != nil {
			t.Errorf("Term = %d, %v; want 7", term, err)
		}
		if bytes.Equal(data, c.Seal([]byte(plaintext), []byte("place"))) {
			t.Error("two records of the same plaintext are equal")
		}
		if got, err := c.Open(data, []byte("place")); err != nil || string(got) != plaintext {
			t.Errorf("Open = %q, %v; want %q", got, err, plaintext)
		}
	}
}

func TestWhatDoesNotOpen(t *testing.T) {
	key := secret.Random(record.KeySize)
	c := newCipher(t, key, 1)
	sealed := c.Seal([]byte("plaintext"), []byte("place"))
	for _, test := range []struct {
		name   string
		change func(data []byte) []byte
		want   error
	}{
		{"empty", func([]byte) []byte { return nil }, record.ErrMalformed},
		{"only a version", func(d []byte) []byte { return d[:1] }, record.ErrMalformed},
		{"one byte short of a tag", func(d []byte) []byte { return d[:record.Overhead-1] }, record.ErrMalformed},
		{"unknown version", func(d []byte) []byte { d[0] = 2; return d }, record.ErrMalformed},
		{"truncated", func(d []byte) []byte { return d[:len(d)-1] }, record.ErrAuthentication},
		{"longer", func(d []byte) []byte { return append(d, 0) }, record.ErrAuthentication},
		{"nonce changed", func(d []byte) []byte { d[5]++; return d }, record.ErrAuthentication},
		{"ciphertext changed", func(d []byte) []byte { d[18]++; return d }, record.ErrAuthentication},
		{"tag changed", func(d []byte) []byte { d[len(d)-1]++; return d }, record.ErrAuthentication},
	} {
		data := test.change(bytes.Clone(sealed))
		if got, err := c.Open(data, []byte("place")); !errors.Is(err, test.want) || got != nil {
			t.Errorf("%s: %q, %v; want %v", test.name, got, err, test.want)
		}
	}
	if _, err := c.Open(bytes.Clone(sealed), []byte("elsewhere")); !errors.Is(err, record.ErrAuthentication) {
		t.Errorf("moved: %v", err)
	}
	other := newCipher(t, secret.Random(record.KeySize), 1)
	if _, err := other.Open(bytes.Clone(sealed), []byte("place")); !errors.Is(err, record.ErrAuthentication) {
		t.Errorf("other key: %v", err)
	}
}

func TestKeySize(t *testing.T) {
	for _, size := range []int{0, 16, 31, 33} {
		if _, err := record.NewCipher(secret.Random(size), 1); !errors.Is(err, record.ErrKeySize) {
			t.Errorf("%d bytes: %v; want ErrKeySize", size, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	c := newCipher(f, secret.New(make([]byte, record.KeySize)), 1)
	f.Add([]byte{}, []byte("place"))
	f.Add([]byte{1, 0, 0, 0, 1}, []byte("place"))
	f.Add(bytes.Repeat([]byte{1}, record.Overhead), []byte{})
	// Of another key: the fuzzer would find the place of a record that does open.
	sealed := newCipher(f, secret.Random(record.KeySize), 1).Seal([]byte("plaintext"), []byte("place"))
	f.Add(sealed, []byte("another place"))
	f.Add(sealed[:len(sealed)-1], []byte("place"))
	f.Fuzz(func(t *testing.T, data, place []byte) {
		// Open writes over data, and the fuzzer's arguments may share memory.
		if plaintext, err := c.Open(bytes.Clone(data), place); err == nil {
			t.Fatalf("made up bytes opened to %q", plaintext)
		}
	})
}
