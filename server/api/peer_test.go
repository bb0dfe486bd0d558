package api_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coffer/server/api"
)

// TestWhoIsAtTheMachineOverASocket begins generate-root over a Unix socket: its own user may, a proxy may not, and
// whoever the kernel did not name may not either.
func TestWhoIsAtTheMachineOverASocket(t *testing.T) {
	h := newHouse(t)
	handler := func(access api.Access, f *api.Forwarded) http.Handler {
		return api.New(api.Config{Core: h.core, Logger: slog.New(slog.DiscardHandler), MaxRequestSize: 32 << 20,
			MaxRequestDuration: time.Minute, JSON: api.DefaultJSONLimits(), Bodies: api.NewBodyGate(64 << 20),
			GenerateRoot: access, Rekey: access, Forwarded: f})
	}
	for _, test := range []struct {
		name, header, value, host string
		anonymous                 bool
		access                    api.Access
		may                       bool
	}{
		{name: "the server's own user", may: true},
		{name: "as the command line sends it", header: "X-Vault-Request", value: "true", may: true},
		{name: "somebody whom nobody knows", anonymous: true},
		{name: "a proxy with X-Forwarded-For", header: "X-Forwarded-For", value: "127.0.0.1"},
		{name: "a proxy with X-Real-IP", header: "X-Real-IP", value: "127.0.0.1"},
		{name: "a proxy that keeps the name", host: "vault.example.org"},
		{name: "a browser", header: "Sec-Fetch-Site", value: "none"},
		{name: "nobody may", access: api.Nobody},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			server := httptest.NewUnstartedServer(handler(test.access, nil))
			listener, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			_ = server.Listener.Close()
			server.Listener = listener
			if !test.anonymous {
				server.Config.ConnContext = api.ConnContext
			}
			server.Start()
			defer server.Close()
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "unix", path)
				}}}
			host := "localhost"
			if test.host != "" {
				host = test.host
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+host+"/v1/sys/generate-root/attempt",
				strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("User-Agent", "test")
			if test.header != "" {
				r.Header.Set(test.header, test.value)
			}
			answer, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			if may := answer.StatusCode == http.StatusOK; may != test.may || err != nil {
				t.Errorf("answer %d, may %v, want %v\n%s", answer.StatusCode, may, test.may, text)
			}
			r, err = http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://localhost/v1/sys/generate-root/attempt", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Vault-Token", h.root)
			if answer, err = client.Do(r); err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
		})
	}
}

// TestForwardedOverASocket believes who opens the socket only where the listener says so.
func TestForwardedOverASocket(t *testing.T) {
	for _, socket := range []bool{true, false} {
		h := newHouse(t)
		handler := api.New(api.Config{Core: h.core, Logger: slog.New(slog.DiscardHandler), MaxRequestSize: 32 << 20,
			MaxRequestDuration: time.Minute, JSON: api.DefaultJSONLimits(), Bodies: api.NewBodyGate(64 << 20),
			Forwarded: &api.Forwarded{Socket: socket, RejectNotAuthorized: true}})
		r := httptest.NewRequest(http.MethodGet, "/v1/sys/health", nil)
		r.RemoteAddr = "@"
		r.Header.Set("X-Forwarded-For", "192.0.2.7")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if believed := w.Code == http.StatusOK; believed != socket {
			t.Errorf("socket %v: %d", socket, w.Code)
		}
		if socket && r.RemoteAddr != "192.0.2.7:0" {
			t.Errorf("address %q", r.RemoteAddr)
		}
	}
}
