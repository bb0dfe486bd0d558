package api_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"coffer/server/api"
)

// TestWhoIsAtTheMachine begins generate-root and rekey without a token, from everywhere. Only who sits at the machine
// may, and it is not enough to claim that.
func TestWhoIsAtTheMachine(t *testing.T) {
	h := newHouse(t)
	handler := func(access api.Access) http.Handler {
		return api.New(api.Config{
			Core: h.core, Logger: slog.New(slog.DiscardHandler), MaxRequestSize: 32 << 20, MaxRequestDuration: time.Minute,
			JSON: api.DefaultJSONLimits(), Bodies: api.NewBodyGate(64 << 20), GenerateRoot: access, Rekey: access,
			Forwarded: &api.Forwarded{Authorized: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		})
	}
	const local, far = "127.0.0.1:1234", "10.0.0.9:1234"
	for _, test := range []struct {
		name, peer, host, header, value, proto string
		access                                 api.Access
		may                                    bool
	}{
		{name: "loopback", peer: local, may: true},
		{name: "loopback of IPv6", peer: "[::1]:1234", host: "[::1]:8200", may: true},
		{name: "loopback mapped", peer: "[::ffff:127.0.0.1]:1234", host: "localhost:8200", may: true},
		{name: "another loopback address", peer: "127.9.9.9:1", host: "LOCALHOST", may: true},
		{name: "with the CLI's header", peer: local, header: "X-Vault-Request", value: "true", may: true},
		{name: "another machine", peer: far},
		{name: "another machine that names loopback", peer: far, header: "X-Forwarded-For", value: "127.0.0.1"},
		{name: "another machine, first hop loopback", peer: far, header: "X-Forwarded-For", value: "127.0.0.1, 127.0.0.1"},
		{name: "not the authorized proxy", peer: "192.0.2.1:1", header: "X-Forwarded-For", value: "127.0.0.1"},
		{name: "proxy with X-Forwarded-For", peer: local, header: "x-forwarded-for", value: "192.0.2.1"},
		{name: "proxy that names loopback", peer: local, header: "X-Forwarded-For", value: "127.0.0.1"},
		{name: "proxy with an empty header", peer: local, header: "X-Forwarded-For", value: ""},
		{name: "proxy with Forwarded", peer: local, header: "Forwarded", value: "for=127.0.0.1"},
		{name: "proxy with X-Real-IP", peer: local, header: "X-Real-IP", value: "127.0.0.1"},
		{name: "proxy with X-Forwarded-Proto", peer: local, header: "X-Forwarded-Proto", value: "https"},
		{name: "proxy with Via", peer: local, header: "Via", value: "1.1 proxy"},
		{name: "proxy of HTTP/1.0", peer: local, proto: "HTTP/1.0"},
		{name: "proxy that keeps the name", peer: local, host: "vault.example.org"},
		{name: "a name made to lead here", peer: local, host: "attacker.example:8200"},
		{name: "a name like an address", peer: local, host: "127.0.0.1.attacker.example"},
		{name: "no name", peer: local, host: "none"},
		{name: "a web page", peer: local, header: "Origin", value: "https://attacker.example"},
		{name: "a web page without an origin", peer: local, header: "Origin", value: "null"},
		{name: "a browser", peer: local, header: "Sec-Fetch-Site", value: "cross-site"},
		{name: "no address", peer: "@"},
		{name: "everybody", peer: far, access: api.Everybody, may: true},
		{name: "everybody, by a proxy", peer: local, header: "Via", value: "1.1 proxy", access: api.Everybody, may: true},
		{name: "nobody", peer: local, access: api.Nobody},
		{name: "nobody, from afar", peer: far, access: api.Nobody},
	} {
		t.Run(test.name, func(t *testing.T) {
			send := func(method, path, body, token string) *httptest.ResponseRecorder {
				r := httptest.NewRequest(method, "http://127.0.0.1:8200/v1/sys/"+path, strings.NewReader(body))
				r.RemoteAddr = test.peer
				switch test.host {
				case "":
				case "none":
					r.Host = ""
				default:
					r.Host = test.host
				}
				if test.header != "" {
					r.Header.Set(test.header, test.value)
				}
				if test.proto != "" {
					r.Proto, r.ProtoMajor, r.ProtoMinor = test.proto, 1, 0
				}
				if token != "" {
					r.Header.Set("X-Vault-Token", token)
				}
				w := httptest.NewRecorder()
				handler(test.access).ServeHTTP(w, r)
				return w
			}
			for _, path := range []string{"generate-root/attempt", "rekey/init"} {
				body := `{"secret_shares":1,"secret_threshold":1}`
				w := send("PUT", path, body, "")
				if may := w.Code == http.StatusOK; may != test.may {
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
				}
				if !test.may && w.Code != http.StatusForbidden {
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
				}
				cancelAll(t, h)
			}
		})
	}
}

// cancelAll ends the attempts with the root token.
func cancelAll(t *testing.T, h *house) {
	t.Helper()
	h.must(t, "DELETE", "/v1/sys/generate-root/attempt", "")
	status := h.must(t, "GET", "/v1/sys/rekey/init", "")
	_, after, _ := strings.Cut(status.Body.String(), `"nonce":"`)
	nonce, _, _ := strings.Cut(after, `"`)
	h.must(t, "DELETE", "/v1/sys/rekey/init", `{"nonce":"`+nonce+`"}`)
}

// TestResetFromAfarIsRefused: only who sits at the machine throws shares away.
func TestResetFromAfarIsRefused(t *testing.T) {
	h := newHouse(t)
	if err := h.core.Seal(); err != nil {
		t.Fatal(err)
	}
	for peer, want := range map[string]int{"127.0.0.1:1": http.StatusOK, "192.0.2.1:1": http.StatusForbidden} {
		r := httptest.NewRequest(http.MethodPut, "http://localhost:8200/v1/sys/unseal", strings.NewReader(`{"reset":true}`))
		r.RemoteAddr = peer
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d %s, want %d", peer, w.Code, w.Body, want)
		}
	}
}
