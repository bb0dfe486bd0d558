package ceremony_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"coffer/barrier/seal"
	"coffer/server/ceremony"
	"coffer/storage"
	"coffer/storage/memory"
)

// used puts on record that a share of the present key was used, as the core does after an unsealing.
func used(t *testing.T, s storage.Storage) {
	t.Helper()
	if _, err := ceremony.Settle(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// TestOldSharesUntilANewOneIsUsed: nobody has seen the new shares when the server dies before its answer. The old ones
// open the server, make a root token, and make new shares again.
func TestOldSharesUntilANewOneIsUsed(t *testing.T) {
	s, b, keys := startServer(t, 3, 2)
	lost := rekey(t, ceremony.NewRekey(s, b, nil), rekeyParams{SecretShares: 4, SecretThreshold: 3}, keys[:2]...)

	u := ceremony.NewUnseal(s, nil)
	_, _, err := u.Add(t.Context(), keys[2], false)
	if status, statusErr := u.Status(t.Context()); err != nil || statusErr != nil || !status.FormerShares ||
		status.Progress != 1 || status.T != 2 || status.N != 3 {
		t.Fatalf("%+v, %v, %v", status, err, statusErr)
	}
	if o, _, err := u.Add(t.Context(), keys[1], false); err != nil || o.Shares != ceremony.FormerShares {
		t.Fatalf("%v, opened by shares %v", err, o.Shares)
	}
	if status, err := u.Status(t.Context()); err != nil || status.Progress != 0 || status.Nonce != "" {
		t.Errorf("after opening: %+v, %v", status, err)
	}
	b = unsealed(t, s, keys[0], keys[2])

	m := &mint{token: "hvs.newrootnewrootnewrootnew"}
	g := ceremony.NewGenerateRoot(s, b, m.root)
	started, err := g.Start(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys[:2] {
		if started, err = g.Update(t.Context(), started.Nonce, key); err != nil {
			t.Fatal(err)
		}
	}
	if !started.Complete {
		t.Errorf("generate-root: %+v", started)
	}

	r := ceremony.NewRekey(s, b, nil)
	again := rekey(t, r, rekeyParams{SecretShares: 3, SecretThreshold: 2}, keys[1], keys[0])
	for name, shares := range map[string][]string{"old": keys[:2], "newest": again.Keys[1:]} {
		if _, err := opensWith(t, s, nil, false, shares...); err != nil {
			t.Errorf("the %s shares: %v", name, err)
		}
	}
	if _, err := opensWith(t, s, nil, false, lost.Keys...); !errors.Is(err, errInvalid) {
		t.Errorf("the lost shares: %v", err)
	}
	used(t, s)
	if _, err := opensWith(t, s, nil, false, keys...); !errors.Is(err, errInvalid) {
		t.Errorf("the old shares after a new one was used: %v", err)
	}
	if status, err := r.Status(t.Context()); err != nil || status.FormerShares {
		t.Errorf("%+v, %v", status, err)
	}
}

// TestWhatEndsTheOldShares lists the uses of a new share that prove that it arrived.
func TestWhatEndsTheOldShares(t *testing.T) {
	for name, use := range map[string]func(*testing.T, *ceremony.Rekey, *ceremony.GenerateRoot, []string){
		"generate-root": func(t *testing.T, _ *ceremony.Rekey, g *ceremony.GenerateRoot, keys []string) {
			started, err := g.Start(t.Context(), "", "")
			if err == nil {
				_, err = g.Update(t.Context(), started.Nonce, keys[1])
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"rekey": func(t *testing.T, r *ceremony.Rekey, _ *ceremony.GenerateRoot, keys []string) {
			started, err := r.Start(t.Context(), rekeyParams{SecretShares: 1, SecretThreshold: 1})
			if err == nil {
				_, _, err = r.Update(t.Context(), started.Nonce, keys[1])
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"an operator": func(t *testing.T, r *ceremony.Rekey, _ *ceremony.GenerateRoot, _ []string) {
			if err := r.EndFormer(t.Context(), ceremony.Anonymous); !errors.Is(err, ceremony.ErrDenied) {
				t.Errorf("a stranger: %v", err)
			}
			if err := r.EndFormer(t.Context(), ceremony.Privileged); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, b, keys := startServer(t, 3, 2)
			r, m := ceremony.NewRekey(s, b, nil), &mint{}
			told := 0
			g := ceremony.NewGenerateRoot(s, b, m.root)
			g.Settled = func() { told++ }
			r.Settled = g.Settled
			result := rekey(t, r, rekeyParams{SecretShares: 3, SecretThreshold: 2}, keys[:2]...)
			use(t, r, g, result.Keys)
			if _, err := opensWith(t, s, nil, false, keys...); !errors.Is(err, errInvalid) {
				t.Errorf("the old shares: %v", err)
			}
			if _, err := opensWith(t, s, nil, false, result.Keys[:2]...); err != nil {
				t.Errorf("the new shares: %v", err)
			}
			if want := 1; name != "an operator" && told != want {
				t.Errorf("told %d times, want %d", told, want)
			}
		})
	}
}

// TestRootRekeyByOldRecoveryKeys: with them in use the new ones, which nobody has seen, are over.
func TestRootRekeyByOldRecoveryKeys(t *testing.T) {
	s := memory.New()
	keys := initAuto(t, s, static("a"), 3, 2)
	r := ceremony.NewRekey(s, opensBy(t, s, static("a")), static("a"))
	lost := rekey(t, r.Recovery(), rekeyParams{SecretShares: 2, SecretThreshold: 2}, keys[:2]...)
	rekey(t, r, rekeyParams{}, keys[1:]...)
	opensBy(t, s, static("a"))
	if o, err := opensWith(t, s, static("gone"), false, keys[:2]...); err != nil || o.Shares != ceremony.PresentShares {
		t.Errorf("the old recovery keys: %v, %v", o.Shares, err)
	}
	if _, err := opensWith(t, s, static("gone"), false, lost.Keys...); !errors.Is(err, errInvalid) {
		t.Errorf("the lost recovery keys: %v", err)
	}
}

// TestFormerKeyHasItsPlace: its record does not open the server in the place of another.
func TestFormerKeyHasItsPlace(t *testing.T) {
	s, b, keys := startServer(t, 1, 1)
	rekey(t, ceremony.NewRekey(s, b, nil), rekeyParams{SecretShares: 1, SecretThreshold: 1}, keys...)
	config, err := seal.ReadConfig(t.Context(), s)
	if err != nil || config.Former == nil {
		t.Fatalf("%+v, %v", config, err)
	}
	swapped := slices.Clone(config.Former.RootKey)
	if wrapped, err := s.Get(t.Context(), seal.RootKeyPath); err != nil || bytes.Equal(wrapped, swapped) {
		t.Fatal("the same record", err)
	}
	used(t, s)
	if err := s.Apply(t.Context(), storage.Put(seal.RootKeyPath, swapped)); err != nil {
		t.Fatal(err)
	}
	if _, err := opensWith(t, s, nil, false, keys...); !errors.Is(err, errInvalid) {
		t.Errorf("the former key's record as the root key's: %v", err)
	}
}

// TestInitAgain replaces a server of which nobody has used anything, and none other.
func TestInitAgain(t *testing.T) {
	s := memory.New()
	lost := initialize(t, s, 3, 2)
	p := initParams{SecretShares: 1, SecretThreshold: 1}
	if _, err := initServer(t.Context(), s, nil, p, setup); !errors.Is(err, ceremony.ErrAlreadyInitialized) {
		t.Fatalf("without leave: %v", err)
	}
	if err := s.Apply(t.Context(), storage.Put("logical/left/over", []byte("x")), storage.Put("top", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	answered := func() {
		if err := ceremony.Answered(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	answered()
	p.Unanswered = true
	if _, err := initServer(t.Context(), s, nil, p, setup); !errors.Is(err, ceremony.ErrAlreadyInitialized) {
		t.Fatalf("after the answer: %v", err)
	}
	p.Again = true
	bad := p
	bad.SecretThreshold = 0
	if _, err := initServer(t.Context(), s, nil, bad, setup); !errors.Is(err, errInvalid) {
		t.Fatalf("a bad threshold: %v", err)
	}
	unsealed(t, s, lost.Keys[:2]...)
	found, err := initServer(t.Context(), s, nil, p, setup)
	if err != nil {
		t.Fatal(err)
	}
	for key := range contents(t, s) {
		if key == "logical/left/over" || key == "top" {
			t.Errorf("%s is still there", key)
		}
	}
	unsealed(t, s, found.Keys...)
	if _, err := opensWith(t, s, nil, false, lost.Keys...); !errors.Is(err, errInvalid) {
		t.Errorf("the lost shares: %v", err)
	}
	p.Again = false
	if _, err = initServer(t.Context(), s, nil, p, setup); err != nil {
		t.Fatalf("the answer of the last one was never sent: %v", err)
	}
	p.Again = true
	for name, claim := range map[string]func(){
		"a share": func() { used(t, s) },
		"a token": func() {
			if err := ceremony.Claim(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		},
	} {
		if found, err = initServer(t.Context(), s, nil, p, setup); err != nil {
			t.Fatal(err)
		}
		claim()
		if _, err := initServer(t.Context(), s, nil, p, setup); !errors.Is(err, ceremony.ErrAlreadyInitialized) {
			t.Errorf("after %s was used: %v", name, err)
		}
		unsealed(t, s, found.Keys...)
		s = memory.New()
	}
}
