package api_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
	"coffer/engines/kv"
	"coffer/server/api"
	"coffer/server/core"
	"coffer/server/mounts"
	"coffer/storage"
	"coffer/storage/memory"
)

// The tests in this file hold attacks by the spelling of a path against the whole server, over HTTP;
// docs/security.md lists all such tests.

var verbs = []string{"GET", "HEAD", "LIST", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE"}

// house is a server over a store in memory, with KV version 2 at secret/.
type house struct {
	handler http.Handler
	core    *core.Core
	store   *memory.Store
	root    string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	return newHouseOf(t, map[mounts.Kind]map[string]engines.Factory{mounts.Secret: {"kv": kv.Factory}})
}

// newHouseOf is a house in which engines of these types can be mounted.
func newHouseOf(t *testing.T, types map[mounts.Kind]map[string]engines.Factory) *house {
	t.Helper()
	store := memory.New()
	h := newHouseOver(t, types, store)
	h.store = store
	return h
}

// newHouseOver is newHouseOf over any storage.
func newHouseOver(
	t *testing.T, types map[mounts.Kind]map[string]engines.Factory, store storage.Storage,
) *house {
	t.Helper()
	h := &house{}
	h.core = core.New(core.Config{
		Storage: store, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Types: types,
		Settings: core.Settings{DefaultLeaseTTL: time.Hour, MaxLeaseTTL: time.Hour, StorageType: "inmem",
			LogLevel: new(slog.LevelVar)},
		Build: core.Build{Version: "1.21.2", Date: "2026-01-01T00:00:00Z"},
	})
	_, root, err := h.core.InitDev(t.Context(), engines.Token{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.core.Seal(); err != nil {
			t.Error(err)
		}
	})
	h.root = root.Reveal()
	h.handler = api.New(api.Config{
		Core: h.core, Logger: slog.New(slog.DiscardHandler), MaxRequestSize: 32 << 20, MaxRequestDuration: time.Minute,
		JSON: api.DefaultJSONLimits(), Bodies: api.NewBodyGate(64 << 20),
	})
	return h
}

// send makes one request with the target as it goes on the wire.
func (h *house) send(t *testing.T, method, target, token, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	r.RequestURI = target
	var err error
	if r.URL, err = url.ParseRequestURI(target); err != nil { // as net/http's server does
		return &httptest.ResponseRecorder{Code: http.StatusBadRequest}
	}
	r.RemoteAddr = "127.0.0.1:1234"
	if token != "" {
		r.Header.Set("X-Vault-Token", token)
	}
	if method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/merge-patch+json")
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w
}

func (h *house) must(t *testing.T, method, target, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := h.send(t, method, target, h.root, body)
	if w.Code >= 300 {
		t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
	}
	return w
}

// token makes a token with one policy.
func (h *house) token(t *testing.T, rules string) string {
	t.Helper()
	policy, err := json.Marshal(map[string]string{"policy": rules})
	if err != nil {
		t.Fatal(err)
	}
	h.must(t, "PUT", "/v1/sys/policies/acl/p", string(policy))
	return h.issue(t, `{"policies":["p"]}`)
}

// issue makes a token with parameters of auth/token/create.
func (h *house) issue(t *testing.T, params string) string {
	t.Helper()
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	w := h.must(t, "POST", "/v1/auth/token/create", params)
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Auth.Token
}

// crooked are spellings of paths with empty, dot or control segments, plain and encoded.
var crooked = []string{
	"secret/metadata/a/../b", "secret/metadata/a/%2e%2e/b", "secret/metadata/a/.%2e/b", "secret/metadata/a%2f..%2fb",
	"secret/metadata/a%2F%2E%2E%2Fb", "secret//metadata/b", "secret/metadata//b", "secret/./metadata/b", "secret/metadata/./b",
	"secret/metadata/%2e/b", "secret/metadata/b/.", "secret/metadata/b/..", "secret/metadata/b%2f%2e%2e", "//secret/metadata/b",
	"secret/metadata/b%00", "secret/metadata/b%0a", "secret/metadata/b%0d%0aX: y", "secret/metadata/b%7f", "sys/../secret/metadata/b",
	"sys/mounts/../mounts/secret", "sys/mounts/%2e%2e/mounts/secret", "sys//mounts/secret", "sys/policies/acl/../acl/p",
	"cubbyhole/../secret/metadata/b", "auth/token/../../secret/metadata/b", "secret/metadata/%2e%2e%2f%2e%2e%2fsys/seal",
}

// TestCrookedPathsAreRefusedForEveryVerb sends them as root, who may do anything: nothing is done, and neither audit nor
// storage sees them.
func TestCrookedPathsAreRefusedForEveryVerb(t *testing.T) {
	h := newHouse(t)
	log := filepath.Join(t.TempDir(), "audit.log")
	h.must(t, "PUT", "/v1/sys/audit/file", fmt.Sprintf(`{"type":"file","options":{"file_path":%q,"log_raw":"true"}}`, log))
	h.must(t, "PUT", "/v1/secret/data/b", `{"data":{"k":"v"}}`)
	h.must(t, "PUT", "/v1/sys/policies/acl/p", `{"policy":"path \"x\" {}"}`)
	recorded, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	before := h.store.Contents()
	for _, verb := range verbs {
		for _, path := range crooked {
			w := h.send(t, verb, "/v1/"+path, h.root, `{"data":{"k":"changed"}}`)
			if w.Code != http.StatusTemporaryRedirect && w.Code != http.StatusBadRequest {
				t.Errorf("%s %s: %d %s", verb, path, w.Code, w.Body)
			}
			if at := w.Header().Get("Location"); strings.Contains(at, "..") || strings.Contains(at[min(1, len(at)):], "//") {
				t.Errorf("%s %s: redirected to %s", verb, path, at)
			}
		}
	}
	if diff := cmp.Diff(before, h.store.Contents()); diff != "" {
		t.Errorf("the storage changed:\n%s", diff)
	}
	if after, err := os.ReadFile(log); err != nil || string(after) != string(recorded) {
		t.Errorf("%d bytes more in the audit log, %v", len(after)-len(recorded), err)
	}
}

// TestNoSpellingPassesADenyRule asks for denied secrets in other cases and encodings, by every verb.
func TestNoSpellingPassesADenyRule(t *testing.T) {
	h := newHouse(t)
	h.must(t, "PUT", "/v1/secret/data/r/x", `{"data":{"k":"canary"}}`)
	token := h.token(t, `
		path "secret/*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
		path "secret/data/r/x" { capabilities = ["deny"] }
		path "secret/metadata/r/*" { capabilities = ["deny"] }
		path "secret/subkeys/r/*" { capabilities = ["deny"] }
		path "secret/+/r/x" { capabilities = ["deny"] }`)
	before := h.store.Contents()
	for _, verb := range verbs {
		for _, path := range []string{
			"secret/data/r/x", "secret/data/r/%78", "secret/data%2Fr%2Fx", "secret%2Fdata%2Fr%2Fx", "secret/%64ata/r/x",
			"secret/data/r/x?version=1", "secret/data/r%2fx?list=false", "secret/metadata/r/x", "secret/metadata/r/",
			"secret/metadata/%72/", "secret/subkeys/r/x", "secret/delete/r/x", "secret/destroy/r/x", "secret/undelete/r/x",
		} {
			w := h.send(t, verb, "/v1/"+path, token, `{"data":{"k":"changed"},"versions":[1]}`)
			if w.Code != http.StatusForbidden && w.Code != http.StatusMethodNotAllowed && w.Code != http.StatusBadRequest {
				t.Errorf("%s %s: %d %s", verb, path, w.Code, w.Body)
			}
		}
		// In another case it is another secret, which is not there, or no mount at all.
		for _, path := range []string{
			"secret/data/r/X", "secret/data/R/x", "secret/data/r/%58", "SECRET/data/r/x", "Secret/data/r/x", "secret/DATA/r/x",
			"secret/data/r/x%20", "secret/data/r/%c5%bf", "secret/data/r/x%e2%80%8b",
		} {
			if verb != "GET" && verb != "LIST" {
				continue
			}
			if w := h.send(t, verb, "/v1/"+path, token, ""); w.Code < 400 || strings.Contains(w.Body.String(), "canary") {
				t.Errorf("%s %s: %d %s", verb, path, w.Code, w.Body)
			}
		}
	}
	// A list of the folder is denied however it is asked for.
	for _, target := range []string{"LIST secret/metadata/r", "LIST secret/metadata/r/", "LIST secret/metadata/%72",
		"GET secret/metadata/r?list=true", "GET secret/metadata/r/?list=true", "GET secret%2Fmetadata%2Fr?list=1"} {
		verb, path, _ := strings.Cut(target, " ")
		if w := h.send(t, verb, "/v1/"+path, token, ""); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if diff := cmp.Diff(before, h.store.Contents()); diff != "" {
		t.Errorf("the storage changed:\n%s", diff)
	}
}

// TestPolicyNamesHaveOneForm writes policies under names that could be taken for another's.
func TestPolicyNamesHaveOneForm(t *testing.T) {
	h := newHouse(t)
	const grant = `{"policy":"path \"secret/*\" { capabilities = [\"read\"] }"}`
	for _, name := range []string{
		"root", "ROOT", "Root", "response-wrapping", "../acl/default", "a%2f..%2fdefault", "%2e%2e", "default%00", "default%0a",
	} {
		for _, folder := range []string{"policies/acl/", "policy/"} {
			w := h.send(t, "PUT", "/v1/sys/"+folder+name, h.root, grant)
			if w.Code < 300 && name != "a%2f..%2fdefault" {
				t.Errorf("%s%s was written", folder, name)
			}
		}
	}
	h.must(t, "PUT", "/v1/sys/policies/acl/Team-A", grant)
	h.must(t, "PUT", "/v1/sys/policies/acl/team-a", `{"policy":"path \"x\" {}"}`)
	var list struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	if err := json.Unmarshal(h.must(t, "LIST", "/v1/sys/policies/acl", "").Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"default", "team-a", "root"}, list.Data.Keys); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	if text := h.must(t, "GET", "/v1/sys/policies/acl/TEAM-A", "").Body.String(); !strings.Contains(text, `path \"x\" {}`) {
		t.Errorf("one name has two policies: %s", text)
	}
	if text := h.must(t, "GET", "/v1/sys/policies/acl/default", "").Body.String(); strings.Contains(text, "secret/") {
		t.Errorf("default was overwritten: %s", text)
	}
}

// TestQueryIsNoPartOfAWrite gives a write parameters in its address. Whoever makes somebody's browser post a form may
// choose that, and a form of an OpenID provider that comes with the login's client_nonce is taken for the client's own.
func TestQueryIsNoPartOfAWrite(t *testing.T) {
	h := newHouse(t)
	for contentType, body := range map[string]string{
		"application/json": `{"x":"y"}`, "application/x-www-form-urlencoded": "x=y", "": "",
	} {
		for _, method := range []string{"PUT", "POST"} {
			r := httptest.NewRequest(method, "/v1/sys/policies/acl/q?policy=path+%22x%22+%7B%7D", strings.NewReader(body))
			r.Header.Set("Content-Type", contentType)
			r.Header.Set("X-Vault-Token", h.root)
			w := httptest.NewRecorder()
			h.handler.ServeHTTP(w, r)
			if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "policy") {
				t.Errorf("%s of %q: %d %s", method, contentType, w.Code, w.Body)
			}
		}
	}
}
