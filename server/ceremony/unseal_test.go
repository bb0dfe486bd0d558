package ceremony_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/barrier"
	"coffer/server/ceremony"
	"coffer/storage/memory"
)

func TestUnsealProgress(t *testing.T) {
	s := memory.New()
	u := ceremony.NewUnseal(s, nil)
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
		_, verdict, err := u.Add(t.Context(), share, false)
		if verdict == ceremony.Complete {
			t.Fatal("complete")
		}
		return err
	}
	want(ceremony.UnsealStatus{Type: "shamir"})
	wantError(t, add(repeat("00", 33)), errInvalid, "Vault is not initialized")
	r := initialize(t, s, 3, 2)
	status := ceremony.UnsealStatus{Type: "shamir", Initialized: true, T: 2, N: 3}
	want(status)
	for share, text := range map[string]string{
		"":    "'key' must be specified in request body as JSON, or 'reset' set to true",
		"zz!": notBase64, "aa": notBase64,
		repeat("00", 15): notBase64, "aabb": "invalid key: key is shorter than minimum 16 bytes",
		repeat("00", 40): "invalid key: key is longer than maximum 33 bytes",
	} {
		wantError(t, add(share), errInvalid, text)
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
		"wrong":   {r.Keys[0], repeat("00", 33), wrongKeys},
		"lengths": {r.Keys[0], repeat("00", 20), "invalid key: failed to compute combined key: " + lengths},
		"same part": {repeat("01", 33), repeat("02", 32) + "01",
			"invalid key: failed to compute combined key: duplicate part detected"},
		"no AES key": {repeat("01", 20), repeat("02", 20),
			"invalid key: " + badKeySize},
		"AES-128": {repeat("01", 17), repeat("02", 17), wrongKeys},
	} {
		t.Run(name, func(t *testing.T) {
			if err := add(test.first); err != nil {
				t.Fatal(err)
			}
			wantError(t, add(test.last), errInvalid, test.want)
			status := status
			if test.first == r.Keys[0] {
				status.Progress = 1 // it stays
			}
			want(status)
			u.Reset()
		})
	}
	if err := add(r.Keys[1]); err != nil {
		t.Fatal(err)
	}
	status.Progress = 1
	if again := want(status); again.Nonce == first.Nonce {
		t.Error("the nonce was used again")
	}
	opening, verdict, err := u.Add(t.Context(), r.Keys[2], false)
	if err != nil || verdict != ceremony.Complete {
		t.Fatalf("%v, %v", verdict, err)
	}
	if _, err := barrier.Open(t.Context(), s, opening.Root); err != nil {
		t.Error(err)
	}
	status.Progress = 0
	want(status)
}

// FuzzUnsealShare gives made-up shares to a sealed server.
func FuzzUnsealShare(f *testing.F) {
	for _, seed := range []string{
		"", "aa", "aabb", "\x00", repeat("00", 33), repeat("A", 44), "hmCXjsE7A0gjr/NHHALO5+ADQioI5pWDegrdFLGK/FxL",
	} {
		f.Add(seed, seed)
	}
	s := memory.New()
	p := initParams{SecretShares: 3, SecretThreshold: 2}
	if _, err := initServer(context.Background(), s, nil, p, setup); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first, last string) {
		u := ceremony.NewUnseal(s, nil)
		for _, share := range []string{first, last, first} {
			_, verdict, err := u.Add(context.Background(), share, false)
			if verdict == ceremony.Complete || err != nil && !errors.Is(err, errInvalid) {
				t.Fatalf("%v, %v", verdict, err)
			}
		}
	})
}
