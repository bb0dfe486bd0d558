package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// oddNames are names that the storage, or somebody on the way to it, may refuse: white space alone, long, deep, with
// segments of white space.
func oddNames() []string {
	return []string{" ", "\u00a0\u3000", `a\b`, "a/ /b", strings.Repeat("\u00e9", 1<<10), strings.Repeat("a", 5<<10),
		strings.Repeat("a/", 2<<10) + "b"}
}

// TestNoNameIsAnInternalError asks every route, by every verb, for names that nothing can have, in the path and in the
// body: that is the client's error, and is told so.
func TestNoNameIsAnInternalError(t *testing.T) {
	h := newFullHouse(t)
	var body map[string]any
	if err := json.Unmarshal([]byte(eager), &body); err != nil {
		t.Fatal(err)
	}
	if w := h.send(t, "PUT", "/v1/sys/locked-users/x/unlock/%20", h.root, ""); w.Code != http.StatusBadRequest ||
		!strings.Contains(w.Body.String(), "missing alias_identifier") {
		t.Errorf("unlocking a name of a space alone: %d %s", w.Code, w.Body)
	}
	for _, name := range []string{"password", "name", "username", "path", "prefix", "lease_id", "entity_id", "id", "from", "to"} {
		body[name] = "x"
	}
	seen := make(map[string]bool)
	for _, pattern := range h.routes(t) {
		if strings.HasPrefix(pattern, "sys/seal") || strings.HasPrefix(pattern, "sys/pprof/") || // takes 30 seconds
			strings.HasPrefix(pattern, "auth/token/revoke") {
			continue
		}
		for _, name := range oddNames() {
			odd := make(map[string]any, len(body))
			for key, value := range body {
				if _, ok := value.(string); ok {
					value = name
				}
				odd[key] = value
			}
			text, err := json.Marshal(odd)
			if err != nil {
				t.Fatal(err)
			}
			path := (&url.URL{Path: variable.ReplaceAllLiteralString(pattern, name)}).EscapedPath()
			for _, verb := range []string{"GET", "LIST", "PUT", "PATCH", "DELETE"} {
				sent := ""
				if verb[0] == 'P' {
					sent = string(text)
				}
				w := h.send(t, verb, "/v1/"+path, h.root, sent)
				if strings.Contains(w.Body.String(), "internal error, see the server's log") && !seen[verb+pattern] {
					seen[verb+pattern] = true
					t.Errorf("%s %s with the name %.20q: %d", verb, pattern, name, w.Code)
				}
			}
		}
	}
}
