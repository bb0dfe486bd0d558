package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/barrier/record"
	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/storage/bolt"
)

// operator talks to a server as the command line does: each call on a connection of its own.
type operator struct {
	t     *testing.T
	base  string
	token string
}

func (o *operator) call(method, path string, body any) map[string]any {
	o.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		o.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(o.t.Context(), method, o.base+path, bytes.NewReader(text))
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", o.token)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer := map[string]any{}
	if err := json.NewDecoder(resp.Body).Decode(&answer); (err != nil && !errors.Is(err, io.EOF)) || resp.StatusCode >= 300 {
		o.t.Fatalf("%s %s: %d %v %v", method, path, resp.StatusCode, answer, err)
	}
	return answer
}

// texts returns a list of strings in an answer.
func texts(answer map[string]any, field string) []string {
	list, _ := answer[field].([]any)
	all := make([]string, len(list))
	for i := range list {
		all[i], _ = list[i].(string)
	}
	return all
}

// search returns how often each needle is in the memory of a process, which the caller started.
func search(t *testing.T, pid int, needles map[string][]byte) map[string]int {
	t.Helper()
	regions, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer regions.Close()
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	found := map[string]int{}
	for lines := bufio.NewScanner(regions); lines.Scan(); {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil {
			t.Fatal(err)
		}
		// The storage is mapped for reading; what a process knows is where it can write.
		if !strings.HasPrefix(mode, "rw") || to-from > 1<<30 {
			continue
		}
		region := make([]byte, to-from)
		n, _ := memory.ReadAt(region, int64(from)) // a region may not be readable to its end
		for name, needle := range needles {
			found[name] += bytes.Count(region[:n], needle)
		}
	}
	return found
}

// keysOf returns the keys behind an unseal key, from a copy of the data file.
func keysOf(t *testing.T, folder string, unseal secret.Key) map[string][]byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, "coffer.db"))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := bolt.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	root, err := seal.RootKey(t.Context(), store, seal.NewShamir(unseal))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := store.Get(t.Context(), "core/keyring")
	if err != nil {
		t.Fatal(err)
	}
	c, err := record.NewCipher(root, 0)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := c.Open(sealed, []byte("core/keyring"))
	if err != nil {
		t.Fatal(err)
	}
	// The form of a keyring is told in package barrier: names are encrypted under two keys, and the first term's key
	// is the last thing.
	return map[string][]byte{"unseal key": unseal.Reveal(), "root key": root.Reveal(), "name key 1": ring[18:50],
		"name key 2": ring[50:82], "term key": ring[len(ring)-record.KeySize:]}
}

// TestSealedMemoryHoldsNoKeys reads the memory of a server that was initialised, opened, used and sealed.
func TestSealedMemoryHoldsNoKeys(t *testing.T) {
	folder := t.TempDir()
	config := writeFile(t, "a.hcl", fmt.Sprintf("storage \"file\" {\npath = %q\n}\ndisable_mlock = true\n"+
		"listener \"tcp\" {\naddress = \"127.0.0.1:0\"\ntls_disable = true\n}\n", folder))
	pid, address := startProcess(t, visible, `Listener 1: tcp \(addr: "([^"]+)"(?s:.*)server started`, "server", "-config="+config)
	o := &operator{t: t, base: "http://" + address + "/v1/"}
	made := o.call(http.MethodPut, "sys/init", map[string]any{"secret_shares": 3, "secret_threshold": 2})
	needles := map[string][]byte{}
	shares, encoded, unseal := sharesIn(t, needles, "", made)
	maps.Copy(needles, keysOf(t, folder, unseal))

	o.call(http.MethodPut, "sys/unseal", map[string]any{"key": shares[0]})
	o.call(http.MethodPut, "sys/unseal", map[string]any{"key": encoded[1]})
	o.token, _ = made["root_token"].(string)
	o.call(http.MethodPut, "sys/mounts/kv", map[string]any{"type": "kv"})
	for i := range 50 {
		o.call(http.MethodPut, fmt.Sprint("kv/", i), map[string]any{"k": "v"})
	}
	// Once open, the server needs its keys and not those that opened it.
	inUse := []string{"root key", "term key", "name key 1", "name key 2"}
	opened := maps.Clone(needles)
	maps.DeleteFunc(opened, func(name string, _ []byte) bool { return slices.Contains(inUse, name) })
	if found := search(t, pid, needles); found["term key"] == 0 || found["root key"] == 0 {
		t.Fatalf("the search finds no keys in an open server: %v", found)
	}
	wantGone(t, "open", pid, opened)

	attempt := o.call(http.MethodPut, "sys/rekey/init", map[string]any{"secret_shares": 3, "secret_threshold": 2})
	o.call(http.MethodPut, "sys/rekey/update", map[string]any{"key": encoded[0], "nonce": attempt["nonce"]})
	made = o.call(http.MethodPut, "sys/rekey/update", map[string]any{"key": encoded[1], "nonce": attempt["nonce"]})
	shares, _, _ = sharesIn(t, opened, "new ", made)
	attempt = o.call(http.MethodPut, "sys/generate-root/attempt", nil)
	o.call(http.MethodPut, "sys/generate-root/update", map[string]any{"key": shares[0], "nonce": attempt["nonce"]})
	root := o.call(http.MethodPut, "sys/generate-root/update", map[string]any{"key": shares[1], "nonce": attempt["nonce"]})
	hidden, _ := root["encoded_root_token"].(string)
	opened["root token, hidden"] = []byte(hidden)
	wantGone(t, "rekeyed", pid, opened)
	maps.Copy(needles, opened)
	o.call(http.MethodPut, "sys/seal", nil)
	wantGone(t, "sealed", pid, needles)
}

// sharesIn adds the shares in an answer to the needles, and the key that they make. It returns them in hex and in
// base64, and the key.
func sharesIn(
	t *testing.T, needles map[string][]byte, which string, answer map[string]any,
) (shares, encoded []string, unseal secret.Key) {
	t.Helper()
	shares, encoded = texts(answer, "keys"), texts(answer, "keys_base64")
	var parts []secret.Key
	for i := range shares {
		raw, err := hex.DecodeString(shares[i])
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, secret.New(raw))
		needles[fmt.Sprintf("%sshare %d", which, i)] = raw
		needles[fmt.Sprintf("%sshare %d in hex", which, i)] = []byte(shares[i])
		needles[fmt.Sprintf("%sshare %d in base64", which, i)] = []byte(encoded[i])
	}
	unseal, err := seal.Combine(parts[:2])
	if err != nil {
		t.Fatal(err)
	}
	needles[which+"unseal key"] = unseal.Reveal()
	return shares, encoded, unseal
}

// TestInitLeavesNoKeys reads the memory of a server that opens by itself, after its initialisation, and of one that
// stays sealed.
func TestInitLeavesNoKeys(t *testing.T) {
	for seal, prefix := range map[string]string{
		"": "secret_", "seal \"static\" {\ncurrent_key_id = \"a\"\ncurrent_key = \"" + strings.Repeat("0a", 32) + "\"\n}\n": "recovery_",
	} {
		config := writeFile(t, "a.hcl", fmt.Sprintf("storage \"file\" {\npath = %q\n}\ndisable_mlock = true\n%s"+
			"listener \"tcp\" {\naddress = \"127.0.0.1:0\"\ntls_disable = true\n}\n", t.TempDir(), seal))
		pid, address := startProcess(t, visible, `Listener 1: tcp \(addr: "([^"]+)"(?s:.*)server started`, "server", "-config="+config)
		o := &operator{t: t, base: "http://" + address + "/v1/"}
		made := o.call(http.MethodPut, "sys/init", map[string]any{prefix + "shares": 3, prefix + "threshold": 2})
		if prefix == "recovery_" {
			made["keys"], made["keys_base64"] = made["recovery_keys"], made["recovery_keys_base64"]
		}
		needles := map[string][]byte{}
		sharesIn(t, needles, "", made)
		wantGone(t, "initialised", pid, needles)
	}
}

// wantGone waits until a process has none of the needles in its memory.
func wantGone(t *testing.T, state string, pid int, needles map[string][]byte) {
	t.Helper()
	var found map[string]int
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		found = search(t, pid, needles)
		maps.DeleteFunc(found, func(_ string, n int) bool { return n == 0 })
		if len(found) == 0 {
			return
		}
	}
	t.Errorf("the %s server still has, so many times, %v", state, found)
}
