package core_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	barrierseal "coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/engines"
	"coffer/server/ceremony"
	"coffer/server/core"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

var errNoFile = errors.New("open /seal.key: no such file")

// keyFiles are the keys of static seals, by id; what is not there cannot be had.
type keyFiles struct {
	mu   sync.Mutex
	keys map[string]secret.Key
}

func newKeyFiles(ids ...string) *keyFiles {
	f := &keyFiles{keys: map[string]secret.Key{}}
	for _, id := range ids {
		f.put(id, secret.Random(32))
	}
	return f
}

func (f *keyFiles) put(id string, key secret.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys[id] = key
}

func (f *keyFiles) take(id string) secret.Key {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := f.keys[id]
	delete(f.keys, id)
	return key
}

func (f *keyFiles) seal(ids ...string) barrierseal.Auto {
	keys := make([]barrierseal.StaticKey, len(ids))
	for i, id := range ids {
		keys[i] = barrierseal.StaticKey{ID: id, Load: func() (secret.Key, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if key, ok := f.keys[id]; ok {
				return key.Clone(), nil
			}
			return secret.Key{}, errNoFile
		}}
	}
	return barrierseal.NewStatic(keys[0], keys[1:]...)
}

// log collects what a core logs.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// sealedCore is a core that has not been unsealed, over the seal; nil for Shamir's.
func sealedCore(t *testing.T, store storage.Storage, auto barrierseal.Auto) (*core.Core, *log) {
	t.Helper()
	l := &log{}
	c := core.New(core.Config{
		Storage: store, Seal: auto, Logger: slog.New(slog.NewTextHandler(l, nil)), Now: time.Now,
		Settings: core.Settings{DefaultLeaseTTL: time.Hour, MaxLeaseTTL: time.Hour, LogLevel: new(slog.LevelVar)},
		Build:    core.Build{Version: "1.21.2", Date: "2026-01-01T00:00:00Z"},
	})
	t.Cleanup(func() {
		if err := c.Seal(); err != nil {
			t.Error(err)
		}
	})
	return c, l
}

func initCore(t *testing.T, c *core.Core, params map[string]any) ceremony.InitResult {
	t.Helper()
	answer, err := c.Init(t.Context(), core.Call{Params: params})
	if err != nil {
		t.Fatal(err)
	}
	result, ok := answer.(ceremony.InitResult)
	if !ok {
		t.Fatalf("init answers %T", answer)
	}
	return result
}

// initialized is storage with a server whose root key is under the seal, and one recovery key.
func initialized(t *testing.T, auto barrierseal.Auto) (store *memory.Store, recoveryKey string) {
	t.Helper()
	store = memory.New()
	c, _ := sealedCore(t, store, auto)
	result := initCore(t, c, map[string]any{"recovery_shares": "1", "recovery_threshold": "1"})
	if c.Sealed() {
		t.Fatal("sealed after init")
	}
	must(t, c, result.RootToken, engines.Read, "auth/token/lookup-self", nil) // the first use of what init handed out
	if err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	return store, result.RecoveryKeys[0]
}

func unsealBy(t *testing.T, c *core.Core, key string, migrate bool) (core.SealStatus, error) {
	t.Helper()
	answer, err := c.Unseal(t.Context(), core.Call{Params: map[string]any{"key": key, "migrate": migrate}})
	status, _ := answer.(core.SealStatus)
	return status, err
}

func TestServerOpensItself(t *testing.T) {
	files := newKeyFiles("one")
	store, _ := initialized(t, files.seal("one"))
	before := store.Contents()
	c, _ := sealedCore(t, store, files.seal("one"))
	if err := c.AutoUnseal(t.Context()); err != nil || c.Sealed() {
		t.Fatalf("sealed %v, %v", c.Sealed(), err)
	}
	answer, err := c.SealStatus(t.Context(), core.Call{})
	if err != nil {
		t.Fatal(err)
	}
	status, _ := answer.(core.SealStatus)
	if status.Type != "static" || !status.RecoverySeal || status.RecoverySealType != "shamir" || status.Migration ||
		status.Threshold != 1 || status.Shares != 1 {
		t.Errorf("%+v", status)
	}
	if err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(recordsOf(before), recordsOf(store.Contents())); diff != "" {
		t.Errorf("the seal's records changed: -want +got\n%s", diff)
	}
}

// recordsOf is the seal's records.
func recordsOf(all []storage.Op) map[string]string {
	records := map[string]string{}
	for _, op := range all {
		switch op.Key {
		case barrierseal.ConfigPath, barrierseal.RootKeyPath, barrierseal.RecoveryKeyPath:
			records[op.Key] = string(op.Value)
		}
	}
	return records
}

// TestServerWithAWrongKey: it stays sealed, says why and which key it wants, writes nothing, and the recovery key
// opens it by hand.
func TestServerWithAWrongKey(t *testing.T) {
	files := newKeyFiles("one", "two")
	store, recovery := initialized(t, files.seal("one"))
	files.take("one")
	other := newKeyFiles("one")
	for name, auto := range map[string]barrierseal.Auto{
		"missing": files.seal("one"), "another id": files.seal("two"), "another key": other.seal("one"),
	} {
		t.Run(name, func(t *testing.T) {
			before := store.Contents()
			c, l := sealedCore(t, store, auto)
			if err := c.AutoUnseal(t.Context()); err == nil || !c.Sealed() {
				t.Fatalf("sealed %v, %v", c.Sealed(), err)
			}
			if !strings.Contains(l.String(), `\"one\"`) || strings.Count(l.String(), "level=ERROR") != 1 {
				t.Errorf("the log: %s", l)
			}
			if diff := cmp.Diff(before, store.Contents()); diff != "" {
				t.Errorf("the storage changed: -want +got\n%s", diff)
			}
			if status, err := unsealBy(t, c, recovery, false); err != nil || status.Sealed {
				t.Errorf("by hand: %+v, %v", status, err)
			}
			if diff := cmp.Diff(recordsOf(before), recordsOf(store.Contents())); diff != "" {
				t.Errorf("the seal's records changed: -want +got\n%s", diff)
			}
		})
	}
}

func TestInitWithoutTheKey(t *testing.T) {
	store := memory.New()
	c, l := sealedCore(t, store, newKeyFiles().seal("one"))
	_, err := c.Init(t.Context(), core.Call{Params: map[string]any{"recovery_shares": "1", "recovery_threshold": "1"}})
	if !errors.Is(err, engines.ErrFailed) || strings.Contains(err.Error(), "/seal.key") || !strings.Contains(l.String(), "/seal.key") {
		t.Errorf("%v; the log: %s", err, l)
	}
	if n := len(store.Contents()); n > 0 {
		t.Errorf("%d keys were written", n)
	}
}

func TestChangeOfKey(t *testing.T) {
	files := newKeyFiles("one", "two")
	store, _ := initialized(t, files.seal("one"))
	before := recordsOf(store.Contents())
	c, l := sealedCore(t, store, files.seal("two", "one"))
	if err := c.AutoUnseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := recordsOf(store.Contents())
	if after[barrierseal.RootKeyPath] == before[barrierseal.RootKeyPath] || after[barrierseal.RecoveryKeyPath] != before[barrierseal.RecoveryKeyPath] ||
		after[barrierseal.ConfigPath] != before[barrierseal.ConfigPath] {
		t.Error("another record than that of the root key changed, or none")
	}
	if err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	files.take("one")
	c, _ = sealedCore(t, store, files.seal("two"))
	if err := c.AutoUnseal(t.Context()); err != nil {
		t.Errorf("the new key alone: %v; the log: %s", err, l)
	}
}

// TestChangeOfKeyCanWait: without the new key, or when the storage fails, the previous key goes on to serve.
func TestChangeOfKeyCanWait(t *testing.T) {
	files := newKeyFiles("one")
	store, _ := initialized(t, files.seal("one"))
	before := recordsOf(store.Contents())
	c, l := sealedCore(t, store, files.seal("two", "one"))
	if err := c.AutoUnseal(t.Context()); err != nil || c.Sealed() || !strings.Contains(l.String(), `\"two\"`) {
		t.Errorf("without the new key: %v; the log: %s", err, l)
	}
	if err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	files.put("two", secret.Random(32))
	for _, form := range []storagetest.Form{storagetest.NotWritten, storagetest.WrittenButFailed} {
		faulty := storagetest.NewFaulty(store)
		faulty.Fail(storagetest.Apply, 1, form)
		c, l := sealedCore(t, faulty, files.seal("two", "one"))
		if err := c.AutoUnseal(t.Context()); err != nil || c.Sealed() {
			t.Errorf("%s: %v; the log: %s", form, err, l)
		}
		if err := c.Seal(); err != nil {
			t.Fatal(err)
		}
		changed := cmp.Diff(before, recordsOf(store.Contents())) != ""
		if changed != (form == storagetest.WrittenButFailed) || changed == strings.Contains(l.String(), "stays under the previous key") {
			t.Errorf("%s: changed %v; the log: %s", form, changed, l)
		}
	}
}

func TestMigrationThereAndBack(t *testing.T) {
	files, store := newKeyFiles("one"), memory.New()
	c, _ := sealedCore(t, store, nil)
	key := initCore(t, c, map[string]any{"secret_shares": "1", "secret_threshold": "1"}).Keys[0]
	for _, auto := range []barrierseal.Auto{files.seal("one"), nil} {
		if err := c.Seal(); err != nil {
			t.Fatal(err)
		}
		var l *log
		c, l = sealedCore(t, store, auto)
		_ = c.AutoUnseal(t.Context())
		if !c.Sealed() || !strings.Contains(l.String(), "-migrate") {
			t.Errorf("sealed %v; the log: %s", c.Sealed(), l)
		}
		if _, err := unsealBy(t, c, key, false); !errors.Is(err, engines.ErrFailed) {
			t.Errorf("without migrate: %v", err)
		}
		status, err := unsealBy(t, c, key, true)
		if err != nil || status.Sealed || status.Migration || status.RecoverySeal != (auto != nil) {
			t.Fatalf("%+v, %v; the log: %s", status, err, l)
		}
		if _, err := unsealBy(t, c, key, true); !errors.Is(err, engines.ErrFailed) {
			t.Errorf("once more: %v", err)
		}
	}
}

func TestFaultsInMigration(t *testing.T) {
	files := newKeyFiles("one")
	for _, form := range []storagetest.Form{storagetest.NotWritten, storagetest.WrittenButFailed} {
		store := memory.New()
		c, _ := sealedCore(t, store, nil)
		key := initCore(t, c, map[string]any{"secret_shares": "1", "secret_threshold": "1"}).Keys[0]
		before := recordsOf(store.Contents())
		faulty := storagetest.NewFaulty(store)
		faulty.Fail(storagetest.Apply, 1, form)
		c, _ = sealedCore(t, faulty, files.seal("one"))
		_, err := unsealBy(t, c, key, true)
		if (err != nil) != c.Sealed() || (err == nil) != (form == storagetest.WrittenButFailed) {
			t.Errorf("%s: sealed %v, %v", form, c.Sealed(), err)
		}
		if changed := cmp.Diff(before, recordsOf(store.Contents())) != ""; changed == c.Sealed() {
			t.Errorf("%s: changed %v, sealed %v", form, changed, c.Sealed())
		}
		// Again, now that the storage works.
		if status, err := unsealBy(t, c, key, c.Sealed()); err != nil || status.Sealed {
			t.Errorf("%s: %+v, %v", form, status, err)
		}
	}
}

func TestKeepUnsealing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := newKeyFiles("one")
		store, _ := initialized(t, files.seal("one"))
		key := files.take("one")
		c, l := sealedCore(t, store, files.seal("one"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.KeepUnsealing(ctx, c.AutoUnseal(ctx))
		time.Sleep(time.Hour)
		synctest.Wait()
		if !c.Sealed() || strings.Count(l.String(), "level=ERROR") != 1 {
			t.Errorf("sealed %v; the log: %s", c.Sealed(), l)
		}
		files.put("one", key)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if c.Sealed() {
			t.Errorf("sealed with the key in place; the log: %s", l)
		}
		// Sealed by hand it stays sealed.
		if err := c.Seal(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if !c.Sealed() {
			t.Error("opened after it was sealed by hand")
		}
	})
}

// TestKeepUnsealingMindsTheOperators: who unsealed it by hand and sealed it again wants it sealed, also when the key
// comes back in that moment.
func TestKeepUnsealingMindsTheOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := newKeyFiles("one")
		store, recovery := initialized(t, files.seal("one"))
		key := files.take("one")
		c, _ := sealedCore(t, store, files.seal("one"))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.KeepUnsealing(t.Context(), c.AutoUnseal(t.Context()))
		}()
		time.Sleep(time.Second)
		if _, err := unsealBy(t, c, recovery, false); err != nil {
			t.Fatal(err)
		}
		if err := c.Seal(); err != nil {
			t.Fatal(err)
		}
		files.put("one", key)
		<-ended
		if !c.Sealed() {
			t.Error("opened after it was sealed by hand")
		}
	})
}

func TestDevServerWithASealThatOpensByItself(t *testing.T) {
	c, _ := sealedCore(t, memory.New(), newKeyFiles("one").seal("one"))
	_, _, err := c.InitDev(t.Context(), engines.Token{}, 2)
	// The core of this test has no KV engine to mount at secret/.
	if c.Sealed() {
		t.Errorf("sealed; %v", err)
	}
}
