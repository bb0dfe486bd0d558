package ceremony_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/barrier"
	"coffer/server/ceremony"
	"coffer/storage/memory"
)

const (
	notBase64 = "'key' must be a valid hex or base64 string"
	wrongKeys = "unable to retrieve stored keys: invalid key: failed to decrypt keys from storage: error decrypting seal " +
		"wrapped value\nerror decrypting using seal shamir: cipher: message authentication failed"
)

func TestUnsealProgress(t *testing.T) {
	s := memory.New()
	u := ceremony.NewUnseal(s)
	want := func(want ceremony.UnsealStatus) ceremony.UnsealStatus {
		t.Helper()
		got, err := u.Status(t.Context())
		hasNonce := got.Nonce != ""
		if err != nil || hasNonce != (want.Progress > 0) {
			t.Fatalf("Status = %+v, %v", got, err)
		}
		want.Nonce = got.Nonce
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
		return got
	}
	add := func(share string) error {
		t.Helper()
		_, complete, err := u.Add(t.Context(), share)
		if complete {
			t.Fatal("complete")
		}
		return err
	}
	want(ceremony.UnsealStatus{Type: "shamir"})
	wantError(t, add(strings.Repeat("00", 33)), ceremony.ErrInvalid, "Vault is not initialized")
	r := initialize(t, s, 3, 2)
	status := ceremony.UnsealStatus{Type: "shamir", Initialized: true, T: 2, N: 3}
	want(status)
	for share, text := range map[string]string{
		"": "'key' must be specified in request body as JSON, or 'reset' set to true", "zz!": notBase64, "aa": notBase64,
		strings.Repeat("00", 15): notBase64, "aabb": "invalid key: key is shorter than minimum 16 bytes",
		strings.Repeat("00", 40): "invalid key: key is longer than maximum 33 bytes",
	} {
		wantError(t, add(share), ceremony.ErrInvalid, text)
	}
	want(status)
	status.Progress = 1
	if err := errors.Join(add(r.Keys[0]), add(r.Keys[0]), add(r.KeysBase64[0])); err != nil {
		t.Fatal(err)
	}
	first := want(status)
	u.Reset()
	status.Progress = 0
	want(status)
	for name, test := range map[string]struct{ first, last, want string }{
		"wrong":     {r.Keys[0], strings.Repeat("00", 33), wrongKeys},
		"lengths":   {r.Keys[0], strings.Repeat("00", 20), "invalid key: failed to compute combined key: all parts must be the same length"},
		"same part": {strings.Repeat("01", 33), strings.Repeat("02", 32) + "01", "invalid key: failed to compute combined key: duplicate part detected"},
		"no AES key": {strings.Repeat("01", 20), strings.Repeat("02", 20),
			"invalid key: failed to setup unseal key: crypto/aes: invalid key size 19"},
		"AES-128": {strings.Repeat("01", 17), strings.Repeat("02", 17), wrongKeys},
	} {
		t.Run(name, func(t *testing.T) {
			if err := add(test.first); err != nil {
				t.Fatal(err)
			}
			wantError(t, add(test.last), ceremony.ErrInvalid, test.want)
			want(status)
		})
	}
	if err := add(r.Keys[1]); err != nil {
		t.Fatal(err)
	}
	status.Progress = 1
	if again := want(status); again.Nonce == first.Nonce {
		t.Error("the nonce was used again")
	}
	root, complete, err := u.Add(t.Context(), r.Keys[2])
	if err != nil || !complete {
		t.Fatalf("complete %v, %v", complete, err)
	}
	if _, err := barrier.Open(t.Context(), s, root); err != nil {
		t.Error(err)
	}
	status.Progress = 0
	want(status)
}

// FuzzUnsealShare gives made-up shares to a sealed server.
func FuzzUnsealShare(f *testing.F) {
	for _, seed := range []string{"", "aa", "aabb", strings.Repeat("00", 33), strings.Repeat("A", 44), "\x00", "hmCXjsE7A0gjr/NHHALO5+ADQioI5pWDegrdFLGK/FxL"} {
		f.Add(seed, seed)
	}
	s := memory.New()
	if _, err := ceremony.Init(context.Background(), s, ceremony.InitParams{SecretShares: 3, SecretThreshold: 2}, setup); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first, last string) {
		u := ceremony.NewUnseal(s)
		for _, share := range []string{first, last, first} {
			if _, complete, err := u.Add(context.Background(), share); complete || err != nil && !errors.Is(err, ceremony.ErrInvalid) {
				t.Fatalf("complete %v, %v", complete, err)
			}
		}
	})
}
