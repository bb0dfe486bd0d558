package main

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"coffer/server/config"
	"coffer/server/loglevel"
)

func TestHTTPLevels(t *testing.T) {
	for line, want := range map[string]string{
		"http: TLS handshake error from 192.0.2.1:4711: EOF":                                                   "[DEBUG]",
		"http: TLS handshake error from 192.0.2.1:4711: read tcp 1.2.3.4:1->5.6.7.8:2: i/o timeout":            "[DEBUG]",
		"http: TLS handshake error from [::1]:4711: read tcp [::1]:1->[::1]:2: read: connection reset by peer": "[DEBUG]",
		"http: TLS handshake error from 192.0.2.1:4711: remote error: tls: unknown certificate authority":      "[INFO]",
		"http: TLS handshake error from 192.0.2.1:4711: client sent an HTTP request to an HTTPS server":        "[INFO]",
		"http: panic serving 192.0.2.1:4711: oh\ngoroutine 1":                                                  "[ERROR]",
		"http2: server: error reading preface from client 192.0.2.1:4711: EOF":                                 "[DEBUG]",
		"http: superfluous response.WriteHeader call":                                                          "[WARN]",
		"something new": "[INFO]",
	} {
		var out bytes.Buffer
		log, err := newLogging(config.Log{Level: loglevel.Trace, Format: config.LogText}, &out)
		if err != nil {
			t.Fatal(err)
		}
		newHTTPLog(log.Logger).Print(line)
		if !strings.Contains(out.String(), want) || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%q is logged as\n%s", line, &out)
		}
	}
}

// A server that takes no connections says so as an error, with what to do, and not each second.
func TestAcceptErrors(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogging(config.Log{Level: slog.LevelInfo, Format: config.LogText}, &out)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	h := &httpLog{log: log.Logger, now: func() time.Time { return now }}
	const line = "http: Accept error: accept tcp 127.0.0.1:8200: accept4: too many open files; retrying in 1s\n"
	for range 25 {
		if _, err := h.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	text := out.String()
	if strings.Count(text, "[ERROR] no connection can be taken") != 3 || strings.Count(text, "lines_left_out=9") != 2 ||
		!strings.Contains(text, "LimitNOFILE=") {
		t.Errorf("log:\n%s", text)
	}
}

// A probe that opens a connection and closes it leaves no line at info.
func TestProbesAreQuiet(t *testing.T) {
	folder := t.TempDir()
	cert, key := certificateFor(t, folder, 1)
	r := run(t, &fakeService{}, nil, "server", "-log-level=debug", "-config="+writeFile(t, "a.hcl", tlsConfig(cert, key, "")))
	address := r.address(t)
	for range 3 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	if body, err := get(client, "https://"+address); body != "hello" {
		t.Fatalf("%q, %v", body, err)
	}
	r.stderr.match(t, `\[DEBUG\] http: .*TLS handshake error`)
	client.CloseIdleConnections()
	stop(t, r)
	for line := range strings.Lines(r.stderr.String()) {
		if strings.Contains(line, "handshake") && !strings.Contains(line, "[DEBUG]") {
			t.Errorf("a probe is logged as %s", line)
		}
	}
}

// A body that stops is a line at debug: anybody can cause it.
func TestBrokenBodiesAreQuiet(t *testing.T) {
	r := runCore(t, nil, "server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token", "-dev-listen-address=127.0.0.1:0",
		"-log-level=debug")
	address := r.address(t)
	r.stdout.match(t, "not for production")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	const head = "PUT /v1/secret/data/x HTTP/1.1\r\nHost: a\r\nX-Vault-Token: root\r\nContent-Length: 1000\r\n\r\n{\"data\":"
	if _, err := conn.Write([]byte(head)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	r.stderr.match(t, `\[DEBUG\] api: the body of a request did not arrive: client=127.0.0.1 method=PUT bytes=8 announced=1000`)
	_ = conn.Close()
	stop(t, r)
	for line := range strings.Lines(r.stderr.String()) {
		if strings.Contains(line, "[ERROR]") || strings.Contains(line, "[WARN]") {
			t.Error(line)
		}
	}
}
