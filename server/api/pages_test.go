package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"coffer/server/core"
)

// With `ui = true` paths outside the API lead to a page that is there.
func TestPagesOutsideTheAPI(t *testing.T) {
	for _, tt := range []struct {
		ui             bool
		path, location string
		status         int
	}{
		{true, "/", "/ui/", http.StatusTemporaryRedirect},
		{true, "/favicon.ico", "/ui/", http.StatusTemporaryRedirect},
		{true, "/ui", "/ui/", http.StatusTemporaryRedirect},
		{true, "/ui/", "", http.StatusOK},
		{true, "/ui/vault/auth", "", http.StatusOK},
		{false, "/", "", http.StatusNotFound},
		{false, "/ui/", "", http.StatusNotFound},
	} {
		w := httptest.NewRecorder()
		New(Config{UI: tt.ui}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, tt.path, nil))
		if w.Code != tt.status || w.Header().Get("Location") != tt.location {
			t.Errorf("%s with ui = %v: %d to %q", tt.path, tt.ui, w.Code, w.Header().Get("Location"))
		}
		if w.Code == http.StatusOK && (!strings.Contains(w.Body.String(), "no web interface") ||
			w.Header().Get("Content-Security-Policy") != pagePolicy) {
			t.Errorf("%s: %v %s", tt.path, w.Header(), w.Body)
		}
	}
}

// A code that is no status of HTTP is refused for every state; Vault ends the connection when it comes to use one.
func TestHealthCodes(t *testing.T) {
	for query, want := range map[string]int{
		"": 200, "activecode=299": 299, "activecode=204&standbycode=429": 204, "sealedcode=500": 200, "standbyok": 200,
		"standbyok=false&perfstandbyok=1": 200, "other=x": 200,
		"activecode": 0, "activecode=": 0, "standbycode=x": 0, "removedcode=": 0, "haunhealthycode=1e3": 0,
		"activecode=0": 0, "uninitcode=99": 0, "sealedcode=1000": 0, "drsecondarycode=-1": 0, "standbyok=200": 0, "perfstandbyok=x": 0,
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := healthStatus(core.Health{Initialized: true}, values)
		if ok != (want != 0) || ok && got != want {
			t.Errorf("%q: %d, %v, want %d", query, got, ok, want)
		}
	}
}
