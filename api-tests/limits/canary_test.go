package limits

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coffer/api-tests/servers"
)

const canary = "canary-7f3a9c51"

// canaries are what must not be seen, by what they are.
type canaries map[string]string

// find reports every canary in text.
func (c canaries) find(t *testing.T, where string, text []byte) {
	t.Helper()
	for what, value := range c {
		if value == "" {
			t.Errorf("the canary %q is empty", what)
		} else if bytes.Contains(text, []byte(value)) {
			t.Errorf("%s shows %s", where, what)
		}
	}
}

// attempt is a request that is answered with an error, or whose answer has no business repeating what was sent.
type attempt struct {
	method, path string
	body         any
}

func attempts(token string) []attempt {
	data := map[string]any{"data": map[string]any{"password": canary}}
	return []attempt{
		{http.MethodPost, "secret/data/x", data},
		{http.MethodPost, "secret/data/x", map[string]any{"data": canary}},
		{http.MethodPost, "secret/data/x", map[string]any{"data": []string{canary}}},
		{http.MethodPost, "secret/data/x", map[string]any{"data": data["data"], "options": map[string]any{"cas": 99}}},
		{http.MethodPatch, "secret/data/nope", data},
		{http.MethodPost, "secret/nope/x", data},
		{http.MethodPost, "secret/data/x/", data},
		{http.MethodPost, "nope/x", data},
		{http.MethodPost, "kv1/x", map[string]any{"password": canary}},
		{http.MethodPost, "cubbyhole/x", map[string]any{"password": canary}},
		{http.MethodPut, "sys/unseal", map[string]any{"key": canary}},
		{http.MethodPut, "sys/unseal", map[string]any{"key": hex.EncodeToString([]byte(canary))}},
		{http.MethodPut, "sys/rekey/update", map[string]any{"key": canary, "nonce": "x"}},
		{http.MethodPut, "sys/generate-root/update", map[string]any{"key": canary, "nonce": "x"}},
		{http.MethodPost, "sys/wrapping/unwrap", map[string]any{"token": canary}},
		{http.MethodPost, "sys/wrapping/lookup", map[string]any{"token": canary}},
		{http.MethodPost, "auth/token/lookup", map[string]any{"token": canary}},
		{http.MethodPost, "auth/token/renew", map[string]any{"token": canary}},
		{http.MethodPost, "auth/token/revoke", map[string]any{"token": canary}},
		{http.MethodPost, "auth/token/renew", map[string]any{"token": token, "increment": []string{"x"}}},
		{http.MethodPost, "sys/capabilities", map[string]any{"token": canary, "paths": "x"}},
		{http.MethodPost, "sys/tools/hash/nope", map[string]any{"input": canary}},
		{http.MethodPost, "sys/audit-hash/nope", map[string]any{"input": canary}},
		{http.MethodPost, "auth/userpass/users/u", map[string]any{"password": canary}},
		{http.MethodPost, "auth/userpass/users/u", map[string]any{"password": canary, "password_hash": canary}},
		{http.MethodPost, "auth/userpass/users/u", map[string]any{"password_hash": canary}},
		{http.MethodPost, "auth/userpass/users/u", map[string]any{"password": []string{canary}}},
		{http.MethodPost, "auth/userpass/login/u", map[string]any{"password": canary + "x"}},
		{http.MethodPost, "auth/userpass/login/u", map[string]any{"password": []string{canary}}},
		{http.MethodPost, "auth/userpass/login/nobody", map[string]any{"password": canary}},
		{http.MethodPost, "auth/approle/login", map[string]any{"role_id": "x", "secret_id": canary}},
		{http.MethodPost, "auth/approle/login", map[string]any{"role_id": "x", "secret_id": []string{canary}}},
		{http.MethodPost, "auth/approle/role/nope/custom-secret-id", map[string]any{"secret_id": canary}},
		{http.MethodPost, "auth/approle/role/r/secret-id/lookup", map[string]any{"secret_id": canary}},
		{http.MethodPost, "auth/approle/role/r/secret-id/destroy", map[string]any{"secret_id": canary}},
		{http.MethodPost, "auth/approle/role/r/secret-id", map[string]any{"metadata": map[string]any{"k": canary}}},
		{http.MethodPost, "auth/approle/role/r/secret-id", map[string]any{"metadata": canary}},
		{http.MethodGet, "sys/metrics?format=prometheus", nil},
		{http.MethodGet, "sys/metrics", nil},
		{http.MethodGet, "sys/config/state/sanitized", nil},
		{http.MethodGet, "sys/internal/counters/activity", nil},
	}
}

// TestCanaries sends secrets in every place where they are sent, in well-formed and in broken requests, and looks for
// them in the server's log at its most talkative, in its answers, and, for coffer, in the files of its storage.
func TestCanaries(t *testing.T) {
	ctx := t.Context()
	s := serverWithSecret(t, servers.Options{LogLevel: "trace"})
	for path, body := range map[string]any{
		"sys/mounts/kv1":                        map[string]any{"type": "kv"},
		"sys/auth/userpass":                     map[string]any{"type": "userpass"},
		"sys/auth/approle":                      map[string]any{"type": "approle"},
		"sys/policies/acl/policy-" + canary:     map[string]any{"policy": `path "secret/data/` + canary + `" {}`},
		"sys/mounts/mount-" + canary:            map[string]any{"type": "kv"},
		"secret/data/name-" + canary + "/inner": map[string]any{"data": map[string]any{canary: canary}},
	} {
		if _, err := s.Must(ctx, http.MethodPost, path, body); err != nil {
			t.Fatal(err)
		}
	}
	a, err := s.Must(ctx, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"default"}})
	if err != nil {
		t.Fatal(err)
	}
	token, _ := a.Auth()["client_token"].(string)
	key, err := hex.DecodeString(s.Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	secrets := canaries{
		"a secret": canary, "the root token": s.RootToken, "a token": token,
		"an unseal key": s.Keys[0], "an unseal key in base64": base64.StdEncoding.EncodeToString(key),
	}
	for _, used := range []string{s.RootToken, token, canary, ""} {
		for _, try := range attempts(token) {
			a, err := s.Call(ctx, try.method, try.path, used, try.body)
			if err != nil {
				t.Fatal(err)
			}
			secrets.find(t, fmt.Sprintf("%s %s (%d)", try.method, try.path, a.Status), a.Raw)
		}
	}
	broken(t, s, secrets)
	if err := s.Crash(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(s.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	// Names of mounts and policies are no secrets in a log, as values, tokens and keys are.
	cleaned := bytes.ReplaceAll(log, []byte("mount-"+canary), nil)
	cleaned = bytes.ReplaceAll(cleaned, []byte("policy-"+canary), nil)
	secrets.find(t, "the log", cleaned)
	if s.Kind == servers.Coffer {
		searchFiles(t, s.DataDir(), secrets)
	}
}

// broken sends what no JSON parser accepts; the error must not repeat it.
func broken(t *testing.T, s *servers.Server, secrets canaries) {
	t.Helper()
	for _, body := range []string{
		`{"data":{"password":"` + canary, `{"data":{"password":"` + canary + `"}} trailing`, canary,
		`{"key":"` + canary + `",}`, `["` + canary + `"]`, `"` + canary + `"`, `{"a":1,"a":"` + canary + `"}`,
	} {
		for _, path := range []string{"secret/data/x", "sys/unseal", "auth/token/lookup"} {
			url := s.Addr() + "/v1/" + path
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Vault-Token", s.RootToken)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var answer bytes.Buffer
			_, err = answer.ReadFrom(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			secrets.find(t, fmt.Sprintf("PUT %s with %.10q…", path, body), answer.Bytes())
		}
	}
}

// searchFiles looks for the canaries on disk, where not even names may be seen.
func searchFiles(t *testing.T, dir string, secrets canaries) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files++
		secrets.find(t, filepath.Base(path), content)
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("looked through %d files: %v", files, err)
	}
}
