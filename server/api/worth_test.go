package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

// TestOneRequestTakesWhatItIsWorth sends texts that become six times as long in an answer, to where a token without
// rights gets answers, and counts all that is allocated.
func TestOneRequestTakesWhatItIsWorth(t *testing.T) {
	h := newHouse(t)
	token := h.token(t, `path "sys/wrapping/wrap" { capabilities = ["update"] }
		path "sys/capabilities-self" { capabilities = ["update"] }
		path "auth/token/*" { capabilities = ["update"] }
		path "cubbyhole/*" { capabilities = ["update"] }
		path "secret/data/*" { capabilities = ["create", "update"] }`)
	const count, length = 4, 1_000_000
	texts, named, entries := make([]string, count), map[string]any{}, map[string]any{}
	for i := range texts {
		texts[i] = fmt.Sprint(strings.Repeat("<", length), i)
		named[texts[i]] = 1
		entries[fmt.Sprint(i)] = texts[i]
	}
	for path, tc := range map[string]struct {
		body   map[string]any
		status int
	}{
		"sys/wrapping/wrap":          {entries, http.StatusRequestEntityTooLarge},
		"sys/capabilities-self":      {map[string]any{"paths": texts}, http.StatusBadRequest},
		"auth/token/renew-self":      {named, http.StatusOK},
		"auth/token/lookup":          {map[string]any{"token": texts}, http.StatusBadRequest},
		"auth/token/lookup-accessor": {map[string]any{"accessor": texts[0]}, http.StatusBadRequest},
		"secret/data/a":              {map[string]any{"data": entries, "options": texts}, http.StatusBadRequest},
		"secret/data/b":              {map[string]any{"data": entries}, http.StatusBadRequest},
		"cubbyhole/a":                {entries, http.StatusBadRequest},
	} {
		t.Run(path, func(t *testing.T) {
			body, err := json.Marshal(tc.body)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(body), `\u003c`, "<")
			r := httptest.NewRequest(http.MethodPut, "/v1/"+path, strings.NewReader(text))
			r.Header.Set("X-Vault-Token", token)
			r.Header.Set("X-Vault-Wrap-Ttl", "100")
			w := httptest.NewRecorder()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			h.handler.ServeHTTP(w, r)
			runtime.ReadMemStats(&after)
			if w.Code != tc.status {
				t.Errorf("%d %.200s", w.Code, w.Body)
			}
			if len(w.Body.Bytes()) > 32<<10 {
				t.Errorf("an answer of %d bytes", w.Body.Len())
			}
			if taken := int(after.TotalAlloc - before.TotalAlloc); taken > 4*len(text) {
				t.Errorf("%d bytes were allocated for a body of %d", taken, len(text))
			}
		})
	}
}

// TestLargeAnswersThatAreWelcome holds that the bounds leave what is of use: many paths at one time, and wrapping of what
// can be stored.
func TestLargeAnswersThatAreWelcome(t *testing.T) {
	h := newHouse(t)
	paths := make([]string, 1000)
	for i := range paths {
		paths[i] = fmt.Sprint("secret/data/team/application-", i)
	}
	body, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		t.Fatal(err)
	}
	if w := h.must(t, "PUT", "/v1/sys/capabilities-self", string(body)); strings.Count(w.Body.String(), "application-999") < 1 {
		t.Errorf("%.200s", w.Body)
	}
	text := strings.Repeat("<&", 300_000)
	if w := h.send(t, "PUT", "/v1/sys/capabilities-self", h.root, `{"paths":["`+text[:60_000]+`"]}`); w.Code != http.StatusOK {
		t.Errorf("one long path: %d %.200s", w.Code, w.Body)
	}
	r := httptest.NewRequest(http.MethodPut, "/v1/sys/wrapping/wrap", strings.NewReader(`{"a":"`+text+`"}`))
	r.Header.Set("X-Vault-Token", h.root)
	r.Header.Set("X-Vault-Wrap-Ttl", "100")
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	var wrapped struct {
		Info struct {
			Token string `json:"token"`
		} `json:"wrap_info"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &wrapped); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %.200s, %v", w.Code, w.Body, err)
	}
	var unwrapped struct {
		Data map[string]string `json:"data"`
	}
	w = h.send(t, "PUT", "/v1/sys/wrapping/unwrap", wrapped.Info.Token, "")
	if err := json.Unmarshal(w.Body.Bytes(), &unwrapped); err != nil || unwrapped.Data["a"] != text {
		t.Errorf("%d, %v: %d bytes come out", w.Code, err, len(unwrapped.Data["a"]))
	}
}

// TestLongNumbers sends numbers of many digits, in one chunk and in several, to where an integer is wanted.
func TestLongNumbers(t *testing.T) {
	h := newHouse(t)
	token := h.token(t, `path "secret/metadata/*" { capabilities = ["create", "update"] }`)
	for digits, want := range map[int]int{100: 400, 30_000: 400, 1 << 20: 400, 1<<20 + 1: 500, 20 << 20: 500} {
		text := `{"max_versions":` + strings.Repeat("1", digits) + `}`
		r := httptest.NewRequest(http.MethodPut, "/v1/secret/metadata/a", strings.NewReader(text))
		r.Header.Set("X-Vault-Token", token)
		w := httptest.NewRecorder()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		h.handler.ServeHTTP(w, r)
		runtime.ReadMemStats(&after)
		if w.Code != want || w.Body.Len() > 300 {
			t.Errorf("%d digits: %d %.200s", digits, w.Code, w.Body)
		}
		if taken := int(after.TotalAlloc - before.TotalAlloc); taken > 16*len(text)+1<<20 {
			t.Errorf("%d bytes were allocated for a number of %d digits", taken, digits)
		}
	}
}
