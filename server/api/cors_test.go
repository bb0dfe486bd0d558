package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestOriginsUnderCORS sends requests as pages of several origins do, once `sys/config/cors` knows one of them.
func TestOriginsUnderCORS(t *testing.T) {
	h := newHouse(t)
	h.must(t, "PUT", "/v1/sys/config/cors", `{"enabled":true,"allowed_origins":["https://known.example"]}`)
	for _, tc := range []struct {
		host, origin string
		status       int
		allowed      string // Access-Control-Allow-Origin
	}{
		{"v.example:8200", "", http.StatusOK, ""},
		{"v.example:8200", "https://known.example", http.StatusOK, "https://known.example"},
		// Its own pages, also behind a proxy that takes TLS off.
		{"v.example:8200", "https://v.example:8200", http.StatusOK, ""},
		{"v.example:8200", "http://V.example:8200", http.StatusOK, ""},
		{"[::1]:8200", "http://[::1]:8200", http.StatusOK, ""},
		{"v.example:8200", "null", http.StatusForbidden, ""},
		{"v.example:8200", "https://evil.example", http.StatusForbidden, ""},
		{"v.example:8200", "https://v.example", http.StatusForbidden, ""},
		{"v.example:8200", "https://v.example:8201", http.StatusForbidden, ""},
		{"v.example:8200", "https://v.example:8200.evil.example", http.StatusForbidden, ""},
		{"v.example:8200", "https://user@v.example:8200", http.StatusForbidden, ""},
		{"v.example:8200", "v.example:8200", http.StatusForbidden, ""},
		{"v.example:8200", "file://v.example:8200", http.StatusForbidden, ""},
		{"", "https://", http.StatusForbidden, ""},
		{"null", "null", http.StatusForbidden, ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "/v1/sys/seal-status", nil)
		r.Host = tc.host
		if tc.origin != "" {
			r.Header.Set("Origin", tc.origin)
		}
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, r)
		if got := w.Header().Get("Access-Control-Allow-Origin"); w.Code != tc.status || got != tc.allowed {
			t.Errorf("host %q, origin %q: %d, allows %q; want %d, %q", tc.host, tc.origin, w.Code, got, tc.status, tc.allowed)
		}
	}
}
