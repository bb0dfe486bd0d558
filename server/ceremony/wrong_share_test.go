package ceremony_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/barrier"
	"coffer/barrier/seal"
	"coffer/server/ceremony"
	"coffer/storage"
	"coffer/storage/memory"
)

// forged returns what a stranger can make up: random bytes of the right length, at the place of a share if like is
// one.
func forged(t *testing.T, like string) string {
	t.Helper()
	b := make([]byte, 33)
	_, _ = rand.Read(b)
	if like != "" {
		raw, err := hex.DecodeString(like)
		if err != nil {
			t.Fatal(err)
		}
		b[32] = raw[len(raw)-1]
	}
	return hex.EncodeToString(b)
}

// TestOneWrongShareSpoilsNothing puts wrong shares before, between and after the right ones, at the places of right
// ones, of other lengths, and more of them than there are shares. The right ones open all the same.
func TestOneWrongShareSpoilsNothing(t *testing.T) {
	for _, test := range []struct{ shares, threshold int }{{1, 1}, {2, 2}, {5, 3}, {5, 5}, {9, 4}} {
		for wrong := range 2*test.threshold + 2 {
			t.Run(fmt.Sprintf("%d of %d, %d wrong", test.threshold, test.shares, wrong), func(t *testing.T) {
				s := memory.New()
				keys := initialize(t, s, test.shares, test.threshold).Keys[:test.threshold]
				u := ceremony.NewUnseal(s, nil)
				for i, key := range keys {
					for range wrong {
						for _, bad := range []string{forged(t, ""), forged(t, keys[0]), repeat("ab", 20)} {
							_, verdict, err := u.Add(t.Context(), bad, false)
							if verdict > ceremony.Unfit || err != nil && !errors.Is(err, errInvalid) {
								t.Fatalf("a wrong share: %v, %v", verdict, err)
							}
						}
					}
					o, verdict, err := u.Add(t.Context(), key, false)
					last := i == len(keys)-1
					if err != nil || (verdict == ceremony.Complete) != last || verdict < ceremony.Fit {
						t.Fatalf("right share %d: %v, %v", i, verdict, err)
					}
					if !last {
						continue
					}
					if _, err := barrier.Open(t.Context(), s, o.Root); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// TestFloodOfWrongSharesLeavesTheRightOnes lets strangers give wrong shares, as fast as they can, while operators give
// theirs. What is kept of the strangers' is less than a threshold.
func TestFloodOfWrongSharesLeavesTheRightOnes(t *testing.T) {
	s := memory.New()
	keys := initialize(t, s, 5, 3).Keys
	u := ceremony.NewUnseal(s, nil)
	var flood sync.WaitGroup
	var over atomic.Bool
	var given atomic.Int64
	for range 4 {
		flood.Go(func() {
			for !over.Load() {
				if _, verdict, _ := u.Add(t.Context(), forged(t, keys[1]), false); verdict == ceremony.Complete {
					t.Error("a wrong share opened the server")
				}
				given.Add(1)
			}
		})
	}
	for i, key := range keys[:3] {
		for from := given.Load(); given.Load() < from+100; {
			status, err := u.Status(t.Context())
			if err != nil || status.Progress >= status.T {
				t.Errorf("progress %d of %d, %v", status.Progress, status.T, err)
			}
		}
		_, verdict, err := u.Add(t.Context(), key, false)
		if want := map[bool]ceremony.Verdict{false: ceremony.Fit, true: ceremony.Complete}[i == 2]; err != nil || verdict != want {
			t.Errorf("right share %d: %v, %v", i, verdict, err)
		}
	}
	over.Store(true)
	flood.Wait()
}

// TestWrongShareInAnAttempt: generate-root, rekey and the verification of a rekey keep the right shares as well.
func TestWrongShareInAnAttempt(t *testing.T) {
	s, b, keys := startServer(t, 5, 3)
	m := &mint{token: "hvs.newrootnewrootnewrootnew"}
	g := ceremony.NewGenerateRoot(s, b, m.root)
	started, err := g.Start(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	progress := func() int {
		t.Helper()
		status, err := g.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return status.Progress
	}
	for i, key := range keys[:3] {
		for range 7 {
			if _, err := g.Update(t.Context(), started.Nonce, forged(t, key)); err != nil && !errors.Is(err, errInvalid) {
				t.Fatal(err)
			}
		}
		if done, err := g.Update(t.Context(), started.Nonce, key); err != nil || done.Complete != (i == 2) {
			t.Fatalf("right share %d: %+v, %v", i, done, err)
		}
	}
	if m.stored == "" || progress() != 0 {
		t.Errorf("no root token, or progress %d", progress())
	}

	r := ceremony.NewRekey(s, b, nil)
	begun, err := r.Start(t.Context(), rekeyParams{SecretShares: 4, SecretThreshold: 2, RequireVerification: true})
	if err != nil {
		t.Fatal(err)
	}
	var result *ceremony.RekeyResult
	for i, key := range keys[:3] {
		for range 7 {
			if _, _, err := r.Update(t.Context(), begun.Nonce, forged(t, key)); err != nil && !errors.Is(err, errFailed) {
				t.Fatal(err)
			}
		}
		if _, result, err = r.Update(t.Context(), begun.Nonce, key); err != nil || (result != nil) != (i == 2) {
			t.Fatalf("right share %d: %+v, %v", i, result, err)
		}
	}
	var done *ceremony.VerifyResult
	for i, key := range result.Keys[2:] {
		for range 7 {
			_, _, err := r.Verify(t.Context(), result.VerificationNonce, forged(t, key))
			if err != nil && !errors.Is(err, errInvalid) && !errors.Is(err, errFailed) {
				t.Fatal(err)
			}
		}
		if _, done, err = r.Verify(t.Context(), result.VerificationNonce, key); err != nil || (done != nil) != (i == 1) {
			t.Fatalf("new share %d: %+v, %v", i, done, err)
		}
	}
	unsealed(t, s, result.Keys[:2]...)
}

// TestDamagedMarksKeepNobodyOut: shares that do not fit are tried before they are refused.
func TestDamagedMarksKeepNobodyOut(t *testing.T) {
	s, other := memory.New(), memory.New()
	keys := initialize(t, s, 5, 3).Keys
	initialize(t, other, 5, 3)
	foreign, err := seal.ReadConfig(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	for _, marks := range []*seal.Marks{nil, foreign.Marks} {
		record, err := json.Marshal(seal.Config{Type: seal.TypeShamir, Shares: 5, Threshold: 3, Marks: marks})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Apply(t.Context(), storage.Put(seal.ConfigPath, record)); err != nil {
			t.Fatal(err)
		}
		unsealed(t, s, keys[1:4]...)
	}
}

// TestAttemptsEndWhenNobodyGoesOn lets the time pass. Wrong shares do not keep an attempt alive.
func TestAttemptsEndWhenNobodyGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, keys := startServer(t, 3, 3)
		u, g, r := ceremony.NewUnseal(s, nil), ceremony.NewGenerateRoot(s, b, (&mint{}).root), ceremony.NewRekey(s, b, nil)
		ended := make(chan string, 10)
		note := func(what string) func() { return func() { ended <- what } }
		u.Expired, g.Expired, r.Expired = note("unseal"), note("generate-root"), note("rekey")
		root, err := g.Start(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		begun, err := r.Start(t.Context(), rekeyParams{SecretShares: 1, SecretThreshold: 1})
		if err != nil {
			t.Fatal(err)
		}
		give := func(key string) {
			_, _, _ = u.Add(t.Context(), key, false)
			_, _ = g.Update(t.Context(), root.Nonce, key)
			_, _, _ = r.Update(t.Context(), begun.Nonce, key)
		}
		alive := func() [3]bool {
			t.Helper()
			synctest.Wait()
			unseal, err1 := u.Status(t.Context())
			generate, err2 := g.Status(t.Context())
			rekey, err3 := r.Status(t.Context())
			if err := errors.Join(err1, err2, err3); err != nil {
				t.Fatal(err)
			}
			return [3]bool{unseal.Nonce != "", generate.Started, rekey.Started}
		}
		all, none := [3]bool{true, true, true}, [3]bool{}
		for _, key := range keys[:2] {
			time.Sleep(ceremony.IdleLimit - time.Second)
			give(key)
			if got := alive(); got != all {
				t.Fatalf("alive: %v", got)
			}
		}
		time.Sleep(ceremony.IdleLimit / 2)
		give(forged(t, ""))
		time.Sleep(ceremony.IdleLimit/2 - time.Second)
		if got := alive(); got != all {
			t.Fatalf("a second too early: %v", got)
		}
		time.Sleep(2 * time.Second)
		if got := alive(); got != none {
			t.Errorf("alive: %v", got)
		}
		close(ended)
		counts := map[string]int{}
		for what := range ended {
			counts[what]++
		}
		if diff := cmp.Diff(map[string]int{"unseal": 1, "generate-root": 1, "rekey": 1}, counts); diff != "" {
			t.Errorf("ended: -want +got\n%s", diff)
		}
		if _, err := g.Update(t.Context(), root.Nonce, keys[2]); !errors.Is(err, errInvalid) {
			t.Errorf("the last share: %v", err)
		}
	})
}

// TestVerificationEndsWhenNobodyGoesOn: the new key is forgotten and the old one stays in effect.
func TestVerificationEndsWhenNobodyGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, keys := startServer(t, 2, 2)
		r := ceremony.NewRekey(s, b, nil)
		result := rekey(t, r, rekeyParams{SecretShares: 2, SecretThreshold: 2, RequireVerification: true}, keys...)
		if _, _, err := r.Verify(t.Context(), result.VerificationNonce, result.Keys[0]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(ceremony.IdleLimit + time.Second)
		synctest.Wait()
		_, _, err := r.Verify(t.Context(), result.VerificationNonce, result.Keys[1])
		wantError(t, err, errInvalid, "no rekey in progress")
		unsealed(t, s, keys...)
	})
}

// TestCloseEndsAttempts: what a session leaves behind is no timer and no share.
func TestCloseEndsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, keys := startServer(t, 3, 2)
		g, r := ceremony.NewGenerateRoot(s, b, (&mint{}).root), ceremony.NewRekey(s, b, nil)
		g.Expired, r.Expired = func() { t.Error("generate-root expired") }, func() { t.Error("rekey expired") }
		started, err := g.Start(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Update(t.Context(), started.Nonce, keys[0]); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Start(t.Context(), rekeyParams{SecretShares: 1, SecretThreshold: 1}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			g.Close()
			r.Close()
		}
		time.Sleep(2 * ceremony.IdleLimit)
		if status, err := g.Status(t.Context()); err != nil || status.Started {
			t.Errorf("%+v, %v", status, err)
		}
	})
}
