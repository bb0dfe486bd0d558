package core_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coffer/engines"
	"coffer/server/core"
	"coffer/server/wire"
	"coffer/storage"
	"coffer/storage/memory"
)

// The tests in this file each hold one class of published attacks against the whole pipeline; docs/security.md
// lists them all.

var localhost = netip.MustParseAddr("127.0.0.1")

// fieldsOf returns what a client reads in the answer of an operator's route.
func fieldsOf(t *testing.T) func(any, error) map[string]any {
	return func(answer any, err error) (fields map[string]any) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(answer)
		if err == nil {
			err = json.Unmarshal(text, &fields)
		}
		if err != nil {
			t.Fatal(err)
		}
		return fields
	}
}

// render is the answer as a client gets it.
func render(t *testing.T, resp *engines.Response) string {
	t.Helper()
	var b bytes.Buffer
	if err := wire.Append(&b, "", "", resp); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestFloodLeavesAnOperatorsAttemptAlone begins generate-root and rekey and lets strangers, who know the nonce, do
// everything, without a token and with a worthless one, and where the configuration lets everybody take part.
func TestFloodLeavesAnOperatorsAttemptAlone(t *testing.T) {
	c, key, root := server(t, memory.New())
	weak := newToken(t, c, root, map[string]any{"policies": []any{"default"}})
	otp := strings.Repeat("o", 28)
	call := func(params map[string]any) core.Call {
		return core.Call{Params: params, Operation: engines.Update, Standing: core.AtMachine}
	}
	started := fieldsOf(t)(c.GenerateRootStart(t.Context(), call(map[string]any{"otp": otp})))
	rekey := fieldsOf(t)(c.Rekey().Start(t.Context(), call(map[string]any{"secret_shares": "1", "secret_threshold": "1"})))

	var flood sync.WaitGroup
	for i := range 200 {
		flood.Go(func() {
			for _, token := range []string{"", "hvs.worthless", weak} {
				stranger := func(params map[string]any) core.Call {
					return core.Call{ID: "id", Path: "sys/rekey/init", Operation: engines.Update, Params: params,
						Token: engines.NewToken(token), Client: engines.Client{Addr: localhost}, Standing: core.Standing(i % 2)}
				}
				for what, err := range map[string]error{
					"cancel generate-root": second(c.GenerateRootCancel(t.Context(), stranger(map[string]any{}))),
					"start generate-root":  second(c.GenerateRootStart(t.Context(), stranger(map[string]any{"otp": otp}))),
					"a share of no attempt": second(c.GenerateRootUpdate(t.Context(), stranger(
						map[string]any{"nonce": fmt.Sprint(i), "key": base64.StdEncoding.EncodeToString(make([]byte, 33))}))),
					"cancel rekey": second(c.Rekey().Cancel(t.Context(), stranger(map[string]any{"nonce": rekey["nonce"]}))),
					"start rekey": second(c.Rekey().Start(t.Context(), stranger(
						map[string]any{"secret_shares": "1", "secret_threshold": "1"}))),
					"a share of no rekey": second(c.Rekey().Update(t.Context(), stranger(
						map[string]any{"nonce": fmt.Sprint(i), "key": base64.StdEncoding.EncodeToString(make([]byte, 33))}))),
				} {
					if err == nil {
						t.Errorf("a stranger may %s", what)
					}
				}
			}
		})
	}
	flood.Wait()

	done := fieldsOf(t)(c.GenerateRootUpdate(t.Context(), call(map[string]any{"nonce": started["nonce"], "key": key})))
	hidden, err := base64.RawStdEncoding.DecodeString(fmt.Sprint(done["encoded_token"]))
	if err != nil || len(hidden) != len(otp) {
		t.Fatalf("generate-root did not complete: %v", done)
	}
	for i := range hidden {
		hidden[i] ^= otp[i]
	}
	must(t, c, string(hidden), engines.Read, "auth/token/lookup-self", nil)
	if done = fieldsOf(t)(c.Rekey().Update(t.Context(), call(map[string]any{"nonce": rekey["nonce"], "key": key}))); done["complete"] != true {
		t.Errorf("rekey did not complete: %v", done)
	}
}

func second(_ any, err error) error { return err }

// TestNothingIsServedUnrecorded breaks the only audit device: what it should have recorded is refused, and nothing
// of it was done.
func TestNothingIsServedUnrecorded(t *testing.T) {
	c, key, root := server(t, memory.New())
	file := filepath.Join(t.TempDir(), "audit.log")
	must(t, c, root, engines.Update, "sys/audit/file",
		map[string]any{"type": "file", "options": map[string]any{"file_path": file}})
	must(t, c, root, engines.Update, "secret/data/x", map[string]any{"data": map[string]any{"k": "old"}})
	recorded, err := os.ReadFile(file)
	if err != nil || len(recorded) == 0 {
		t.Fatal("nothing recorded", err)
	}
	// The file becomes another's; the device must not write to it, and nothing else records.
	reopen := func(content []byte) {
		t.Helper()
		if err := c.Seal(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Unseal(t.Context(), core.Call{Params: map[string]any{"key": key}}); err != nil {
			t.Fatal(err)
		}
	}
	reopen([]byte("#!/bin/sh\n"))
	for _, op := range []engines.Operation{engines.Read, engines.Update, engines.Delete} {
		if _, err := do(t.Context(), c, root, op, "secret/data/x", map[string]any{"data": map[string]any{"k": "new"}}); err == nil {
			t.Errorf("%s was served unrecorded", op)
		}
	}
	if _, err := do(t.Context(), c, "hvs.nobody", engines.Read, "secret/data/x", nil); err == nil {
		t.Error("a refusal went unrecorded")
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "#!/bin/sh\n" {
		t.Errorf("a foreign file was changed: %q, %v", content, err)
	}
	reopen(recorded)
	if text := render(t, must(t, c, root, engines.Read, "secret/data/x", nil)); !strings.Contains(text, `"k":"old"`) {
		t.Errorf("it was done all the same: %s", text)
	}
}

// TestRootIsNotHadThroughARole tries every spelling of root as what a role or a weaker token asks for.
func TestRootIsNotHadThroughARole(t *testing.T) {
	c, _, root := server(t, memory.New())
	must(t, c, root, engines.Update, "sys/policies/acl/maker", map[string]any{"policy": `
		path "auth/token/*" { capabilities = ["create", "update", "sudo"] }`})
	for i, allowed := range []any{[]any{"root"}, []any{"ROOT "}, []any{" rOoT"}, []any{"maker"}, []any{"default"}, []any{}} {
		role := fmt.Sprintf("auth/token/roles/r%d", i)
		params := map[string]any{"allowed_policies": allowed, "allowed_policies_glob": []any{"*"}}
		if _, err := do(t.Context(), c, root, engines.Update, role, params); err != nil && !errors.Is(err, engines.ErrInvalid) {
			t.Fatal(err)
		}
	}
	weak := newToken(t, c, root, map[string]any{"policies": []any{"maker"}})
	for _, spelling := range []string{"root", "ROOT", "Root", " root", "root ", "\troot\n", "rOOt"} {
		paths := []string{"auth/token/create", "auth/token/create-orphan"}
		for i := range 6 {
			paths = append(paths, fmt.Sprintf("auth/token/create/r%d", i))
		}
		for _, path := range paths {
			for _, policies := range [][]any{{spelling}, {"maker", spelling}} {
				resp, err := do(t.Context(), c, weak, engines.Update, path, map[string]any{"policies": policies})
				if err != nil {
					continue
				}
				if _, err := do(t.Context(), c, resp.Auth.Token.Reveal(), engines.Read, "sys/audit", nil); err == nil {
					t.Errorf("%s with %q: policies %q, and it is root", path, policies, resp.Auth.Policies)
				}
			}
		}
	}
}

// TestOneOfAHundredUnwrapsIsServed unwraps at once through the pipeline, in all ways that a wrapping token can be used.
func TestOneOfAHundredUnwrapsIsServed(t *testing.T) {
	c, _, root := server(t, memory.New())
	must(t, c, root, engines.Update, "secret/data/x", map[string]any{"data": map[string]any{"k": "v"}})
	wrapping := wrapped(t, c, root)
	var served atomic.Int32
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			token, params := wrapping, map[string]any(nil)
			if i%2 == 0 {
				token, params = root, map[string]any{"token": wrapping}
			}
			if _, err := do(t.Context(), c, token, engines.Update, "sys/wrapping/unwrap", params); err == nil {
				served.Add(1)
			}
		})
	}
	all.Wait()
	if n := served.Load(); n != 1 {
		t.Errorf("%d of 100 unwraps were served", n)
	}
}

// wrapped reads secret/data/x into a wrapping token.
func wrapped(t *testing.T, c *core.Core, root string) string {
	t.Helper()
	reply, err := c.Handle(t.Context(), core.Call{ID: "id", Operation: engines.Read, Path: "secret/data/x",
		Token: engines.NewToken(root), Client: engines.Client{Addr: localhost}, WrapTTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return reply.Response.Wrap.Token.Reveal()
}

// TestWrappingTokenUnwrapsOneOther uses one wrapping token as the caller that unwraps many others at once: it has one
// use, and the others keep what they hold.
func TestWrappingTokenUnwrapsOneOther(t *testing.T) {
	c, _, root := server(t, memory.New())
	must(t, c, root, engines.Update, "secret/data/x", map[string]any{"data": map[string]any{"k": "v"}})
	caller := wrapped(t, c, root)
	others := make([]string, 20)
	for i := range others {
		others[i] = wrapped(t, c, root)
	}
	var served atomic.Int32
	var all sync.WaitGroup
	for _, other := range others {
		all.Go(func() {
			if _, err := do(t.Context(), c, caller, engines.Update, "sys/wrapping/unwrap", map[string]any{"token": other}); err == nil {
				served.Add(1)
			}
		})
	}
	all.Wait()
	left := 0
	for _, other := range others {
		if _, err := do(t.Context(), c, root, engines.Update, "sys/wrapping/unwrap", map[string]any{"token": other}); err == nil {
			left++
		}
	}
	if served.Load() != 1 || left != len(others)-1 {
		t.Errorf("%d were unwrapped by one token, %d are left of %d", served.Load(), left, len(others))
	}
	if _, err := do(t.Context(), c, root, engines.Update, "sys/wrapping/lookup", map[string]any{"token": caller}); err == nil {
		t.Error("the caller is still usable")
	}
}

// TestTamperedStoreShowsNoOtherValue swaps, cuts, and copies every stored value in turn, and reads all secrets: each
// answer is the secret's own value or an error, never another's, and never a panic.
func TestTamperedStoreShowsNoOtherValue(t *testing.T) {
	store := memory.New()
	c, _, root := server(t, store)
	for i := range 3 {
		must(t, c, root, engines.Update, fmt.Sprintf("secret/data/s%d", i), map[string]any{"data": map[string]any{"k": fmt.Sprintf("value-%d", i)}})
	}
	read := func() {
		t.Helper()
		for i := range 3 {
			resp, err := do(t.Context(), c, root, engines.Read, fmt.Sprintf("secret/data/s%d", i), nil)
			if err != nil {
				continue
			}
			if text := render(t, resp); !strings.Contains(text, fmt.Sprintf("value-%d", i)) {
				t.Errorf("s%d reads as %s", i, text)
			}
		}
	}
	contents := store.Contents()
	for i, op := range contents {
		other := contents[(i+1)%len(contents)].Value
		for _, value := range [][]byte{other, nil, op.Value[:len(op.Value)/2], flip(op.Value)} {
			if err := store.Apply(t.Context(), storage.Put(op.Key, value)); err != nil {
				t.Fatal(err)
			}
			read()
		}
		if err := store.Apply(t.Context(), storage.Put(op.Key, op.Value)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		must(t, c, root, engines.Read, fmt.Sprintf("secret/data/s%d", i), nil)
	}
}

func flip(b []byte) []byte {
	flipped := append([]byte(nil), b...)
	if len(flipped) > 0 {
		flipped[len(flipped)-1] ^= 1
	}
	return flipped
}
