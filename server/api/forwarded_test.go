package api_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"coffer/server/api"
)

// Who is refused for a header that is there or missing: by default a proxy without it and anybody else with it.
func TestWhoseForwardedHeaderIsBelieved(t *testing.T) {
	h := newHouse(t)
	const proxy, other, client = "192.0.2.20:1234", "127.0.0.1:1234", "198.51.100.7"
	usual := api.Forwarded{RejectNotPresent: true, RejectNotAuthorized: true}
	all := api.Forwarded{RejectNotPresent: true, RequireHeader: true, RejectNotAuthorized: true}
	for _, test := range []struct {
		name         string
		settings     api.Forwarded
		peer, header string
		status       int
		address      string
	}{
		{"the proxy, for a client", usual, proxy, client, http.StatusOK, client + ":1234"},
		{"the proxy, for nobody", usual, proxy, "", http.StatusBadRequest, proxy},
		{"somebody else", usual, other, "", http.StatusOK, other},
		{"somebody else with the header", usual, other, client, http.StatusBadRequest, other},
		{"required of all, the proxy for nobody", all, proxy, "", http.StatusBadRequest, proxy},
		{"required of all, somebody else", all, other, "", http.StatusBadRequest, other},
		{"nothing rejected, the proxy for nobody", api.Forwarded{}, proxy, "", http.StatusOK, proxy},
		{"nothing rejected, somebody else", api.Forwarded{}, other, "", http.StatusOK, other},
		{"nothing rejected, somebody else with the header", api.Forwarded{}, other, client, http.StatusOK, other},
	} {
		settings := test.settings
		settings.Authorized = []netip.Prefix{netip.MustParsePrefix("192.0.2.20/32")}
		handler := api.New(api.Config{Core: h.core, Logger: slog.New(slog.DiscardHandler), MaxRequestSize: 32 << 20,
			MaxRequestDuration: time.Minute, JSON: api.DefaultJSONLimits(), Bodies: api.NewBodyGate(64 << 20),
			Forwarded: &settings})
		r := httptest.NewRequest(http.MethodGet, "/v1/sys/health", nil)
		r.RemoteAddr = test.peer
		if test.header != "" {
			r.Header.Set("X-Forwarded-For", test.header)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != test.status || r.RemoteAddr != test.address {
			t.Errorf("%s: %d from %s, want %d from %s", test.name, w.Code, r.RemoteAddr, test.status, test.address)
		}
	}
}
