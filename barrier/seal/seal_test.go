package seal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"coffer/barrier"
	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/storage"
	"coffer/storage/memory"
)

func TestSplitAndCombine(t *testing.T) {
	key := secret.Random(seal.UnsealKeySize)
	for _, test := range []struct{ shares, threshold int }{{1, 1}, {2, 2}, {5, 3}, {255, 2}, {255, 255}} {
		shares, err := seal.Split(key, test.shares, test.threshold)
		if err != nil || len(shares) != test.shares {
			t.Fatalf("Split %+v: %d shares, %v", test, len(shares), err)
		}
		last := shares[len(shares)-test.threshold:]
		if got, err := seal.Combine(last); err != nil || !got.Equal(key) {
			t.Errorf("%+v: the last shares do not combine: %v", test, err)
		}
		if test.threshold == 1 {
			continue
		}
		if got, err := seal.Combine(last[1:]); err == nil && got.Equal(key) {
			t.Errorf("%+v: one share less than the threshold is enough", test)
		}
	}
	for _, test := range []struct{ shares, threshold int }{{0, 0}, {1, 0}, {1, 2}, {2, 1}, {3, 4}, {256, 3}, {-1, -1}} {
		if _, err := seal.Split(key, test.shares, test.threshold); !errors.Is(err, seal.ErrInvalidConfig) {
			t.Errorf("Split %+v: %v; want ErrInvalidConfig", test, err)
		}
	}
}

func TestCombineRefuses(t *testing.T) {
	a, b := secret.New([]byte("share-a\x01")), secret.New([]byte("share-bb\x02"))
	for name, shares := range map[string][]secret.Key{
		"none": nil, "twice": {a, a}, "lengths": {a, b}, "empty": {{}, {}},
	} {
		if _, err := seal.Combine(shares); !errors.Is(err, seal.ErrShares) {
			t.Errorf("%s: %v; want ErrShares", name, err)
		}
	}
}

// initialize makes a barrier and a seal in one Apply.
func initialize(t *testing.T, s storage.Storage, unseal, root secret.Key, c seal.Config) {
	t.Helper()
	ops, err := barrier.Create(root)
	if err != nil {
		t.Fatal(err)
	}
	records, err := seal.Records(t.Context(), seal.NewShamir(unseal), c, root)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), append(ops, records...)...); err != nil {
		t.Fatal(err)
	}
}

func TestFromSharesToBarrier(t *testing.T) {
	s := memory.New()
	config := seal.Config{Type: seal.TypeShamir, Shares: 5, Threshold: 3}
	if _, err := seal.ReadConfig(t.Context(), s); !errors.Is(err, seal.ErrNotInitialized) {
		t.Fatalf("ReadConfig: %v; want ErrNotInitialized", err)
	}
	unseal, root := secret.Random(seal.UnsealKeySize), secret.Random(32)
	if _, err := seal.RootKey(t.Context(), s, seal.NewShamir(unseal)); !errors.Is(err, seal.ErrNotInitialized) {
		t.Fatalf("RootKey: %v; want ErrNotInitialized", err)
	}
	initialize(t, s, unseal, root, config)
	shares, err := seal.Split(unseal, config.Shares, config.Threshold)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := seal.ReadConfig(t.Context(), s); err != nil || got != config {
		t.Fatalf("ReadConfig = %+v, %v", got, err)
	}
	for _, test := range []struct {
		name   string
		shares []secret.Key
		want   error
	}{
		{"three of five", []secret.Key{shares[4], shares[0], shares[2]}, nil},
		{"all", shares, nil},
		{"two", shares[:2], seal.ErrWrongKey},
		{"one", shares[:1], seal.ErrWrongKey},
		{"a foreign one", []secret.Key{shares[0], shares[1], secret.Random(33)}, seal.ErrWrongKey},
	} {
		combined, err := seal.Combine(test.shares)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		got, err := seal.RootKey(t.Context(), s, seal.NewShamir(combined))
		if !errors.Is(err, test.want) || (err == nil) != got.Equal(root) {
			t.Errorf("%s: %v; want %v", test.name, err, test.want)
		}
		if err != nil {
			continue
		}
		if _, err := barrier.Open(t.Context(), s, got); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestRekeyIsOneApply(t *testing.T) {
	s := memory.New()
	root, unseal := secret.Random(32), secret.Random(32)
	initialize(t, s, unseal, root, seal.Config{Type: seal.TypeShamir, Shares: 1, Threshold: 1})
	b, err := barrier.Open(t.Context(), s, root)
	if err != nil {
		t.Fatal(err)
	}
	newRoot, newSeal := secret.Random(32), seal.NewShamir(secret.Random(32))
	config := seal.Config{Type: seal.TypeShamir, Shares: 3, Threshold: 2}
	records, err := seal.Records(t.Context(), newSeal, config, newRoot)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Rekey(t.Context(), newRoot, records...); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.RootKey(t.Context(), s, seal.NewShamir(unseal)); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("the old unseal key: %v; want ErrWrongKey", err)
	}
	got, err := seal.RootKey(t.Context(), s, newSeal)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := barrier.Open(t.Context(), s, got); err != nil {
		t.Error(err)
	}
}

func TestRecordsRefuses(t *testing.T) {
	shamir := seal.NewShamir(secret.Random(32))
	for name, c := range map[string]seal.Config{
		"type": {Type: "transit", Shares: 1, Threshold: 1}, "shares": {Type: seal.TypeShamir, Threshold: 1},
	} {
		if _, err := seal.Records(t.Context(), shamir, c, secret.Random(32)); !errors.Is(err, seal.ErrInvalidConfig) {
			t.Errorf("%s: %v; want ErrInvalidConfig", name, err)
		}
	}
}

func FuzzReadConfig(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", `{"type":"shamir","shares":5,"threshold":3}`, `{"type":"shamir","shares":1e99}`,
		`{"type":"shamir","shares":5,"threshold":3}{}`, `{"shares":-1}`, `[]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := memory.New()
		if err := s.Apply(context.Background(), storage.Put(seal.ConfigPath, data)); err != nil {
			t.Fatal(err)
		}
		c, err := seal.ReadConfig(context.Background(), s)
		if err == nil && c.Validate() != nil || err != nil && !errors.Is(err, seal.ErrCorrupt) {
			t.Fatalf("ReadConfig = %+v, %v", c, err)
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	shamir := seal.NewShamir(secret.New(make([]byte, 32)))
	wrapped, err := shamir.Wrap(context.Background(), secret.Random(32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add(wrapped[:len(wrapped)-1])
	f.Add(fmt.Append(nil, wrapped))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := shamir.Unwrap(context.Background(), bytes.Clone(data))
		if !errors.Is(err, seal.ErrWrongKey) && !errors.Is(err, seal.ErrCorrupt) {
			t.Fatalf("made up bytes: %v", err)
		}
	})
}
