package ceremony_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"coffer/barrier"
	"coffer/server/ceremony"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

func TestInit(t *testing.T) {
	s := memory.New()
	r := initialize(t, s, 5, 3)
	if len(r.Keys) != 5 || len(r.KeysBase64) != 5 || r.RootToken != rootToken {
		t.Fatalf("result %+v", r)
	}
	for i := range r.Keys {
		raw, err := hex.DecodeString(r.Keys[i])
		if err != nil || base64.StdEncoding.EncodeToString(raw) != r.KeysBase64[i] || len(raw) != 33 {
			t.Errorf("share %d: %q and %q differ or are no shares (%v)", i, r.Keys[i], r.KeysBase64[i], err)
		}
	}
	b := unsealed(t, s, r.Keys[4], r.KeysBase64[0], strings.ToUpper(r.Keys[2]))
	if got, err := b.Get(t.Context(), "core/mounts"); err != nil || string(got) != "mounts" {
		t.Errorf("what Setup wrote: %q, %v", got, err)
	}
	_, err := initServer(t.Context(), s, nil, initParams{SecretShares: 1, SecretThreshold: 1}, setup)
	wantError(t, err, errInvalid, "Vault is already initialized")
	if !errors.Is(err, ceremony.ErrAlreadyInitialized) {
		t.Error("it is not ErrAlreadyInitialized")
	}
	single := initialize(t, memory.New(), 1, 1)
	if len(single.Keys) != 1 || len(single.Keys[0]) != 64 {
		t.Errorf("one share: %+v", single.Keys)
	}
}

func TestInitRefuses(t *testing.T) {
	key := newPGP(t).public
	for _, test := range []struct {
		name   string
		params ceremony.InitParams
		want   string
	}{
		{"nothing", initParams{}, badSeal + "shares must be at least one"},
		{"no threshold", initParams{SecretShares: 1}, badSeal + "threshold must be at least one"},
		{"negative", initParams{SecretShares: -1, SecretThreshold: 1}, badSeal + "shares must be at least one"},
		{"256 shares", initParams{SecretShares: 256, SecretThreshold: 2}, badSeal + "shares must be less than 256"},
		{"256 shares, threshold 1", initParams{SecretShares: 256, SecretThreshold: 1},
			badSeal + "threshold must be greater than one for multiple shares"},
		{"threshold 256", initParams{SecretShares: 1, SecretThreshold: 256},
			badSeal + "threshold must be less than 256"},
		{"threshold over shares", initParams{SecretShares: 3, SecretThreshold: 4},
			badSeal + "threshold cannot be larger than shares"},
		{"threshold 1 of 3", initParams{SecretShares: 3, SecretThreshold: 1},
			badSeal + "threshold must be greater than one for multiple shares"},
		{"too few PGP keys", initParams{SecretShares: 2, SecretThreshold: 2, PGPKeys: []string{"a"}},
			"incorrect number of PGP keys"},
		{"PGP keys before shares", initParams{PGPKeys: []string{"a"}},
			"incorrect number of PGP keys"},
		{"PGP key no base64", initParams{SecretShares: 2, SecretThreshold: 2, PGPKeys: []string{key, "!!"}},
			badSeal + "error decoding given PGP key: illegal base64 data at input byte 0"},
		{"PGP key no key", initParams{SecretShares: 2, SecretThreshold: 2, PGPKeys: []string{"YWFh", key}},
			badSeal + notPGP},
		{"PGP key empty", initParams{SecretShares: 1, SecretThreshold: 1, PGPKeys: []string{""}},
			badSeal + "error parsing given PGP key: EOF"},
		{"root token key no base64", initParams{SecretShares: 1, SecretThreshold: 1, RootTokenPGPKey: "!!"},
			"error decoding given PGP key: illegal base64 data at input byte 0"},
		{"root token key no key", initParams{SecretShares: 1, SecretThreshold: 1, RootTokenPGPKey: "YWFh"},
			notPGP},
		{"recovery", initParams{RecoveryShares: 5, RecoveryThreshold: 3, RecoveryPGPKeys: []string{"a"}},
			"parameters recovery_shares,recovery_threshold,recovery_pgp_keys not applicable to seal type shamir"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := memory.New()
			unwanted := func(context.Context, *barrier.Barrier) (string, error) {
				t.Error("Setup was called")
				return "", nil
			}
			_, err := initServer(t.Context(), s, nil, test.params, unwanted)
			wantError(t, err, errInvalid, test.want)
			if got := s.Contents(); len(got) != 0 {
				t.Errorf("%d keys were written", len(got))
			}
		})
	}
}

func TestInitWithPGP(t *testing.T) {
	s := memory.New()
	keys := []pgp{newPGP(t), newPGP(t)}
	r, err := initServer(t.Context(), s, nil, initParams{
		SecretShares: 2, SecretThreshold: 2, PGPKeys: []string{keys[0].public, keys[1].public},
		RootTokenPGPKey: keys[1].public,
	}, setup)
	if err != nil {
		t.Fatal(err)
	}
	if got := keys[1].decrypt(t, r.RootToken); got != rootToken {
		t.Errorf("root token %q", got)
	}
	unsealed(t, s, keys[0].decrypt(t, r.KeysBase64[0]), keys[1].decrypt(t, r.KeysBase64[1]))
}

func TestInitIsAllOrNothing(t *testing.T) {
	failure := errors.New("no token")
	s := memory.New()
	_, err := initServer(t.Context(), s, nil, initParams{SecretShares: 1, SecretThreshold: 1},
		func(ctx context.Context, draft *barrier.Barrier) (string, error) {
			_, _ = setup(ctx, draft)
			return "", failure
		})
	if got := s.Contents(); !errors.Is(err, failure) || len(got) != 0 {
		t.Errorf("after a failed Setup: %v, %d keys", err, len(got))
	}
	open := func(*testing.T) storage.Storage { return memory.New() }
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, f *storagetest.Faulty) {
		r, err := initServer(t.Context(), f, nil, initParams{SecretShares: 2, SecretThreshold: 2}, setup)
		exists, existsErr := barrier.Exists(t.Context(), base)
		if existsErr != nil || exists != (err == nil) {
			t.Fatalf("Init: %v; initialized %v, %v", err, exists, existsErr)
		}
		if exists {
			unsealed(t, base, r.Keys...)
		}
	})
}
