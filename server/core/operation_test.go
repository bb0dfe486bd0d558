package core_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
	"coffer/server/core"
	"coffer/storage"
	"coffer/storage/memory"
)

// operators is a server with an audit device and a log, for tests of what they show.
type operators struct {
	*core.Core
	key, root string
	log       *log
	file      string
}

func newOperators(t *testing.T, store storage.Storage) *operators {
	t.Helper()
	o := &operators{log: &log{}, file: filepath.Join(t.TempDir(), "audit.log")}
	o.Core = core.New(core.Config{
		Storage: store, Logger: slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: time.Now,
		Settings: core.Settings{DefaultLeaseTTL: time.Hour, MaxLeaseTTL: time.Hour, LogLevel: new(slog.LevelVar)},
		Build:    core.Build{Version: "1.21.2", Date: "2026-01-01T00:00:00Z"},
	})
	result := fieldsOf(t)(o.Init(t.Context(), call(engines.Update, "sys/init", map[string]any{"secret_shares": "1", "secret_threshold": "1"})))
	list, _ := result["keys"].([]any)
	o.key, o.root = fmt.Sprint(list[0]), fmt.Sprint(result["root_token"])
	o.unseal(t)
	must(t, o.Core, o.root, engines.Update, "sys/audit/file",
		map[string]any{"type": "file", "options": map[string]any{"file_path": o.file, "hmac_accessor": "false"}})
	t.Cleanup(func() {
		if err := o.Seal(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func (o *operators) unseal(t *testing.T) {
	t.Helper()
	fieldsOf(t)(o.Unseal(t.Context(), call(engines.Update, "sys/unseal", map[string]any{"key": o.key})))
}

// call is one of somebody at the machine.
func call(op engines.Operation, path string, params map[string]any) core.Call {
	return core.Call{ID: "id-of-" + path, Operation: op, Path: path, Params: params, Standing: core.AtMachine,
		Client: engines.Client{Addr: netip.MustParseAddr("127.0.0.7")}}
}

// record is what the audit device has of calls to the operators' paths.
func (o *operators) record(t *testing.T) (entries []map[string]any, text string) {
	t.Helper()
	content, err := os.ReadFile(o.file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry)
	}
	return entries, string(content)
}

func at(entry map[string]any, path ...string) any {
	var value any = entry
	for _, key := range path {
		m, _ := value.(map[string]any)
		value = m[key]
	}
	return value
}

func unmask(t *testing.T, encoded any, otp string) string {
	t.Helper()
	hidden, err := base64.RawStdEncoding.DecodeString(fmt.Sprint(encoded))
	if err != nil || len(hidden) != len(otp) {
		t.Fatalf("no token: %v, %v", encoded, err)
	}
	for i := range hidden {
		hidden[i] ^= otp[i]
	}
	return string(hidden)
}

// TestRootTokenLeavesATrace makes a root token from unseal keys: its accessor is on record and in the log, with who
// asked, and nothing that leads to the token or a key.
func TestRootTokenLeavesATrace(t *testing.T) {
	for _, raw := range []string{"false", "true"} {
		t.Run("log_raw="+raw, func(t *testing.T) {
			o := newOperators(t, memory.New())
			must(t, o.Core, o.root, engines.Update, "sys/audit/raw", map[string]any{"type": "file",
				"options": map[string]any{"file_path": o.file + ".raw", "log_raw": raw}})
			otp := strings.Repeat("o", 28)
			started := fieldsOf(t)(o.GenerateRootStart(t.Context(), call(engines.Update, "sys/generate-root/attempt",
				map[string]any{"otp": otp})))
			done := fieldsOf(t)(o.GenerateRootUpdate(t.Context(), call(engines.Update, "sys/generate-root/update",
				map[string]any{"key": o.key, "nonce": started["nonce"]})))
			token := unmask(t, done["encoded_token"], otp)
			accessor, _ := must(t, o.Core, token, engines.Read, "auth/token/lookup-self", nil).Data["accessor"].(string)
			if accessor == "" {
				t.Fatal("no accessor")
			}
			entries, text := o.record(t)
			found := 0
			for _, e := range entries {
				if e["type"] == "response" && at(e, "request", "path") == "sys/generate-root/update" &&
					at(e, "response", "auth", "accessor") == accessor && at(e, "request", "remote_address") == "127.0.0.7" {
					found++
				}
			}
			if found != 1 {
				t.Errorf("%d entries tell of the root token:\n%s", found, text)
			}
			if !strings.Contains(o.log.String(), "root_token_accessor="+accessor) || !strings.Contains(o.log.String(), "client=127.0.0.7") {
				t.Errorf("the log does not tell of it:\n%s", o.log)
			}
			second, err := os.ReadFile(o.file + ".raw")
			if err != nil || len(second) == 0 {
				t.Fatal(err)
			}
			key, err := hex.DecodeString(o.key)
			if err != nil {
				t.Fatal(err)
			}
			secrets := map[string]string{"the key": o.key, "the key in base64": base64.StdEncoding.EncodeToString(key), "the OTP": otp}
			for what, secret := range secrets {
				if strings.Contains(text+string(second)+o.log.String(), secret) {
					t.Errorf("%s is on record or in the log", what)
				}
			}
			for what, secret := range map[string]string{"the token": token, "the hidden token": fmt.Sprint(done["encoded_token"])} {
				if strings.Contains(text+o.log.String(), secret) {
					t.Errorf("%s is on record or in the log", what)
				}
			}
		})
	}
}

// TestCeremoniesLeaveATrace walks through every call that does something to the keys. Each is on record with its answer
// and has a line in the log.
func TestCeremoniesLeaveATrace(t *testing.T) {
	o := newOperators(t, memory.New())
	ctx, r := t.Context(), o.Rekey()
	type params = map[string]any
	do := func(serve func(context.Context, core.Call) (any, error), op engines.Operation, path string, p params) params {
		t.Helper()
		return fieldsOf(t)(serve(ctx, call(op, path, p)))
	}
	do(o.StepDown, engines.Update, "sys/step-down", nil)
	do(o.GenerateRootStart, engines.Update, "sys/generate-root/attempt", params{})
	do(o.GenerateRootCancel, engines.Delete, "sys/generate-root/attempt", nil)
	begin := params{"secret_shares": "1", "secret_threshold": "1", "require_verification": true}
	n := do(r.Start, engines.Update, "sys/rekey/init", begin)["nonce"]
	do(r.Cancel, engines.Delete, "sys/rekey/init", params{"nonce": n})
	n = do(r.Start, engines.Update, "sys/rekey/init", begin)["nonce"]
	if _, err := r.Update(ctx, call(engines.Update, "sys/rekey/update", params{"nonce": n, "key": strings.Repeat("01", 32)})); err == nil {
		t.Fatal("a wrong share is taken")
	}
	made := do(r.Update, engines.Update, "sys/rekey/update", params{"nonce": n, "key": o.key})
	v := do(r.VerifyRestart, engines.Delete, "sys/rekey/verify", nil)["nonce"]
	list, _ := made["keys"].([]any)
	o.key = fmt.Sprint(list[0])
	do(r.Verify, engines.Update, "sys/rekey/verify", params{"nonce": v, "key": o.key})
	seal := call(engines.Update, "sys/seal", nil)
	seal.Token = engines.NewToken(o.root)
	if _, err := o.SealCall(ctx, seal); err != nil || !o.Sealed() {
		t.Fatal(err)
	}
	if _, err := o.Unseal(ctx, call(engines.Update, "sys/unseal", params{"key": strings.Repeat("02", 32)})); err == nil {
		t.Fatal("a wrong share is taken")
	}
	if _, err := o.Unseal(ctx, call(engines.Update, "sys/unseal", params{"reset": true})); err != nil {
		t.Fatal(err)
	}
	o.unseal(t)

	counts := map[string]int{}
	entries, text := o.record(t)
	for _, e := range entries {
		path := fmt.Sprint(at(e, "request", "path"))
		if strings.HasPrefix(path, "sys/audit") {
			continue
		}
		outcome := ""
		if e["error"] != nil {
			outcome = " failed"
		}
		counts[fmt.Sprintf("%s %s %s%s", e["type"], at(e, "request", "operation"), path, outcome)]++
		if at(e, "request", "remote_address") != "127.0.0.7" || at(e, "request", "data", "key") != nil {
			t.Errorf("%v", e)
		}
	}
	want := map[string]int{"response update sys/rekey/update failed": 1}
	for what, times := range map[string]int{
		"update sys/step-down": 1, "update sys/generate-root/attempt": 1, "delete sys/generate-root/attempt": 1,
		"update sys/rekey/init": 2, "delete sys/rekey/init": 1, "update sys/rekey/update": 2, "delete sys/rekey/verify": 1,
		"update sys/rekey/verify": 1, "update sys/seal": 1, "update sys/unseal": 1,
	} {
		want["request "+what], want["response "+what] = times, times
	}
	want["response update sys/rekey/update"] = 1
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("on record: -want +got\n%s", diff)
	}
	if strings.Contains(text+o.log.String(), o.key) {
		t.Error("a key is on record or in the log")
	}
	for _, line := range []string{
		"initialized", "init: the keys and the root token are on their way", "step-down", "generate-root start", "generate-root cancel",
		"rekey start", "rekey cancel", "rekey share failed", "rekey share", "rekey verification restart", "rekey verification share",
		"seal", "unseal: a share that does not fit", "unseal reset", "unseal: a share that fits", "unsealed",
	} {
		if !strings.Contains(o.log.String(), "level=INFO msg="+line) && !strings.Contains(o.log.String(), "level=INFO msg=\""+line) {
			t.Errorf("the log has no line %q:\n%s", line, o.log)
		}
	}
}

// TestCeremoniesAreNotServedUnrecorded breaks the only audit device: nothing begins, and the server stays open.
func TestCeremoniesAreNotServedUnrecorded(t *testing.T) {
	o := newOperators(t, memory.New())
	content, err := os.ReadFile(o.file)
	if err != nil {
		t.Fatal(err)
	}
	reopen := func(content []byte) {
		t.Helper()
		if err := o.Seal(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(o.file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		o.unseal(t)
	}
	reopen([]byte("#!/bin/sh\n"))
	if !strings.Contains(o.log.String(), "no audit device recorded the unsealing") {
		t.Error("the log does not tell of the unsealing that nothing recorded")
	}
	seal := call(engines.Update, "sys/seal", nil)
	seal.Token = engines.NewToken(o.root)
	for what, err := range map[string]error{
		"generate-root": second(o.GenerateRootStart(t.Context(), call(engines.Update, "sys/generate-root/attempt", map[string]any{}))),
		"rekey": second(o.Rekey().Start(t.Context(), call(engines.Update, "sys/rekey/init",
			map[string]any{"secret_shares": "1", "secret_threshold": "1"}))),
		"seal": second(o.SealCall(t.Context(), seal)),
	} {
		if err == nil {
			t.Errorf("%s was served unrecorded", what)
		}
	}
	for what, status := range map[string]map[string]any{
		"generate-root": fieldsOf(t)(o.GenerateRootStatus(t.Context(), call(engines.Read, "sys/generate-root/attempt", nil))),
		"rekey":         fieldsOf(t)(o.Rekey().Status(t.Context(), call(engines.Read, "sys/rekey/init", nil))),
	} {
		if status["started"] != false {
			t.Errorf("%s has begun all the same", what)
		}
	}
	reopen(content)
}

// TestWhoTakesPart goes through everybody who may or may not use generate-root and rekey.
func TestWhoTakesPart(t *testing.T) {
	c, key, root := server(t, memory.New())
	must(t, c, root, engines.Update, "sys/policies/acl/strong", map[string]any{"policy": `
		path "sys/generate-root/*" { capabilities = ["read", "update", "delete", "sudo"] }
		path "sys/rekey/*" { capabilities = ["read", "update", "delete", "sudo"] }`})
	must(t, c, root, engines.Update, "sys/policies/acl/weak", map[string]any{"policy": `
		path "sys/generate-root/*" { capabilities = ["read", "update", "delete"] }
		path "sys/rekey/*" { capabilities = ["read", "update", "delete"] }`})
	strong := newToken(t, c, root, map[string]any{"policies": []any{"strong"}})
	weak := newToken(t, c, root, map[string]any{"policies": []any{"weak"}})
	for _, test := range []struct {
		name, token   string
		standing      core.Standing
		part, cancel  bool
		knows         bool
		refusal, gone string
	}{
		{name: "stranger", refusal: "permission denied"},
		{name: "bad token", token: "hvs.bad", refusal: engines.Numbered("permission denied", "invalid token")},
		{name: "no sudo", token: weak, refusal: engines.Numbered("permission denied")},
		{name: "sudo", token: strong, part: true, cancel: true, knows: true},
		{name: "root", token: root, part: true, cancel: true, knows: true},
		{name: "at the machine", standing: core.AtMachine, part: true, cancel: true, knows: true},
		{name: "at the machine, old token", token: "hvs.bad", standing: core.AtMachine, part: true, cancel: true, knows: true},
		{name: "guest", standing: core.Guest, part: true, knows: true},
		{name: "guest with sudo", token: strong, standing: core.Guest, part: true, cancel: true, knows: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			theirs := func(op engines.Operation, path string, params map[string]any) core.Call {
				return core.Call{ID: "id", Operation: op, Path: path, Params: params, Token: engines.NewToken(test.token),
					Standing: test.standing, Client: engines.Client{Addr: localhost}}
			}
			check := func(what string, may bool, err error) {
				t.Helper()
				if may != (err == nil) || !may && !errors.Is(err, engines.ErrDenied) || test.refusal != "" && err.Error() != test.refusal {
					t.Errorf("%s: %v", what, err)
				}
			}
			type params = map[string]any
			begin := params{"secret_shares": "1", "secret_threshold": "1", "require_verification": true}
			check("start generate-root", test.part,
				second(c.GenerateRootStart(t.Context(), theirs(engines.Update, "sys/generate-root/attempt", params{}))))
			check("start rekey", test.part, second(c.Rekey().Start(t.Context(), theirs(engines.Update, "sys/rekey/init", begin))))
			// From here on there are attempts in any case.
			_, _ = c.GenerateRootStart(t.Context(), call(engines.Update, "sys/generate-root/attempt", params{}))
			_, _ = c.Rekey().Start(t.Context(), call(engines.Update, "sys/rekey/init", begin))
			nonces := []any{
				fieldsOf(t)(c.GenerateRootStatus(t.Context(), theirs(engines.Read, "sys/generate-root/attempt", nil)))["nonce"],
				fieldsOf(t)(c.Rekey().Status(t.Context(), theirs(engines.Read, "sys/rekey/init", nil)))["nonce"],
			}
			n := fieldsOf(t)(c.Rekey().Status(t.Context(), call(engines.Read, "sys/rekey/init", nil)))["nonce"]
			check("give a share", test.part,
				second(c.Rekey().Update(t.Context(), theirs(engines.Update, "sys/rekey/update", params{"nonce": n, "key": key}))))
			_, _ = c.Rekey().Update(t.Context(), call(engines.Update, "sys/rekey/update", params{"nonce": n, "key": key}))
			status := fieldsOf(t)(c.Rekey().Status(t.Context(), theirs(engines.Read, "sys/rekey/init", nil)))
			verify := fieldsOf(t)(c.Rekey().VerifyStatus(t.Context(), theirs(engines.Read, "sys/rekey/verify", nil)))
			nonces = append(nonces, status["verification_nonce"], verify["nonce"])
			for i, nonce := range nonces {
				if known := nonce != nil && nonce != ""; known != test.knows {
					t.Errorf("nonce %d: %v", i, nonce)
				}
			}
			check("restart the verification", test.cancel, second(c.Rekey().VerifyRestart(t.Context(), theirs(engines.Delete, "sys/rekey/verify", nil))))
			check("cancel rekey", test.cancel, second(c.Rekey().Cancel(t.Context(), theirs(engines.Delete, "sys/rekey/init", params{"nonce": n}))))
			check("cancel generate-root", test.cancel, second(c.GenerateRootCancel(t.Context(), theirs(engines.Delete, "sys/generate-root/attempt", nil))))
			_, _ = c.Rekey().Cancel(t.Context(), call(engines.Delete, "sys/rekey/init", params{"nonce": n}))
			_, _ = c.GenerateRootCancel(t.Context(), call(engines.Delete, "sys/generate-root/attempt", nil))
		})
	}
}

// TestStrangersDoNotStopAnUnsealing: a stranger may give wrong shares and may not reset, and does not fill the log.
func TestStrangersDoNotStopAnUnsealing(t *testing.T) {
	c, l := sealedCore(t, memory.New(), nil)
	made := initCore(t, c, map[string]any{"secret_shares": "3", "secret_threshold": "2"})
	give := func(share string) (any, error) {
		return c.Unseal(t.Context(), core.Call{Params: map[string]any{"key": share}, Client: engines.Client{Addr: localhost}})
	}
	for i, key := range made.Keys[:2] {
		for n := range 500 {
			_, _ = give(fmt.Sprintf("%064x%s", n+1, key[64:]))
		}
		for _, params := range []map[string]any{{"reset": true}, {"reset": true, "key": made.Keys[2]}} {
			_, err := c.Unseal(t.Context(), core.Call{Params: params, Standing: core.Guest, Client: engines.Client{Addr: localhost}})
			if !errors.Is(err, engines.ErrDenied) {
				t.Errorf("reset: %v", err)
			}
		}
		if sealed := fieldsOf(t)(give(key))["sealed"]; sealed != (i == 0) {
			t.Errorf("after share %d: sealed %v", i, sealed)
		}
	}
	if lines := strings.Count(l.String(), "\n"); lines > 60 {
		t.Errorf("%d lines in the log:\n%s", lines, l)
	}
	if n := strings.Count(l.String(), "a share that fits"); n != 2 {
		t.Errorf("%d lines tell of the right shares", n)
	}
}

// TestLogShowsNoPathThatNothingServes: what stands there may be a token, and one that a client chose looks like a name.
func TestLogShowsNoPathThatNothingServes(t *testing.T) {
	o := newOperators(t, memory.New())
	made := must(t, o.Core, o.root, engines.Update, "auth/token/create", map[string]any{"policies": []any{"default"}})
	for _, path := range []string{"auth/token/lookup/chosen", "sys/policies/acl/seen"} {
		c := call(engines.Read, path, nil)
		c.Token = made.Auth.Token
		if _, err := o.Handle(t.Context(), c); !errors.Is(err, engines.ErrDenied) {
			t.Fatalf("%s: %v", path, err)
		}
	}
	text := o.log.String()
	if strings.Contains(text, "path=auth/token/lookup") { // the test's request_id names the path
		t.Errorf("%s", text)
	}
	for _, want := range []string{"path=auth/token/ ", "path=sys/policies/acl/seen"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
}

// blocking is a store whose next commit waits, when it is told to.
type blocking struct {
	storage.Storage
	hold atomic.Pointer[chan struct{}]
}

// Apply implements storage.Storage.
func (b *blocking) Apply(ctx context.Context, batch ...storage.Op) error {
	if hold := b.hold.Swap(nil); hold != nil {
		<-*hold
	}
	return b.Storage.Apply(ctx, batch...)
}

// TestRootTokenBesideASeal seals the server while a root token is made: the token is delivered, and on record.
func TestRootTokenBesideASeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &blocking{Storage: memory.New()}
		o := newOperators(t, store)
		otp := strings.Repeat("o", 28)
		started := fieldsOf(t)(o.GenerateRootStart(t.Context(), call(engines.Update, "sys/generate-root/attempt",
			map[string]any{"otp": otp})))
		hold := make(chan struct{})
		store.hold.Store(&hold)
		sealed := make(chan struct{})
		go func() {
			defer close(sealed)
			synctest.Wait() // the token is being stored
			go func() {
				synctest.Wait() // the seal waits
				close(hold)
			}()
			sealNow(t, o.Core)
		}()
		done := fieldsOf(t)(o.GenerateRootUpdate(t.Context(), call(engines.Update, "sys/generate-root/update",
			map[string]any{"key": o.key, "nonce": started["nonce"]})))
		<-sealed
		if token := unmask(t, done["encoded_token"], otp); !strings.HasPrefix(token, "hvs.") {
			t.Errorf("%q is no token", token)
		}
		if _, text := o.record(t); strings.Count(text, `"path":"sys/generate-root/update"`) != 2 {
			t.Errorf("no entry for the request, or none for the answer:\n%s", text)
		}
	})
}
