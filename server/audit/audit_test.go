package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
	"coffer/policy"
	"coffer/server/mounts"
	"coffer/server/sys"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

type headers map[string]bool

func (h headers) AuditHeaders() map[string]bool { return h }

func newBroker(store storage.Storage) *Broker {
	return New(Config{
		Storage: store, Logger: slog.New(slog.DiscardHandler),
		Headers: headers{"user-agent": false, "x-secret": true},
	})
}

func enable(t testing.TB, b *Broker, path string, options map[string]string) {
	t.Helper()
	if err := b.Enable(t.Context(), sys.AuditDevice{Path: path, Type: "file", Options: options}); err != nil {
		t.Fatal(err)
	}
}

// testEntry is a write by an ordinary token.
func testEntry() *Entry {
	token := engines.NewToken("hvs.canary")
	return &Entry{
		Request: &engines.Request{
			ID: "3e0337b7-93e4-c9a4-36b1-edacf4154a91", Operation: engines.Create, Path: "data/a", Token: token,
			Params: map[string]any{"data": map[string]any{
				"pw": "canary", "n": json.Number("5"), "b": true, "nul": nil, "l": []any{"x", "y"},
			}, "shown": "plain"},
			Caller: &engines.Caller{
				Token: token, Accessor: "acc", DisplayName: "token", Policies: []string{"aud", "default"},
				Metadata: map[string]string{"k": "v"},
			},
			Client: engines.Client{
				Addr: netip.MustParseAddr("127.0.0.1"), Port: 46650,
				Header: map[string][]string{"User-Agent": {"test"}, "X-Secret": {"canary"}, "X-Other": {"canary"}},
			},
			WrapTTL: time.Minute,
		},
		Path: "secret/data/a", Token: token,
		Mount: &mounts.Entry{
			Kind: mounts.Secret, Path: "secret/", Type: "kv", Accessor: "kv_1",
			Tuning: mounts.Tuning{AuditNonHMACRequestKeys: []string{"shown"}, AuditNonHMACResponseKeys: []string{"made"}},
		},
		Time:     time.Date(2026, 1, 5, 12, 0, 0, 5, time.UTC),
		Decision: &policy.Decision{Allowed: true, Policies: []string{"aud"}},
	}
}

// lines returns what a log holds, with the hashes of the device replaced by the texts they stand for.
func lines(t *testing.T, b *Broker, device, file string, texts ...string) []string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	log := string(content)
	if log != "" && !strings.HasSuffix(log, "\n") {
		t.Errorf("%s ends inside a line", file)
	}
	for _, text := range texts {
		hash, ok := b.Hash(device, text)
		if !ok {
			t.Fatalf("no device %s", device)
		}
		log = strings.ReplaceAll(log, hash, "H("+text+")")
	}
	return strings.Split(strings.TrimSuffix(log, "\n"), "\n")
}

func TestEntries(t *testing.T) {
	b := newBroker(memory.New())
	defer b.Close()
	file := filepath.Join(t.TempDir(), "audit.log")
	enable(t, b, "f/", map[string]string{"file_path": file})

	e := testEntry()
	log := func(kind func(context.Context, *Entry) error) {
		t.Helper()
		if err := kind(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	log(b.LogRequest)
	e.Response = &engines.Response{
		Data: map[string]any{
			"made": "shown", "version": 1, "pw": "canary", "raw": json.RawMessage(`{"pw":"canary","n":5}`),
			"time": e.Time, "list": []string{"x"}, "typed": struct{ A string }{"x"},
		},
		Warnings: []string{"careful"}, Secret: &engines.Secret{LeaseID: "secret/data/a/1"},
	}
	log(b.LogResponse)
	e.Response = &engines.Response{Auth: &engines.Auth{
		Token: engines.NewToken("hvs.new"), Accessor: "acc2", Policies: []string{"aud"}, TokenType: "service",
		LeaseDuration: time.Hour, NumUses: 3,
	}}
	log(b.LogResponse)
	e.Response = &engines.Response{
		Data: map[string]any{"pw": "canary"},
		Wrap: &engines.WrapInfo{
			Token: engines.NewToken("hvs.wrap"), Accessor: "acc3", TTL: time.Minute, CreationTime: e.Time,
			CreationPath: "secret/data/a", WrappedAccessor: "acc4",
		},
	}
	log(b.LogResponse)
	e.Response, e.Error = nil, fmt.Errorf("%s", "1 error occurred:\n\t* permission denied\n\n")
	e.Decision = &policy.Decision{Reason: `rule "x" denies`}
	log(b.LogResponse)
	e.Request.Caller, e.Mount, e.Request.Params, e.Request.Client, e.Decision = nil, nil, nil, engines.Client{}, nil
	log(b.LogRequest)
	e.Error, e.Token = nil, engines.Token{}
	log(b.LogRequest)

	const (
		mount = `"mount_accessor":"kv_1","mount_class":"secret","mount_point":"secret/","mount_type":"kv"`
		auth  = `{"auth":{"accessor":"H(acc)","client_token":"H(hvs.canary)","display_name":"token",` +
			`"metadata":{"k":"v"},"policies":["aud","default"],"policy_results":`
		granted = `{"allowed":true,"granting_policies":[{"name":"aud","namespace_id":"root","type":"acl"}]}`
		tokens  = `,"token_policies":["aud","default"],"token_type":"service"},`
		request = `"request":{"client_token":"H(hvs.canary)","client_token_accessor":"H(acc)","data":{"data":{"b":true,` +
			`"l":["H(x)","H(y)"],"n":"H(5)","nul":null,"pw":"H(canary)"},"shown":"plain"},` +
			`"headers":{"user-agent":["test"],"x-secret":["H(canary)"]},"id":"3e0337b7-93e4-c9a4-36b1-edacf4154a91",` +
			mount + `,"namespace":{"id":"root"},"operation":"create","path":"secret/data/a",` +
			`"remote_address":"127.0.0.1","remote_port":46650,"wrap_ttl":60},`
		end  = `"time":"2026-01-05T12:00:00.000000005Z","type":`
		bare = `"id":"3e0337b7-93e4-c9a4-36b1-edacf4154a91","namespace":{"id":"root"},"operation":"create",` +
			`"path":"secret/data/a","wrap_ttl":60},`
		denied = `"error":"1 error occurred:\n\t* permission denied\n\n",`
	)
	want := []string{
		auth + granted + tokens + request + end + `"request"}`,
		auth + granted + tokens + request + `"response":{"data":{"list":["H(x)"],"made":"shown","pw":"H(canary)",` +
			`"raw":{"n":"H(5)","pw":"H(canary)"},"time":"2026-01-05T12:00:00.000000005Z","typed":{"A":"H(x)"},` +
			`"version":1},` + mount + `,"secret":{"lease_id":"secret/data/a/1"},"warnings":["careful"]},` + end + `"response"}`,
		auth + granted + tokens + request + `"response":{"auth":{"accessor":"H(acc2)","client_token":"H(hvs.new)",` +
			`"num_uses":3,"policies":["aud"],"token_ttl":3600,"token_type":"service"},` + mount + `},` + end + `"response"}`,
		auth + granted + tokens + request + `"response":{` + mount + `,"wrap_info":{"accessor":"H(acc3)",` +
			`"creation_path":"secret/data/a","creation_time":"2026-01-05T12:00:00.000000005Z","token":"H(hvs.wrap)",` +
			`"ttl":60,"wrapped_accessor":"H(acc4)"}},` + end + `"response"}`,
		auth + `{"allowed":false,"reason":"rule \"x\" denies"}` + tokens + denied + request +
			`"response":{"data":{"error":"H(1 error occurred:` + "\n\t* permission denied\n\n" + `)"},` + mount + `},` +
			end + `"response"}`,
		`{` + denied + `"request":{"client_token":"H(hvs.canary)",` + bare + end + `"request"}`,
		`{"auth":{"token_type":"default"},"request":{` + bare + end + `"request"}`,
	}
	got := lines(t, b, "f/", file, "acc", "acc2", "acc3", "acc4", "hvs.canary", "hvs.new", "hvs.wrap", "x", "y", "5",
		"canary", "1 error occurred:\n\t* permission denied\n\n")
	if diff := cmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	content, err := os.ReadFile(file)
	if err != nil || bytes.Contains(content, []byte("canary")) {
		t.Errorf("the log tells a secret, or: %v", err)
	}
}

func TestOptionsOfEntries(t *testing.T) {
	b := New(Config{Storage: memory.New(), Logger: slog.New(slog.DiscardHandler), AllowPrefix: true})
	defer b.Close()
	file := filepath.Join(t.TempDir(), "raw.log")
	enable(t, b, "raw/", map[string]string{
		"file_path": file, "log_raw": "true", "elide_list_responses": "1", "prefix": "@cee: ",
	})
	elided := filepath.Join(t.TempDir(), "elided.log")
	enable(t, b, "elided/", map[string]string{"path": elided, "hmac_accessor": "false", "elide_list_responses": "1"})
	e := testEntry()
	e.Request.Operation, e.Request.Params = engines.List, map[string]any{"shell": "a $(id) `id`"}
	e.Response = &engines.Response{Data: map[string]any{
		"keys": []string{"a", "b"}, "key_info": map[string]any{"a": "x"}, "other": []any{"x"},
	}}
	if err := b.LogResponse(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	for file, wants := range map[string][]string{
		file: {
			`@cee: {"auth":{"accessor":"acc","client_token":"hvs.canary"`, `"keys":2`, `"key_info":1`, `"other":["x"]`,
			`"shell":"a \u0024(id) \u0060id\u0060"`,
		},
		elided: {`{"auth":{"accessor":"acc","client_token":"hmac-sha256:`, `"keys":2`, `"client_token_accessor":"acc"`},
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(content), want) {
				t.Errorf("%s lacks %s:\n%s", filepath.Base(file), want, content)
			}
		}
	}
}

func TestDevicesSurviveRestart(t *testing.T) {
	store := memory.New()
	file := filepath.Join(t.TempDir(), "audit.log")
	b := newBroker(store)
	if b.Enabled() || b.Devices() != nil {
		t.Error("a new broker has devices")
	}
	if err := b.Load(t.Context()); err != nil || b.Enabled() {
		t.Errorf("loading nothing: enabled %v, error %v", b.Enabled(), err)
	}
	device := sys.AuditDevice{Path: "f/", Type: "file", Description: "d", Options: map[string]string{"file_path": file}}
	if err := b.Enable(t.Context(), device); err != nil {
		t.Fatal(err)
	}
	enable(t, b, "a/b/", map[string]string{"file_path": "discard"})
	hash, _ := b.Hash("f/", "x")
	b.Close()

	again := newBroker(store)
	defer again.Close()
	if err := again.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []sys.AuditDevice{{Path: "a/b/", Type: "file", Options: map[string]string{"file_path": "discard"}}, device}
	if diff := cmp.Diff(want, again.Devices()); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	if got, ok := again.Hash("f/", "x"); !ok || got != hash {
		t.Errorf("hash %q, want %q as before", got, hash)
	}
	if other, _ := again.Hash("a/b/", "x"); other == hash {
		t.Error("two devices have the same key")
	}
	if _, ok := again.Hash("zork/", "x"); ok {
		t.Error("hash of a device that does not exist")
	}
	devices := again.listLocked()
	for _, path := range []string{"f/", "a/b/", "zork/"} {
		if err := again.Disable(t.Context(), path); err != nil {
			t.Error(err)
		}
	}
	for _, d := range devices {
		if !d.sink.hasEnded() {
			t.Errorf("%s is disabled and still open", d.Path)
		}
	}
	if again.Enabled() {
		t.Error("still enabled")
	}
	if _, ok := again.Hash("f/", "x"); ok {
		t.Error("hash without devices")
	}
}

// TestLostDevicesAreDevicesThatFail reads a record of devices that is none: nothing is taken for recorded, nothing
// replaces the record, and once it was given up all is as without devices.
func TestLostDevicesAreDevicesThatFail(t *testing.T) {
	for _, text := range []string{"", "{", "[1]", `[{"path":"f/","type":"file"}]`, `[{"path":"../","key":"` +
		strings.Repeat("A", 43) + `="}]`} {
		store := memory.New()
		if err := store.Apply(t.Context(), storage.Put(recordKey, []byte(text))); err != nil {
			t.Fatal(err)
		}
		b := newBroker(store)
		if err := b.Load(t.Context()); err != nil || !b.Lost() || !b.Enabled() {
			t.Fatalf("%q: %v, lost %v, enabled %v", text, err, b.Lost(), b.Enabled())
		}
		if err := b.LogRequest(t.Context(), testEntry()); !errors.Is(err, ErrNotRecorded) {
			t.Errorf("%q: a request: %v", text, err)
		}
		device := sys.AuditDevice{Path: "f/", Type: "file", Options: map[string]string{"file_path": "discard"}}
		if err := b.Enable(t.Context(), device); err == nil {
			t.Errorf("%q: a device was enabled", text)
		}
		if err := b.Disable(t.Context(), "f/"); err == nil {
			t.Errorf("%q: a device was disabled", text)
		}
		// A declared device records; the lost ones stay lost.
		if err := b.Declare(t.Context(), []sys.AuditDevice{device}); err != nil {
			t.Fatal(err)
		}
		if err := b.LogRequest(t.Context(), testEntry()); err != nil {
			t.Errorf("%q: with a declared device: %v", text, err)
		}
		if got, err := store.Get(t.Context(), recordKey); err != nil || string(got) != text {
			t.Errorf("%q became %q, %v", text, got, err)
		}
		if err := b.Declare(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if err := store.Apply(t.Context(), storage.Delete(recordKey)); err != nil {
			t.Fatal(err)
		}
		if err := b.Reread(t.Context()); err != nil || b.Lost() || b.Enabled() {
			t.Errorf("%q: given up: %v, lost %v, enabled %v", text, err, b.Lost(), b.Enabled())
		}
	}
}

func TestStorageFaults(t *testing.T) {
	for _, form := range []storagetest.Form{storagetest.NotWritten, storagetest.WrittenButFailed} {
		store := storagetest.NewFaulty(memory.New())
		b := newBroker(store)
		store.FailEvery(storagetest.Apply, form)
		device := sys.AuditDevice{Path: "f/", Type: "file", Options: map[string]string{"file_path": "discard"}}
		if err := b.Enable(t.Context(), device); err == nil || b.Enabled() {
			t.Errorf("form %v: enabled %v, error %v", form, b.Enabled(), err)
		}
		store.Heal()
		if err := b.Enable(t.Context(), device); err != nil {
			t.Errorf("form %v: the second attempt: %v", form, err)
		}
		store.FailEvery(storagetest.Apply, form)
		if err := b.Disable(t.Context(), "f/"); err == nil || !b.Enabled() {
			t.Errorf("form %v: disabled although the storage failed", form)
		}
		b.Close()
	}
}

// TestClosed: what comes after the session's end must not pass unrecorded.
func TestClosed(t *testing.T) {
	b := newBroker(memory.New())
	enable(t, b, "f/", map[string]string{"file_path": "discard"})
	if err := b.LogRequest(t.Context(), testEntry()); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if err := b.LogResponse(t.Context(), testEntry()); !b.Enabled() || !errors.Is(err, ErrNotRecorded) {
		t.Errorf("enabled %v, error %v, want ErrNotRecorded", b.Enabled(), err)
	}
	none := newBroker(memory.New())
	none.Close()
	if none.Enabled() {
		t.Error("a broker without devices is enabled after Close")
	}
}

func TestWithoutDevicesNothingIsDone(t *testing.T) {
	b, e := newBroker(memory.New()), testEntry()
	if n := testing.AllocsPerRun(10, func() {
		if err := b.LogRequest(context.Background(), e); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// gate is a file whose writes wait until it is opened, and then fail with err.
type gate struct {
	mu   sync.Mutex
	open chan struct{}
	err  error
	text bytes.Buffer
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return 0, g.err
	}
	return g.text.Write(p)
}

func (g *gate) Close() error { return nil }

func (g *gate) lines() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Count(g.text.String(), "\n")
}

// withSinks makes a broker over the given files.
func withSinks(files ...io.WriteCloser) *Broker {
	b := newBroker(memory.New())
	var devices []*device
	for i, f := range files {
		d := newDevice(record{Path: fmt.Sprintf("d%d/", i), Type: "file", Key: make([]byte, keySize)}, options{}, f)
		devices = append(devices, d)
	}
	b.setLocked(devices)
	return b
}

func TestOneDeviceIsEnough(t *testing.T) {
	broken, good := newGate(), newGate()
	broken.err = errors.New("no space left on device")
	close(broken.open)
	close(good.open)
	b := withSinks(broken, good)
	defer b.Close()
	for range 3 {
		if err := b.LogRequest(t.Context(), testEntry()); err != nil {
			t.Fatal(err)
		}
	}
	if good.lines() != 3 {
		t.Errorf("%d lines, want 3", good.lines())
	}
	if err := b.Disable(t.Context(), "d1/"); err != nil {
		t.Fatal(err)
	}
	if err := b.LogRequest(t.Context(), testEntry()); !errors.Is(err, ErrNotRecorded) {
		t.Errorf("error %v, want ErrNotRecorded", err)
	}
	broken.mu.Lock()
	broken.err = nil
	broken.mu.Unlock()
	if err := b.LogRequest(t.Context(), testEntry()); err != nil {
		t.Errorf("after the disk has room again: %v", err)
	}
}

func TestBlockedSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := newGate()
		b := withSinks(blocked)
		start := time.Now()
		if err := b.LogRequest(t.Context(), testEntry()); !errors.Is(err, ErrNotRecorded) {
			t.Errorf("error %v, want ErrNotRecorded", err)
		}
		if waited := time.Since(start); waited != defaultTimeout {
			t.Errorf("waited %v, want %v", waited, defaultTimeout)
		}
		close(blocked.open)
		if err := b.LogRequest(t.Context(), testEntry()); err != nil {
			t.Errorf("after the sink moves again: %v", err)
		}
		if blocked.lines() != 2 {
			t.Errorf("%d lines, want 2: the refused request was in the queue", blocked.lines())
		}
		b.Close()
	})
}

func TestBlockedSinkBesideAGoodOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked, good := newGate(), newGate()
		close(good.open)
		b := withSinks(blocked, good)
		start := time.Now()
		const entries = 3 * maxQueued
		for range entries {
			if err := b.LogRequest(t.Context(), testEntry()); err != nil {
				t.Fatal(err)
			}
		}
		if waited := time.Since(start); waited != defaultTimeout {
			t.Errorf("waited %v altogether, want %v once", waited, defaultTimeout)
		}
		close(blocked.open)
		synctest.Wait()
		if n := blocked.lines(); n < maxQueued || n > maxQueued+2 {
			t.Errorf("the blocked device has %d lines, want what its queue holds", n)
		}
		if err := b.LogRequest(t.Context(), testEntry()); err != nil || good.lines() != entries+1 {
			t.Errorf("error %v, %d lines, want %d", err, good.lines(), entries+1)
		}
		synctest.Wait()
		if n := blocked.lines(); n > maxQueued+3 {
			t.Errorf("the blocked device has %d lines", n)
		}
		for _, d := range b.listLocked() {
			if d.sink.stalled.Load() || d.failing.Load() {
				t.Errorf("%s moves again, but nobody waits for it", d.Path)
			}
		}
		b.Close()
	})
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	blocked := newGate()
	s := newSink(blocked, nil)
	half := bytes.Repeat([]byte("x"), maxQueuedBytes/2)
	var err error
	for range 5 {
		if _, err = s.enqueue(half); err != nil {
			break
		}
	}
	if !errors.Is(err, errFull) {
		t.Errorf("error %v, want errFull", err)
	}
	close(blocked.open)
	s.close(time.Minute)
	if _, err := s.enqueue([]byte("x")); !errors.Is(err, errClosed) {
		t.Errorf("error %v, want errClosed", err)
	}
}

// TestCrowdAtASlowSink lets more requests come at once than a device's queue holds. All of them are recorded once it
// writes, and none waits longer than a device may take.
func TestCrowdAtASlowSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := newGate()
		b := withSinks(slow)
		const crowd = 3 * maxQueued
		var wg sync.WaitGroup
		for range crowd {
			wg.Go(func() {
				if err := b.LogRequest(t.Context(), testEntry()); err != nil {
					t.Error(err)
				}
			})
		}
		<-time.After(defaultTimeout / 2)
		close(slow.open)
		wg.Wait()
		if slow.lines() != crowd {
			t.Errorf("%d lines, want %d", slow.lines(), crowd)
		}
		stuck := newGate()
		b.Close()
		b = withSinks(stuck)
		for range crowd {
			wg.Go(func() {
				start := time.Now()
				if err := b.LogRequest(t.Context(), testEntry()); !errors.Is(err, ErrNotRecorded) {
					t.Errorf("nothing is written: %v", err)
				}
				if waited := time.Since(start); waited != defaultTimeout {
					t.Errorf("waited %v, want %v", waited, defaultTimeout)
				}
			})
		}
		wg.Wait()
		close(stuck.open)
		b.Close()
	})
}

// TestDisableWhileLogging: entries under way when a device goes are recorded by another or pass.
func TestDisableWhileLogging(t *testing.T) {
	b := newBroker(memory.New())
	defer b.Close()
	dir := t.TempDir()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := b.LogRequest(t.Context(), testEntry()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 30 {
		enable(t, b, "x/", map[string]string{"file_path": filepath.Join(dir, fmt.Sprintf("%d.log", i%3))})
		if err := b.Reopen(); err != nil {
			t.Error(err)
		}
		if err := b.Disable(t.Context(), "x/"); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestManyWritersMakeWholeLines(t *testing.T) {
	b := newBroker(memory.New())
	file := filepath.Join(t.TempDir(), "audit.log")
	enable(t, b, "f/", map[string]string{"file_path": file})
	const writers, each = 8, 100
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := b.LogRequest(t.Context(), testEntry()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := lines(t, b, "f/", file)
	b.Close()
	if len(got) != writers*each {
		t.Errorf("%d lines, want %d", len(got), writers*each)
	}
	for _, line := range got {
		if !json.Valid([]byte(line)) {
			t.Fatalf("not JSON: %s", line)
		}
	}
}

func TestReopenAfterRotation(t *testing.T) {
	b := newBroker(memory.New())
	defer b.Close()
	dir := t.TempDir()
	file, moved := filepath.Join(dir, "audit.log"), filepath.Join(dir, "audit.log.1")
	enable(t, b, "f/", map[string]string{"file_path": file})
	log := func() {
		t.Helper()
		if err := b.LogRequest(t.Context(), testEntry()); err != nil {
			t.Fatal(err)
		}
	}
	log()
	if err := os.Rename(file, moved); err != nil {
		t.Fatal(err)
	}
	log()
	if err := b.Reopen(); err != nil {
		t.Fatal(err)
	}
	log()
	if n := len(lines(t, b, "f/", moved)); n != 2 {
		t.Errorf("the old log has %d lines, want 2", n)
	}
	if n := len(lines(t, b, "f/", file)); n != 1 {
		t.Errorf("the new log has %d lines, want 1", n)
	}
	// What cannot be opened leaves the old file in use.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.Reopen(); err == nil {
		t.Error("a folder was opened")
	}
	log()
}

// tearing writes the first half of a line, once.
type tearing struct {
	bytes.Buffer
	torn bool
}

func (w *tearing) Close() error { return nil }

func (w *tearing) Write(p []byte) (int, error) {
	if !w.torn {
		w.torn = true
		n, _ := w.Buffer.Write(p[:len(p)/2])
		return n, io.ErrShortWrite
	}
	return w.Buffer.Write(p)
}

func TestTornLine(t *testing.T) {
	file := &tearing{}
	b := withSinks(file)
	if err := b.LogRequest(t.Context(), testEntry()); !errors.Is(err, ErrNotRecorded) {
		t.Errorf("error %v, want ErrNotRecorded", err)
	}
	for range 2 {
		if err := b.LogRequest(t.Context(), testEntry()); err != nil {
			t.Error(err)
		}
	}
	b.Close()
	got := strings.Split(strings.TrimSuffix(file.String(), "\n"), "\n")
	if len(got) != 3 || json.Valid([]byte(got[0])) || !json.Valid([]byte(got[1])) || !json.Valid([]byte(got[2])) {
		t.Errorf("want a torn line and two whole ones, got:\n%s", file)
	}
}
