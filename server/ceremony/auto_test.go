package ceremony_test

import (
	"errors"
	"strings"
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

// autoKey is a key of the static seal for tests: one for each id, and none for those that are gone.
func autoKey(id string) seal.StaticKey {
	return seal.StaticKey{ID: id, Load: func() (secret.Key, error) {
		if strings.HasPrefix(id, "gone") {
			return secret.Key{}, errors.New("no such file")
		}
		return secret.New([]byte(strings.Repeat(id[:1], 32))), nil
	}}
}

// static is the seal that wraps with the first of the keys.
func static(ids ...string) seal.Auto {
	keys := make([]seal.StaticKey, len(ids))
	for i, id := range ids {
		keys[i] = autoKey(id)
	}
	return seal.NewStatic(keys[0], keys[1:]...)
}

func initAuto(t *testing.T, s storage.Storage, auto seal.Auto, shares, threshold int) []string {
	t.Helper()
	p := initParams{RecoveryShares: shares, RecoveryThreshold: threshold}
	r, err := initServer(t.Context(), s, auto, p, setup)
	if err != nil {
		t.Fatal(err)
	}
	used(t, s)
	return r.RecoveryKeys
}

// opensBy tells by which seals the data opens and that the root key is right.
func opensBy(t *testing.T, s storage.Storage, auto seal.Auto) *barrier.Barrier {
	t.Helper()
	o, err := ceremony.NewUnseal(s, auto).Auto(t.Context())
	if err != nil {
		t.Fatalf("the seal does not open the data: %v", err)
	}
	b, err := barrier.Open(t.Context(), s, o.Root)
	if err != nil {
		t.Fatalf("the seal has another root key: %v", err)
	}
	return b
}

// opensWith gives the shares to a server of that seal.
func opensWith(t *testing.T, s storage.Storage, auto seal.Auto, migrate bool, shares ...string) (ceremony.Opening, error) {
	t.Helper()
	u := ceremony.NewUnseal(s, auto)
	for _, share := range shares {
		o, verdict, err := u.Add(t.Context(), share, migrate)
		if err != nil {
			return ceremony.Opening{}, err
		}
		if verdict != ceremony.Complete {
			continue
		}
		if _, err := barrier.Open(t.Context(), s, o.Root); err != nil {
			t.Fatalf("the shares have another root key: %v", err)
		}
		return o, nil
	}
	t.Fatal("the shares were not enough")
	return ceremony.Opening{}, nil
}

func contents(t *testing.T, s *memory.Store) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, op := range s.Contents() {
		m[op.Key] = string(op.Value)
	}
	return m
}

func TestInitOfASealThatOpensByItself(t *testing.T) {
	s := memory.New()
	r, err := initServer(t.Context(), s, static("a"), initParams{RecoveryShares: 3, RecoveryThreshold: 2}, setup)
	if err != nil {
		t.Fatal(err)
	}
	if r.Keys == nil || len(r.Keys)+len(r.KeysBase64) != 0 || len(r.RecoveryKeys) != 3 || len(r.RecoveryKeysBase64) != 3 {
		t.Errorf("%d keys, %d recovery keys", len(r.Keys), len(r.RecoveryKeys))
	}
	opensBy(t, s, static("a"))
	if _, err := opensWith(t, s, static("a"), false, r.RecoveryKeys[2], r.RecoveryKeysBase64[0]); err != nil {
		t.Errorf("the recovery keys: %v", err)
	}
	if _, err := opensWith(t, s, static("gone"), false, r.RecoveryKeys[:2]...); err != nil {
		t.Errorf("the recovery keys without the seal's key: %v", err)
	}
}

func TestInitOfASealThatOpensByItselfRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		auto   seal.Auto
		params initParams
		kind   error
		want   string
	}{
		"nothing":   {static("a"), initParams{}, errInvalid, "recovery configuration must specify a positive number of shares"},
		"threshold": {static("a"), initParams{RecoveryShares: 1}, errInvalid, "invalid recovery configuration: threshold must be at least one"},
		"unseal keys": {static("a"), initParams{SecretShares: 1, SecretThreshold: 1, PGPKeys: []string{"a"}}, errInvalid,
			"parameters secret_shares,secret_threshold,pgp_keys not applicable to seal type static"},
		"PGP keys": {static("a"), initParams{RecoveryShares: 1, RecoveryThreshold: 1, RecoveryPGPKeys: []string{"a", "b"}}, errInvalid,
			"incorrect number of PGP keys for recovery"},
		"PGP key": {static("a"), initParams{RecoveryShares: 1, RecoveryThreshold: 1, RecoveryPGPKeys: []string{"!!"}}, errInvalid,
			"invalid recovery configuration: error decoding given PGP key: illegal base64 data at input byte 0"},
	} {
		s := memory.New()
		_, err := initServer(t.Context(), s, test.auto, test.params, setup)
		wantError(t, err, test.kind, test.want)
		if n := len(s.Contents()); n != 0 {
			t.Errorf("%s: %d keys were written", name, n)
		}
	}
	s := memory.New()
	_, err := initServer(t.Context(), s, static("gone"), initParams{RecoveryShares: 1, RecoveryThreshold: 1}, setup)
	if !errors.Is(err, errFailed) || !errors.Is(err, seal.ErrNoKey) || len(s.Contents()) != 0 {
		t.Errorf("without the seal's key: %v, %d keys were written", err, len(s.Contents()))
	}
}

func TestInitOfASealThatOpensByItselfIsAllOrNothing(t *testing.T) {
	open := func(*testing.T) storage.Storage { return memory.New() }
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, f *storagetest.Faulty) {
		p := initParams{RecoveryShares: 2, RecoveryThreshold: 2}
		r, err := initServer(t.Context(), f, static("a"), p, setup)
		exists, existsErr := barrier.Exists(t.Context(), base)
		if existsErr != nil || exists != (err == nil) {
			t.Fatalf("Init: %v; initialized %v, %v", err, exists, existsErr)
		}
		if !exists {
			return
		}
		opensBy(t, base, static("a"))
		if _, err := opensWith(t, base, static("gone"), false, r.RecoveryKeys...); err != nil {
			t.Error(err)
		}
	})
}

// TestWrongKeyTouchesNothing: whatever the configuration has in place of the right key, nothing is written, the
// error names the key that the data wants, and the recovery keys open.
func TestWrongKeyTouchesNothing(t *testing.T) {
	for name, auto := range map[string]seal.Auto{
		"another id": static("b"), "two other ids": static("b", "c"), "gone": static("gone", "gone-too"),
		"another key of that id": seal.NewStatic(seal.StaticKey{ID: "a", Load: autoKey("z").Load}),
		"short": seal.NewStatic(seal.StaticKey{ID: "a", Load: func() (secret.Key, error) {
			return secret.New([]byte("short")), nil
		}}),
	} {
		t.Run(name, func(t *testing.T) {
			s := memory.New()
			keys := initAuto(t, s, static("a"), 3, 2)
			before := contents(t, s)
			_, err := ceremony.NewUnseal(s, auto).Auto(t.Context())
			if err == nil || !strings.Contains(err.Error(), `"a"`) {
				t.Errorf("%v does not name the key that the data wants", err)
			}
			o, err := opensWith(t, s, auto, false, keys[:2]...)
			if err != nil || len(o.Changes) > 0 {
				t.Errorf("by hand: %d changes, %v", len(o.Changes), err)
			}
			if diff := cmp.Diff(before, contents(t, s)); diff != "" {
				t.Errorf("the storage changed: -want +got\n%s", diff)
			}
		})
	}
}

func TestWrongRecoveryKeys(t *testing.T) {
	s := memory.New()
	initAuto(t, s, static("a"), 1, 1)
	_, err := opensWith(t, s, static("a"), false, repeat("01", 32))
	wantError(t, err, errInvalid, "invalid key: failed to verify recovery key: recovery key does not match submitted values")
	g := ceremony.NewGenerateRoot(s, opensBy(t, s, static("a")), (&mint{}).root)
	started, err := g.Start(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Update(t.Context(), started.Nonce, repeat("01", 32))
	wantError(t, err, errInvalid, "root generation aborted: unable to authenticate: "+
		"recovery key verification failed: recovery key does not match submitted values")
}

func TestGenerateRootWithRecoveryKeys(t *testing.T) {
	s := memory.New()
	keys := initAuto(t, s, static("a"), 3, 2)
	m := &mint{token: "hvs.newrootnewrootnewrootnew"}
	g := ceremony.NewGenerateRoot(s, opensBy(t, s, static("a")), m.root)
	started, err := g.Start(t.Context(), "", "")
	if err != nil || started.Required != 2 {
		t.Fatalf("%+v, %v", started, err)
	}
	for i, key := range keys[1:] {
		status, err := g.Update(t.Context(), started.Nonce, key)
		if err != nil || status.Complete != (i == 1) {
			t.Fatalf("share %d: %+v, %v", i, status, err)
		}
	}
	if m.stored != m.token {
		t.Error("no token was made")
	}
}

func TestStatusOfSeals(t *testing.T) {
	shamir, auto := memory.New(), memory.New()
	initialize(t, shamir, 3, 2)
	initAuto(t, auto, static("a"), 5, 3)
	for name, test := range map[string]struct {
		storage storage.Storage
		auto    seal.Auto
		want    ceremony.UnsealStatus
	}{
		"nothing":          {memory.New(), nil, ceremony.UnsealStatus{Type: "shamir"}},
		"nothing, static":  {memory.New(), static("a"), ceremony.UnsealStatus{Type: "static", RecoverySeal: true}},
		"shamir":           {shamir, nil, ceremony.UnsealStatus{Type: "shamir", Initialized: true, T: 2, N: 3}},
		"shamir to static": {shamir, static("a"), ceremony.UnsealStatus{Type: "static", Initialized: true, T: 2, N: 3, Migration: true, RecoverySeal: true, RecoverySealType: "shamir"}},
		"static":           {auto, static("a"), ceremony.UnsealStatus{Type: "static", Initialized: true, T: 3, N: 5, RecoverySeal: true, RecoverySealType: "shamir"}},
		"static to shamir": {auto, nil, ceremony.UnsealStatus{Type: "shamir", Initialized: true, T: 3, N: 5, Migration: true}},
	} {
		got, err := ceremony.NewUnseal(test.storage, test.auto).Status(t.Context())
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v: -want +got\n%s", name, err, diff)
		}
	}
}

// TestMigration walks from Shamir to a static seal, to another one whose key replaces a lost one, and back. The
// shares stay the same all the way.
func TestMigration(t *testing.T) {
	s := memory.New()
	keys := initialize(t, s, 3, 2).Keys
	move := func(auto seal.Auto, migrates bool) {
		t.Helper()
		if !migrates {
			_, err := opensWith(t, s, auto, true, keys[:2]...)
			wantError(t, err, errFailed, "can't perform a seal migration, no migration seal found")
			return
		}
		before := contents(t, s)
		o, err := opensWith(t, s, auto, true, keys[1:]...)
		if err != nil || !o.Migration || len(o.Changes) == 0 {
			t.Fatalf("%+v, %v", o, err)
		}
		if diff := cmp.Diff(before, contents(t, s)); diff != "" {
			t.Fatalf("changed before its time: -want +got\n%s", diff)
		}
		if err := ceremony.Commit(t.Context(), s, seal.RootKeyPath, o.Changes); err != nil {
			t.Fatal(err)
		}
		if _, err := opensWith(t, s, auto, false, keys[:2]...); err != nil {
			t.Errorf("the shares afterwards: %v", err)
		}
	}
	refused := func(auto seal.Auto) {
		t.Helper()
		_, err := opensWith(t, s, auto, false, keys...)
		wantError(t, err, errFailed, "migrate option not provided and seal migration is pending")
		if _, err := ceremony.NewUnseal(s, auto).Auto(t.Context()); !errors.Is(err, ceremony.ErrNoAuto) {
			t.Errorf("by itself: %v; want ErrNoAuto", err)
		}
	}
	move(nil, false)
	refused(static("a"))
	move(static("a"), true)
	opensBy(t, s, static("a"))
	move(static("a"), false)
	move(static("b", "a"), false) // the previous key opens it: nothing is lost
	move(static("b"), true)
	opensBy(t, s, static("b"))
	refused(nil)
	move(nil, true)
	if _, ok := contents(t, s)[seal.RecoveryKeyPath]; ok {
		t.Error("the record of the recovery key stays")
	}
}

// TestDamagedRecordIsMended: the recovery keys open the data when the seal's record is damaged, and with migrate
// they write it anew.
func TestDamagedRecordIsMended(t *testing.T) {
	s := memory.New()
	keys := initAuto(t, s, static("a"), 2, 2)
	if err := s.Apply(t.Context(), storage.Put(seal.RootKeyPath, []byte("damaged"))); err != nil {
		t.Fatal(err)
	}
	if _, err := ceremony.NewUnseal(s, static("a")).Auto(t.Context()); !errors.Is(err, seal.ErrCorrupt) {
		t.Errorf("by itself: %v; want ErrCorrupt", err)
	}
	if o, err := opensWith(t, s, static("a"), false, keys...); err != nil || len(o.Changes) > 0 {
		t.Errorf("by hand: %d changes, %v", len(o.Changes), err)
	}
	o, err := opensWith(t, s, static("a"), true, keys...)
	if err != nil {
		t.Fatal(err)
	}
	if err := ceremony.Commit(t.Context(), s, seal.RootKeyPath, o.Changes); err != nil {
		t.Fatal(err)
	}
	opensBy(t, s, static("a"))
}

func TestMigrationWithoutTheKey(t *testing.T) {
	s := memory.New()
	keys := initialize(t, s, 1, 1).Keys
	before := contents(t, s)
	_, err := opensWith(t, s, static("gone"), true, keys...)
	if !errors.Is(err, errFailed) || !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(before, contents(t, s)); diff != "" {
		t.Errorf("the storage changed: -want +got\n%s", diff)
	}
}

// TestFaultsInChangesOfTheSeal: whatever fails in a migration or a change of key, the data opens either as
// before or as afterwards, and as afterwards when Commit says so.
func TestFaultsInChangesOfTheSeal(t *testing.T) {
	for name, test := range map[string]struct {
		start          func(t *testing.T, s storage.Storage) []string
		before, target seal.Auto
	}{
		"shamir to static": {func(t *testing.T, s storage.Storage) []string { return initialize(t, s, 2, 2).Keys }, nil, static("a")},
		"static to shamir": {func(t *testing.T, s storage.Storage) []string { return initAuto(t, s, static("a"), 2, 2) }, static("a"), nil},
		"a lost key":       {func(t *testing.T, s storage.Storage) []string { return initAuto(t, s, static("a"), 2, 2) }, static("a"), static("b")},
		"a change of key":  {func(t *testing.T, s storage.Storage) []string { return initAuto(t, s, static("a"), 2, 2) }, static("a"), static("b", "a")},
	} {
		t.Run(name, func(t *testing.T) {
			open := func(*testing.T) storage.Storage { return memory.New() }
			storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, f *storagetest.Faulty) {
				keys := test.start(t, base)
				err := change(t, f, test.target, keys)
				after := test.target
				if name == "a change of key" {
					after = static("b")
				}
				if opensAs(t, base, after, keys) {
					return
				}
				if err == nil {
					t.Error("nothing was changed, and no error")
				}
				if !opensAs(t, base, test.before, keys) {
					t.Error("the data opens neither as before nor as afterwards")
				}
			})
		})
	}
}

// change is what the core does with an opening.
func change(t *testing.T, s storage.Storage, auto seal.Auto, keys []string) error {
	t.Helper()
	u := ceremony.NewUnseal(s, auto)
	o, err := u.Auto(t.Context())
	for _, key := range keys {
		if err == nil {
			break
		}
		var verdict ceremony.Verdict
		var addErr error
		if o, verdict, addErr = u.Add(t.Context(), key, true); addErr != nil {
			return addErr
		}
		if verdict == ceremony.Complete {
			err = nil
		}
	}
	if err := errors.Join(err, o.Undone); err != nil {
		return err
	}
	return ceremony.Commit(t.Context(), s, seal.RootKeyPath, o.Changes)
}

// opensAs reports whether the data opens as a server of that seal opens it: by itself and by hand.
func opensAs(t *testing.T, s storage.Storage, auto seal.Auto, keys []string) bool {
	t.Helper()
	if auto != nil {
		o, err := ceremony.NewUnseal(s, auto).Auto(t.Context())
		if err != nil {
			return false
		}
		if _, err := barrier.Open(t.Context(), s, o.Root); err != nil {
			t.Errorf("another root key: %v", err)
		}
	}
	_, err := opensWith(t, s, auto, false, keys...)
	return err == nil
}
