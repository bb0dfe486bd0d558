package ceremony_test

import (
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/barrier"
	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/server/ceremony"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

func rekey(t *testing.T, r *ceremony.Rekey, p ceremony.RekeyParams, keys ...string) *ceremony.RekeyResult {
	t.Helper()
	started, err := r.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for i, key := range keys {
		status, result, err := r.Update(t.Context(), started.Nonce, key)
		if err != nil || (result != nil) != (i == len(keys)-1) || (status == nil) != (result != nil) {
			t.Fatalf("share %d: %+v, %+v, %v", i, status, result, err)
		}
		if result != nil {
			return result
		}
	}
	return nil
}

func TestRekey(t *testing.T) {
	s, b, keys := startServer(t, 3, 2)
	r := ceremony.NewRekey(s, b, nil)
	result := rekey(t, r, rekeyParams{SecretShares: 4, SecretThreshold: 3}, keys[2], keys[0])
	want := &ceremony.RekeyResult{Nonce: result.Nonce, Complete: true, ShareList: result.ShareList}
	if diff := cmp.Diff(want, result); diff != "" || len(result.Keys) != 4 {
		t.Fatalf("-want +got\n%s", diff)
	}
	used(t, s)
	u := ceremony.NewUnseal(s, nil)
	for i, key := range keys {
		if _, verdict, err := u.Add(t.Context(), key, false); verdict != ceremony.Unfit || (err != nil) != (i >= 2) {
			t.Errorf("old share %d: %v, %v", i, verdict, err)
		}
	}
	unsealed(t, s, result.Keys[1], result.Keys[2], result.Keys[3])
	status, err := r.Status(t.Context())
	if diff := cmp.Diff(ceremony.RekeyStatus{Required: 3}, status); err != nil || diff != "" {
		t.Errorf("%v: -want +got\n%s", err, diff)
	}
	// And once more, with the new ones.
	again := rekey(t, r, rekeyParams{SecretShares: 1, SecretThreshold: 1}, result.Keys[:3]...)
	unsealed(t, s, again.Keys...)
}

func TestRekeyRefuses(t *testing.T) {
	s, b, keys := startServer(t, 3, 2)
	r := ceremony.NewRekey(s, b, nil)
	for _, test := range []struct {
		params ceremony.RekeyParams
		kind   error
		want   string
	}{
		{rekeyParams{}, errFailed, badRekey + "shares must be at least one"},
		{rekeyParams{SecretShares: 1}, errFailed, badRekey + "threshold must be at least one"},
		{rekeyParams{SecretThreshold: 1}, errInvalid, "provided threshold greater than the total shares"},
		{rekeyParams{SecretShares: 3, SecretThreshold: 1}, errFailed,
			badRekey + "threshold must be greater than one for multiple shares"},
		{rekeyParams{SecretShares: 300, SecretThreshold: 300}, errFailed,
			badRekey + "shares must be less than 256"},
		{rekeyParams{SecretShares: 2, SecretThreshold: 3, PGPKeys: []string{"x"}}, errInvalid,
			"incorrect number of PGP keys for rekey"},
		{rekeyParams{SecretShares: 1, SecretThreshold: 1, PGPKeys: []string{"!!"}}, errFailed,
			badRekey + "error decoding given PGP key: illegal base64 data at input byte 0"},
		{rekeyParams{SecretShares: 2, SecretThreshold: 3, Backup: true}, errInvalid,
			"cannot request a backup of the new keys without providing PGP keys for encryption"},
	} {
		_, err := r.Start(t.Context(), test.params)
		wantError(t, err, test.kind, test.want)
	}
	_, _, err := r.Update(t.Context(), "n", keys[0])
	wantError(t, err, errInvalid, "no barrier rekey in progress")
	_, err = r.VerifyStatus()
	wantError(t, err, errInvalid, "no rekey configuration found")
	_, err = r.VerifyCancel(ceremony.Privileged)
	wantError(t, err, errInvalid, "no rekey configuration found")
	_, _, err = r.Verify(t.Context(), "n", keys[0])
	wantError(t, err, errInvalid, "no rekey in progress")
	p := rekeyParams{SecretShares: 3, SecretThreshold: 2, RequireVerification: true}
	started, err := r.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Start(t.Context(), rekeyParams{SecretShares: 1, SecretThreshold: 1})
	wantError(t, err, errInvalid, "rekey already in progress")
	_, _, err = r.Verify(t.Context(), "n", keys[0])
	wantError(t, err, errInvalid, "no rekey verification in progress")
	n := started.Nonce
	one, two := repeat("01", 33), repeat("02", 33)
	for _, test := range []struct {
		nonce, key string
		kind       error
		want       string
	}{
		{n, "", errInvalid, "'key' must be specified in request body as JSON"},
		{"x", "zz", errInvalid, notBase64},
		{"x", "aabb", errInvalid, "key is shorter than minimum 16 bytes"},
		{n, repeat("00", 40), errInvalid, "key is longer than maximum 33 bytes"},
		{"x", one, errInvalid, fmt.Sprintf("incorrect nonce supplied; nonce for this rekey operation is %q", n)},
		{n, one, nil, ""},
		{n, one, errInvalid, "given key has already been provided during this generation operation"},
		{n, two, errFailed, "failed to read root key: invalid key: failed to decrypt keys from storage: " +
			"error decrypting seal wrapped value\nerror decrypting using seal : cipher: message authentication failed"},
		{n, one, nil, ""},
		{n, repeat("00", 20), errFailed, "failed to compute root key: " + lengths},
		{n, repeat("01", 20), nil, ""},
		{n, repeat("02", 20), errFailed, badKeySize},
	} {
		_, _, err := r.Update(t.Context(), test.nonce, test.key)
		if test.want == "" {
			if err != nil {
				t.Errorf("share %s: %v", test.key, err)
			}
			continue
		}
		wantError(t, err, test.kind, test.want)
	}
	unsealed(t, s, keys[0], keys[1])
}

func TestRekeyWithVerification(t *testing.T) {
	s, b, keys := startServer(t, 2, 2)
	r := ceremony.NewRekey(s, b, nil)
	p := rekeyParams{SecretShares: 3, SecretThreshold: 2, RequireVerification: true}
	result := rekey(t, r, p, keys...)
	if !result.VerificationRequired || result.VerificationNonce == "" || result.VerificationNonce == result.Nonce {
		t.Fatalf("%+v", result)
	}
	unsealed(t, s, keys...) // the old ones are still in effect
	_, _, err := r.Update(t.Context(), result.Nonce, keys[0])
	wantError(t, err, errInvalid, "rekey operation already finished; verification must be performed; "+
		fmt.Sprintf("nonce for the verification operation is %q", result.VerificationNonce))
	verify := func(key string) (*ceremony.VerifyStatus, *ceremony.VerifyResult, error) {
		status, err := r.VerifyStatus()
		if err != nil {
			t.Fatal(err)
		}
		return r.Verify(t.Context(), status.Nonce, key)
	}
	_, _, err = r.Verify(t.Context(), result.Nonce, result.Keys[0])
	wantError(t, err, errInvalid,
		fmt.Sprintf("incorrect nonce supplied; nonce for this verify operation is %q", result.VerificationNonce))
	for _, test := range []struct {
		last string
		kind error
		want string
	}{
		{result.Keys[0], errInvalid, "given key has already been provided during this verify operation"},
		{repeat("00", 33), errInvalid, "rekey verification failed; incorrect key shares supplied"},
		{repeat("00", 20), errFailed, "failed to compute key for verification: " + lengths},
	} {
		if test.kind != nil {
			if _, err := r.VerifyCancel(ceremony.Privileged); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := verify(result.Keys[0]); err != nil {
			t.Fatal(err)
		}
		_, _, err := verify(test.last)
		wantError(t, err, test.kind, test.want)
	}
	unsealed(t, s, keys...)
	// The right one stays when the other is wrong.
	status, err := r.VerifyStatus()
	if err != nil {
		t.Fatal(err)
	}
	want := ceremony.VerifyStatus{Nonce: status.Nonce, Started: true, T: 2, N: 3, Progress: 1}
	if diff := cmp.Diff(want, status); diff != "" || status.Nonce == result.VerificationNonce {
		t.Fatalf("-want +got\n%s", diff)
	}
	_, done, err := verify(result.Keys[2])
	if diff := cmp.Diff(&ceremony.VerifyResult{Nonce: status.Nonce, Complete: true}, done); err != nil || diff != "" {
		t.Fatalf("%v: -want +got\n%s", err, diff)
	}
	unsealed(t, s, result.Keys[0], result.Keys[1])
}

func TestRekeyBackup(t *testing.T) {
	s, b, keys := startServer(t, 1, 1)
	r := ceremony.NewRekey(s, b, nil)
	_, err := r.Backup(t.Context())
	wantError(t, err, errInvalid, "no backed-up keys found")
	pair := []pgp{newPGP(t), newPGP(t)}
	result := rekey(t, r, rekeyParams{
		SecretShares: 3, SecretThreshold: 2, Backup: true,
		PGPKeys: []string{pair[0].public, pair[1].public, pair[0].public},
	}, keys...)
	prints := []string{pair[0].fingerprint(), pair[1].fingerprint(), pair[0].fingerprint()}
	if diff := cmp.Diff(prints, result.PGPFingerprints); diff != "" {
		t.Fatalf("-want +got\n%s", diff)
	}
	got, err := r.Backup(t.Context())
	want := ceremony.RekeyBackup{
		Nonce: result.Nonce,
		Keys:  map[string][]string{prints[0]: {result.Keys[0], result.Keys[2]}, prints[1]: {result.Keys[1]}},
		KeysBase64: map[string][]string{
			prints[0]: {result.KeysBase64[0], result.KeysBase64[2]}, prints[1]: {result.KeysBase64[1]},
		},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v: -want +got\n%s", err, diff)
	}
	unsealed(t, s, pair[0].decrypt(t, got.KeysBase64[prints[0]][1]), pair[1].decrypt(t, got.KeysBase64[prints[1]][0]))
	for range 2 {
		if err := r.DeleteBackup(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, err = r.Backup(t.Context())
	wantError(t, err, errInvalid, "no backed-up keys found")
}

// TestFaultsInRekey: whatever fails, the server opens with the old shares or with those handed out.
func TestFaultsInRekey(t *testing.T) {
	for _, verification := range []bool{false, true} {
		t.Run(fmt.Sprint("verification ", verification), func(t *testing.T) {
			open := func(*testing.T) storage.Storage { return memory.New() }
			storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, f *storagetest.Faulty) {
				old := initialize(t, base, 1, 1).Keys
				b, err := barrier.Open(t.Context(), f, rootOf(t, base, old[0]))
				if err != nil {
					return
				}
				r := ceremony.NewRekey(f, b, nil)
				started, err := r.Start(t.Context(), rekeyParams{
					SecretShares: 1, SecretThreshold: 1, RequireVerification: verification,
				})
				if err != nil {
					return
				}
				_, result, err := r.Update(t.Context(), started.Nonce, old[0])
				if err != nil {
					rootOf(t, base, old[0])
					return
				}
				if verification {
					_, done, err := r.Verify(t.Context(), result.VerificationNonce, result.Keys[0])
					if err != nil || done == nil {
						rootOf(t, base, old[0])
						return
					}
				}
				if _, err := barrier.Open(t.Context(), base, rootOf(t, base, result.Keys[0])); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestRekeyThatWasWrittenHandsOutItsShares: the storage reports failures but has the new keys, so the shares
// must reach the operators.
func TestRekeyThatWasWrittenHandsOutItsShares(t *testing.T) {
	base := memory.New()
	old := initialize(t, base, 1, 1).Keys
	f := storagetest.NewFaulty(base)
	b, err := barrier.Open(t.Context(), f, rootOf(t, base, old[0]))
	if err != nil {
		t.Fatal(err)
	}
	f.FailEvery(storagetest.Apply, storagetest.WrittenButFailed)
	result := rekey(t, ceremony.NewRekey(f, b, nil), rekeyParams{SecretShares: 1, SecretThreshold: 1}, old...)
	if _, err := barrier.Open(t.Context(), base, rootOf(t, base, result.Keys[0])); err != nil {
		t.Error(err)
	}
}

// rootOf returns the root key that one share opens.
func rootOf(t *testing.T, s storage.Storage, share string) secret.Key {
	t.Helper()
	raw, err := hex.DecodeString(share)
	if err != nil {
		t.Fatal(err)
	}
	root, err := seal.RootKey(t.Context(), s, seal.NewShamir(secret.New(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return root
}
