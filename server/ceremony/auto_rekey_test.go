package ceremony_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/barrier"
	"coffer/barrier/seal"
	"coffer/server/ceremony"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

func TestRekeyOfRecoveryKeys(t *testing.T) {
	for _, verify := range []bool{false, true} {
		t.Run(fmt.Sprint("verification ", verify), func(t *testing.T) {
			s := memory.New()
			keys := initAuto(t, s, static("a"), 3, 2)
			r := ceremony.NewRekey(s, opensBy(t, s, static("a")), static("a")).Recovery()
			result := rekey(t, r, rekeyParams{SecretShares: 4, SecretThreshold: 3, RequireVerification: verify}, keys[2], keys[0])
			if verify {
				if _, err := opensWith(t, s, static("a"), false, keys[:2]...); err != nil {
					t.Errorf("the old keys before the verification: %v", err)
				}
				for _, key := range result.Keys[1:] {
					if _, _, err := r.Verify(t.Context(), result.VerificationNonce, key); err != nil {
						t.Fatal(err)
					}
				}
			}
			used(t, s)
			if _, err := opensWith(t, s, static("a"), false, keys...); !errors.Is(err, errInvalid) {
				t.Errorf("the old keys: %v", err)
			}
			opensBy(t, s, static("a"))
			if _, err := opensWith(t, s, static("gone"), false, result.Keys[1:]...); err != nil {
				t.Errorf("the new keys: %v", err)
			}
		})
	}
}

// TestRecoveryKeysForPGP makes recovery keys that only their owners can read, and keeps a copy of those of a rekey.
func TestRecoveryKeysForPGP(t *testing.T) {
	s, pair := memory.New(), []pgp{newPGP(t), newPGP(t)}
	made, err := initServer(t.Context(), s, static("a"), initParams{
		RecoveryShares: 2, RecoveryThreshold: 2, RecoveryPGPKeys: []string{pair[0].public, pair[1].public},
		RootTokenPGPKey: pair[0].public,
	}, setup)
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{
		pair[0].decrypt(t, made.RecoveryKeysBase64[0]), pair[1].decrypt(t, made.RecoveryKeysBase64[1]),
	}
	if token := pair[0].decrypt(t, made.RootToken); token != rootToken {
		t.Errorf("root token %q", token)
	}
	barrierKey := ceremony.NewRekey(s, opensBy(t, s, static("a")), static("a"))
	recovery := barrierKey.Recovery()
	result := rekey(t, recovery, rekeyParams{
		SecretShares: 1, SecretThreshold: 1, PGPKeys: []string{pair[1].public}, Backup: true,
	}, keys...)
	kept, err := recovery.Backup(t.Context())
	if err != nil || kept.Nonce != result.Nonce {
		t.Fatalf("%+v, %v", kept, err)
	}
	if _, err := barrierKey.Backup(t.Context()); !errors.Is(err, errInvalid) {
		t.Errorf("the backup of unseal keys: %v", err)
	}
	key := pair[1].decrypt(t, kept.KeysBase64[pair[1].fingerprint()][0])
	if _, err := opensWith(t, s, static("gone"), false, key); err != nil {
		t.Errorf("the key of the backup: %v", err)
	}
	if err := recovery.DeleteBackup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := recovery.Backup(t.Context()); !errors.Is(err, errInvalid) {
		t.Errorf("after its deletion: %v", err)
	}
}

func TestRekeyOfRecoveryKeysRefuses(t *testing.T) {
	s := memory.New()
	keys := initAuto(t, s, static("a"), 1, 1)
	r := ceremony.NewRekey(s, opensBy(t, s, static("a")), static("a")).Recovery()
	_, _, err := r.Update(t.Context(), "n", keys[0])
	wantError(t, err, errInvalid, "no recovery rekey in progress")
	_, err = r.Start(t.Context(), rekeyParams{})
	wantError(t, err, errFailed, "invalid recovery configuration: shares must be at least one")
	started, err := r.Start(t.Context(), rekeyParams{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = r.Update(t.Context(), started.Nonce, repeat("01", 32))
	wantError(t, err, errInvalid, "recovery key verification failed: recovery key does not match submitted values")

	shamir, b, _ := startServer(t, 1, 1)
	wantError(t, ceremony.NewRekey(shamir, b, nil).Recovery().Supported(), errInvalid, "recovery rekeying not supported")
}

func TestRekeyOfTheRootKeyAlone(t *testing.T) {
	s := memory.New()
	keys := initAuto(t, s, static("a"), 3, 2)
	r := ceremony.NewRekey(s, opensBy(t, s, static("a")), static("a"))
	for text, p := range map[string]rekeyParams{
		"PGP key encryption not supported when using stored keys":                               {SecretShares: 1, SecretThreshold: 1, PGPKeys: []string{"a"}},
		"requiring verification not supported when rekeying the barrier key with recovery keys": {RequireVerification: true},
		"provided threshold greater than the total shares":                                      {SecretThreshold: 1},
	} {
		_, err := r.Start(t.Context(), p)
		wantError(t, err, errInvalid, text)
	}
	before := contents(t, s)
	result := rekey(t, r, rekeyParams{SecretShares: 5, SecretThreshold: 3}, keys[:2]...)
	if result == nil || result.Keys == nil || len(result.Keys) != 0 {
		t.Fatalf("%+v", result)
	}
	opensBy(t, s, static("a"))
	if _, err := opensWith(t, s, static("gone"), false, keys[1:]...); err != nil {
		t.Errorf("the recovery keys: %v", err)
	}
	after := contents(t, s)
	if before["core/keyring"] == after["core/keyring"] || before[seal.ConfigPath] != after[seal.ConfigPath] {
		t.Error("the root key stayed, or the configuration changed")
	}
}

// TestRekeyUnderAKeyThatIsNotTheDatas: a server that was unsealed by hand does not settle that a key is lost.
func TestRekeyUnderAKeyThatIsNotTheDatas(t *testing.T) {
	s := memory.New()
	keys := initAuto(t, s, static("a"), 1, 1)
	b := opensBy(t, s, static("a"))
	before := contents(t, s)
	r := ceremony.NewRekey(s, b, static("b"))
	started, err := r.Start(t.Context(), rekeyParams{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err = r.Update(t.Context(), started.Nonce, keys[0]); !errors.Is(err, errFailed) {
		t.Errorf("%v; want ErrFailed", err)
	}
	if diff := cmp.Diff(before, contents(t, s)); diff != "" {
		t.Errorf("the storage changed: -want +got\n%s", diff)
	}
}

// TestRecoveryRekeyMeetsANewRootKey: the old shares were given when another root key was in use.
func TestRecoveryRekeyMeetsANewRootKey(t *testing.T) {
	s := memory.New()
	keys := initAuto(t, s, static("a"), 1, 1)
	barrierKey := ceremony.NewRekey(s, opensBy(t, s, static("a")), static("a"))
	recovery := barrierKey.Recovery()
	result := rekey(t, recovery, rekeyParams{SecretShares: 1, SecretThreshold: 1, RequireVerification: true}, keys...)
	rekey(t, barrierKey, rekeyParams{}, keys...)
	_, _, err := recovery.Verify(t.Context(), result.VerificationNonce, result.Keys[0])
	wantError(t, err, errFailed, "the root key was replaced meanwhile; begin the rekey anew")
	opensBy(t, s, static("a"))
	if _, err := opensWith(t, s, static("a"), false, keys...); err != nil {
		t.Errorf("the recovery keys: %v", err)
	}
}

// TestFaultsInRekeyOfASealThatOpensByItself: whatever fails, the seal opens the data, and so do the old recovery
// keys or those handed out.
func TestFaultsInRekeyOfASealThatOpensByItself(t *testing.T) {
	for _, recovery := range []bool{false, true} {
		t.Run(fmt.Sprint("recovery ", recovery), func(t *testing.T) {
			open := func(*testing.T) storage.Storage { return memory.New() }
			storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, f *storagetest.Faulty) {
				keys := initAuto(t, base, static("a"), 1, 1)
				o, err := ceremony.NewUnseal(base, static("a")).Auto(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				b, err := barrier.Open(t.Context(), f, o.Root)
				if err != nil {
					return
				}
				r := ceremony.NewRekey(f, b, static("a"))
				if recovery {
					r = r.Recovery()
				}
				started, err := r.Start(t.Context(), rekeyParams{SecretShares: 1, SecretThreshold: 1})
				if err != nil {
					return
				}
				_, result, err := r.Update(t.Context(), started.Nonce, keys[0])
				if err == nil && recovery {
					keys = result.Keys
				}
				opensBy(t, base, static("a"))
				if _, err := opensWith(t, base, static("gone"), false, keys...); err != nil {
					t.Errorf("the recovery keys: %v", err)
				}
			})
		})
	}
}
