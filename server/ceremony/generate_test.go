package ceremony_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/barrier"
	"coffer/server/ceremony"
	"coffer/storage/memory"
)

// mint keeps the last token that was stored.
type mint struct {
	stored string
	token  string
	err    error
}

func (m *mint) root(_ context.Context, deliver func(string) error) (string, error) {
	if err := deliver(m.token); err != nil {
		return "", err
	}
	m.stored = m.token
	return "accessor", m.err
}

func startServer(t *testing.T, shares, threshold int) (*memory.Store, *barrier.Barrier, []string) {
	t.Helper()
	s := memory.New()
	r := initialize(t, s, shares, threshold)
	return s, unsealed(t, s, r.Keys[:threshold]...), r.Keys
}

func TestGenerateRootWithOTP(t *testing.T) {
	s, b, keys := startServer(t, 3, 2)
	for _, given := range []string{"", strings.Repeat("A", ceremony.OTPLength)} {
		m := &mint{token: "hvs.newrootnewrootnewrootnew"}
		g := ceremony.NewGenerateRoot(s, b, m.root)
		started, err := g.Start(t.Context(), given, "")
		if err != nil {
			t.Fatal(err)
		}
		otp := given
		if given == "" {
			otp = started.OTP
		}
		want := ceremony.GenerateRootStatus{
			Nonce: started.Nonce, Started: true, Required: 2, OTP: started.OTP, OTPLength: ceremony.OTPLength,
		}
		if diff := cmp.Diff(want, started); diff != "" || len(otp) != ceremony.OTPLength || given+started.OTP != otp {
			t.Fatalf("Start: -want +got\n%s", diff)
		}
		_, err = g.Start(t.Context(), "", "")
		wantError(t, err, errInvalid, "root generation already in progress")
		progress, err := g.Update(t.Context(), started.Nonce, keys[0])
		want = ceremony.GenerateRootStatus{Nonce: started.Nonce, Started: true, Progress: 1, Required: 2}
		if diff := cmp.Diff(want, progress); err != nil || diff != "" {
			t.Fatalf("%v: -want +got\n%s", err, diff)
		}
		done, err := g.Update(t.Context(), started.Nonce, keys[2])
		want.Progress, want.Complete = 2, true
		want.EncodedToken, want.EncodedRootToken, want.Accessor = done.EncodedToken, done.EncodedToken, "accessor"
		if diff := cmp.Diff(want, done); err != nil || diff != "" {
			t.Fatalf("%v: -want +got\n%s", err, diff)
		}
		raw, err := base64.RawStdEncoding.DecodeString(done.EncodedToken)
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			raw[i] ^= otp[i]
		}
		if string(raw) != m.token || m.stored != m.token {
			t.Errorf("token %q, stored %q", raw, m.stored)
		}
		status, err := g.Status(t.Context())
		if err != nil || status.Started || status.OTPLength != ceremony.OTPLength {
			t.Errorf("afterwards: %+v, %v", status, err)
		}
	}
}

func TestGenerateRootWithPGP(t *testing.T) {
	s, b, keys := startServer(t, 1, 1)
	key, m := newPGP(t), &mint{token: "hvs.any length will do here"}
	g := ceremony.NewGenerateRoot(s, b, m.root)
	started, err := g.Start(t.Context(), "", key.public)
	if err != nil || started.PGPFingerprint != key.fingerprint() || started.OTP != "" {
		t.Fatalf("%+v, %v", started, err)
	}
	done, err := g.Update(t.Context(), started.Nonce, keys[0])
	if err != nil || !done.Complete {
		t.Fatalf("%+v, %v", done, err)
	}
	if got := key.decrypt(t, done.EncodedToken); got != m.token {
		t.Errorf("token %q", got)
	}
}

func TestGenerateRootRefuses(t *testing.T) {
	s, b, keys := startServer(t, 3, 2)
	m := &mint{token: "too short"}
	g := ceremony.NewGenerateRoot(s, b, m.root)
	for _, test := range []struct{ otp, pgp, want string }{
		{"x", "", "OTP string is wrong length"},
		{"", "!!", "error parsing PGP key: error decoding given PGP key: illegal base64 data at input byte 0"},
		{"", "YWFh", "error parsing PGP key: " + notPGP},
	} {
		_, err := g.Start(t.Context(), test.otp, test.pgp)
		wantError(t, err, errInvalid, test.want)
	}
	_, err := g.Update(t.Context(), "n", keys[0])
	wantError(t, err, errInvalid, "no root generation in progress")
	started, err := g.Start(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	n := started.Nonce
	one, two := repeat("01", 33), repeat("02", 33)
	for _, test := range []struct{ nonce, key, want string }{
		{n, "", "'key' must be specified in request body as JSON"},
		{n, "zz!", notBase64},
		{"x", "aabb", "invalid key: key is shorter than minimum 16 bytes"},
		{n, repeat("00", 40), "invalid key: key is longer than maximum 33 bytes"},
		{"", one, fmt.Sprintf("incorrect nonce supplied; nonce for this root generation operation is %q", n)},
		{n, one, ""},
		{n, one, "given key has already been provided during this generation operation"},
		{n, two, "root generation aborted: unable to authenticate: " + wrongKeys},
		{n, one, ""},
		{n, repeat("02", 20), "failed to compute root key: all parts must be the same length"},
		{n, repeat("01", 20), ""},
		{n, repeat("02", 20), "root generation aborted: unable to authenticate: invalid key: " + badKeySize},
		{n, keys[0], ""},
	} {
		_, err := g.Update(t.Context(), test.nonce, test.key)
		if test.want == "" {
			if err != nil {
				t.Errorf("share %s: %v", test.key, err)
			}
			continue
		}
		wantError(t, err, errInvalid, test.want)
	}
	if _, err := g.Update(t.Context(), n, keys[1]); err == nil || m.stored != "" {
		t.Errorf("a token that does not fit the OTP: %v, stored %q", err, m.stored)
	}
}

func TestCancelNeedsPrivilege(t *testing.T) {
	s, b, keys := startServer(t, 3, 2)
	g := ceremony.NewGenerateRoot(s, b, (&mint{}).root)
	if err := g.Cancel(ceremony.Anonymous); err != nil {
		t.Errorf("nothing to cancel: %v", err)
	}
	if _, err := g.Start(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	wantError(t, g.Cancel(ceremony.Anonymous), ceremony.ErrDenied, "permission denied")
	if status, err := g.Status(t.Context()); err != nil || !status.Started {
		t.Errorf("the attempt is gone: %v", err)
	}
	if err := g.Cancel(ceremony.Privileged); err != nil {
		t.Error(err)
	}
	if status, err := g.Status(t.Context()); err != nil || status.Started {
		t.Errorf("the attempt is still there: %v", err)
	}
	r := ceremony.NewRekey(s, b, nil)
	if err := r.Cancel(ceremony.Anonymous, ""); err != nil {
		t.Errorf("nothing to cancel: %v", err)
	}
	p := rekeyParams{SecretShares: 1, SecretThreshold: 1, RequireVerification: true}
	started, err := r.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys[:2] {
		if _, _, err := r.Update(t.Context(), started.Nonce, key); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, r.Cancel(ceremony.Privileged, ""), errInvalid, "invalid request")
	wantError(t, r.Cancel(ceremony.Privileged, "x"), errInvalid, "invalid request")
	wantError(t, r.Cancel(ceremony.Anonymous, started.Nonce), ceremony.ErrDenied, "permission denied")
	_, err = r.VerifyCancel(ceremony.Anonymous)
	wantError(t, err, ceremony.ErrDenied, "permission denied")
	if err := r.Cancel(ceremony.Privileged, started.Nonce); err != nil {
		t.Error(err)
	}
}

// FuzzPGPKey gives made-up keys to generate-root.
func FuzzPGPKey(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("aaa"))
	f.Add([]byte{0xc6, 0xc0, 0x4d, 0x04})
	s := memory.New()
	p := initParams{SecretShares: 1, SecretThreshold: 1}
	if _, err := initServer(context.Background(), s, nil, p, setup); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		text := base64.StdEncoding.EncodeToString(key)
		for _, text := range []string{text, "A" + text} {
			_, err := ceremony.NewGenerateRoot(s, nil, nil).Start(context.Background(), "", text)
			if err != nil && !errors.Is(err, errInvalid) {
				t.Fatal(err)
			}
		}
	})
}
