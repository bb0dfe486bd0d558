package api_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestUnreadAnswersKeepNobodyOut lets many clients send bodies and read nothing of the answers. What the bodies took is
// free again before that: others are served.
func TestUnreadAnswersKeepNobodyOut(t *testing.T) {
	key := strings.Repeat("<", 17_000)
	twice := fmt.Sprintf(`{"%[1]s":1,"%[1]s":1}`, key)
	dense := fmt.Sprintf(`{"%[1]s":[%[2]s1],"%[1]s":1}`, key[:5000], strings.Repeat("1,", 9000))
	for name, tc := range map[string]struct{ path, body string }{
		"a faulty body for an operator":       {"sys/unseal", twice},
		"a faulty body for an engine":         {"secret/data/x", twice},
		"a faulty dense body":                 {"secret/data/x", dense},
		"an operator's answer":                {"sys/unseal", `{"reset":true,"x":"` + key + key[:16_000] + `"}`},
		"a long refusal":                      {strings.Repeat("%3C", 2000), `{"x":"` + key + key[:15_000] + `"}`},
		"a large body that is malformed late": {"secret/data/x", `{"x":"` + strings.Repeat("x", 300_000) + `"` + strings.Repeat(" ", 2_000_000) + "]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p := served(t)
				send := func(path, body string) net.Conn {
					c := p.dial()
					go func() {
						_, _ = fmt.Fprintf(c, "PUT /v1/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Vault-Token: %s\r\nContent-Length: %d\r\n\r\n%s",
							path, h.root, len(body), body)
					}()
					return c
				}
				count := 600
				if len(tc.body) > 1_000_000 {
					count = 12
				}
				for range count {
					c := send(tc.path, tc.body)
					defer func() { _ = c.Close() }()
				}
				synctest.Wait() // the answers wait for their clients
				for _, body := range []string{`{"data":{"a":1}}`, `{"data":{"a":[` + strings.Repeat("1,", 9000) + "1]}}",
					`{"data":{"a":1},"b":"` + strings.Repeat("x", 400_000) + `"}`} {
					c := send("secret/data/y", body)
					defer func() { _ = c.Close() }()
					if status, text, took := answer(c); status != http.StatusOK || took > time.Second {
						t.Errorf("%d bytes beside them: %d after %v, %.100s", len(body), status, took, text)
					}
				}
			})
		})
	}
}

// Frames and settings of HTTP/2 (RFC 9113).
const (
	frameHeaders, frameReset, frameSettings = 1, 3, 4
	flagEndStream, flagEndHeaders           = 1, 4
	initialWindow                           = 4
)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// ask is a GET over HTTP/2 by a client whose windows are shut: no byte of the answer's body may be sent.
func ask(path, token string) []byte {
	text := func(s string) []byte { // HPACK, RFC 7541: a length of less than 127 and the text
		return append([]byte{byte(len(s))}, s...)
	}
	fields := []byte{0x80 | 2, 0x80 | 6, 4} // :method GET, :scheme http, :path
	fields = append(fields, text(path)...)
	fields = append(append(fields, 1), text("127.0.0.1")...) // :authority
	fields = append(append(append(fields, 0), text("x-vault-token")...), text(token)...)
	b := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	b = append(b, frame(frameSettings, 0, 0, []byte{0, initialWindow, 0, 0, 0, 0})...)
	b = append(b, frame(frameSettings, 1, 0, nil)...)
	return append(b, frame(frameHeaders, flagEndStream|flagEndHeaders, 1, fields)...)
}

// untilReset reads frames until the server gives up the stream, and reports how long that took.
func untilReset(c net.Conn) (time.Duration, error) {
	begin := time.Now()
	_ = c.SetReadDeadline(begin.Add(time.Hour))
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(c, head); err != nil {
			return time.Since(begin), err
		}
		n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
			return time.Since(begin), err
		}
		if head[3] == frameReset {
			return time.Since(begin), nil
		}
	}
}

// TestAnswersOverHTTP2EndInTime holds that no answer waits for ever for a client that keeps the window of its stream
// shut.
func TestAnswersOverHTTP2EndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := served2(t)
		for name, n := range map[string]int{"small": 10, "middle": 40_000, "large": 1_000_000} {
			h.must(t, "PUT", "/v1/secret/data/"+name, `{"data":{"a":"`+strings.Repeat("x", n)+`"}}`)
		}
		for _, path := range []string{
			"/v1/sys/health", "/v1/sys/seal-status", "/v1/sys/metrics", "/v1/sys/metrics?format=prometheus", "/v1/sys/mounts",
			"/v1/sys/internal/ui/feature-flags", "/v1/secret/data/small", "/v1/secret/data/middle", "/v1/secret/data/large",
			"/v1/secret/data/none", "/v1/none/x", "/v1/secret//data/a", "/v1/sys", "/none", "/v1/secret/data/a?help=1",
			"/v1/secret/data/small?" + strings.Repeat("&", 101), "/v1/sys/wrapping/lookup",
		} {
			c := p.dial()
			defer func() { _ = c.Close() }()
			go func() { _, _ = c.Write(ask(path, h.root)) }()
			if took, err := untilReset(c); err != nil || took > 30*time.Second {
				t.Errorf("%.60s: the stream ended after %v, %v", path, took, err)
			}
		}
	})
}

// served2 is served for HTTP/2 without TLS.
func served2(t *testing.T) (*house, *pipes) {
	t.Helper()
	h, p := newHouse(t), &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	s := &http.Server{Handler: h.handler, IdleTimeout: time.Minute, Protocols: new(http.Protocols)}
	s.Protocols.SetUnencryptedHTTP2(true)
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = s.Serve(p) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-stopped
		<-time.After(10 * time.Minute) // for what net/http lets linger of its connections
	})
	return h, p
}

// TestQueriesAndHeadersAreBounded asks with as many parameters and headers as may be, and with one more.
func TestQueriesAndHeadersAreBounded(t *testing.T) {
	h := newHouse(t)
	h.must(t, "PUT", "/v1/secret/data/a", `{"data":{"a":1}}`)
	for _, tc := range []struct{ method, path string }{
		{"GET", "/v1/secret/data/a"}, {"LIST", "/v1/secret/metadata/"}, {"GET", "/v1/sys/health"}, {"GET", "/v1/sys/metrics"},
		{"PUT", "/v1/secret/data/a"}, {"GET", "/v1/sys/seal-status"}, {"GET", "/v1/secret//data/a"}, {"DELETE", "/v1/secret/data/b"},
	} {
		usual := h.send(t, tc.method, tc.path+"?a=1", h.root, "").Code
		for query, refused := range map[string]bool{
			strings.Repeat("a=1&", 99) + "b": false, strings.Repeat("a&", 100): true, strings.Repeat("&", 8000): true,
			"a=" + strings.Repeat("x", 8000): false, "a=" + strings.Repeat("x", 9000): true,
		} {
			w := h.send(t, tc.method, tc.path+"?"+query, h.root, "")
			if isRefused := strings.Contains(w.Body.String(), "too many query parameters"); isRefused != refused ||
				refused && w.Code != http.StatusBadRequest || !refused && w.Code != usual {
				t.Errorf("%s %s with %.10s… of %d bytes: %d %.80s", tc.method, tc.path, query, len(query), w.Code, w.Body)
			}
		}
	}
	for count, want := range map[int]int{80: http.StatusOK, 101: http.StatusRequestHeaderFieldsTooLarge} {
		r, err := http.NewRequest(http.MethodGet, "/v1/sys/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range count {
			r.Header.Set(fmt.Sprint("X-", i), "")
		}
		w := &recorder{header: http.Header{}}
		h.handler.ServeHTTP(w, r)
		if w.status != want || want != http.StatusOK && len(r.Header) != 0 {
			t.Errorf("%d headers: %d, %d are kept", count, w.status, len(r.Header))
		}
	}
}

// recorder is what one answer is written to.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header                { return r.header }
func (r *recorder) WriteHeader(status int)             { r.status = status }
func (r *recorder) Write(b []byte) (int, error)        { return r.body.Write(b) }
func (r *recorder) SetWriteDeadline(_ time.Time) error { return nil }
