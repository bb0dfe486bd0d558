// Package limits holds a running server against what it must endure and what it must never do: large bodies, stalled
// connections, secrets in its log, a second server on its data, and the signals it is managed with.
package limits

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

var against = flag.String("against", "coffer", "the `server` under test: coffer or vault")

func kind() servers.Kind { return servers.Kind(*against) }

// readWithin is how long a read may take while the server is under attack.
const readWithin = 2 * time.Second

// serverWithSecret is an unsealed server with one KV version 2 secret, secret/app.
func serverWithSecret(t *testing.T, opts servers.Options) *servers.Server {
	t.Helper()
	s := servers.ReadyForTest(t, kind(), opts)
	ctx := t.Context()
	if _, err := s.Must(ctx, http.MethodPost, "sys/mounts/secret",
		map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Must(ctx, http.MethodPost, "secret/data/app",
		map[string]any{"data": map[string]string{"k": "v"}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// mustRead reads secret/app, in time.
func mustRead(t *testing.T, s *servers.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), readWithin)
	defer cancel()
	begin := time.Now()
	a, err := s.Must(ctx, http.MethodGet, "secret/data/app", nil)
	if err != nil {
		t.Fatalf("a read after %v: %v", time.Since(begin), err)
	}
	if values, _ := a.Data()["data"].(map[string]any); values["k"] != "v" {
		t.Errorf("the read says %s", a.Raw)
	}
}

// Other servers took gigabytes for this: each body read whole, parsed whole, and before the token was looked at.
func TestLargeBodies(t *testing.T) {
	const (
		count = 40
		size  = 31_000_000
		limit = 300 << 20
	)
	for _, body := range servers.Bodies() {
		t.Run(body.Name, func(t *testing.T) {
			s := serverWithSecret(t, servers.Options{})
			statuses, err := s.Flood(t.Context(), "secret/data/large", body, count, size)
			if err != nil {
				t.Fatal(err)
			}
			peak, err := s.PeakRSS()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("peak %d MB, statuses %v", peak>>20, statuses)
			if peak > limit {
				t.Errorf("peak of resident memory: %d MB, want at most %d", peak>>20, limit>>20)
			}
			if statuses[http.StatusForbidden]+statuses[0] > count*3/4 {
				t.Errorf("more than those without a token were turned away: %v", statuses)
			}
			mustRead(t, s)
		})
	}
}

func TestStalledConnections(t *testing.T) {
	const count = 300
	s := serverWithSecret(t, servers.Options{})
	head := "PUT /v1/secret/data/app HTTP/1.1\r\nHost: x\r\n"
	for i := range count {
		c, err := net.Dial("tcp", s.HostPort())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var sent string
		switch i % 5 {
		case 0: // Nothing at all.
		case 1: // Half a header.
			sent = head + "X-Vault-Tok"
		case 2: // A body that never comes, without a token.
			sent = head + "Content-Length: 1000000\r\n\r\n"
		case 3: // A body that stops after a few bytes, with one.
			sent = head + "X-Vault-Token: " + s.RootToken + "\r\nContent-Length: 1000000\r\n\r\n" + `{"data":`
		case 4: // The same in chunks, on a path that needs no token.
			sent = "PUT /v1/sys/unseal HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"key\r\n"
		}
		if _, err := io.WriteString(c, sent); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		mustRead(t, s)
	}
	begin := time.Now()
	if _, err := s.Must(t.Context(), http.MethodPost, "secret/data/other",
		map[string]any{"data": map[string]string{"k": "v"}}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > readWithin {
		t.Errorf("a write took %v", took)
	}
}

func TestSecondServerOnTheSameData(t *testing.T) {
	dir := t.TempDir()
	s := serverWithSecret(t, servers.Options{Dir: dir})
	begin := time.Now()
	second, err := servers.Start(t.Context(), kind(), servers.Options{Dir: dir})
	if err == nil {
		t.Fatalf("a second server runs on the same data: %v", second.Close())
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v to say so", took)
	}
	message := err.Error()
	if !strings.Contains(message, s.DataDir()) || !strings.Contains(message, "another") {
		t.Errorf("the error names the folder and what uses it, but says: %s", message)
	}
	mustRead(t, s)
}

// TestTerminate sends SIGTERM while a request is on its way: it is finished, no other is begun, and the exit
// status is 0.
func TestTerminate(t *testing.T) {
	s := serverWithSecret(t, servers.Options{})
	const body = `{"data":{"k":"v","last":"words"}}`
	c, err := net.Dial("tcp", s.HostPort())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	// The server says "100 Continue" when it is about to read the body, so the request is certainly being served.
	fmt.Fprintf(c, "PUT /v1/secret/data/app HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", s.RootToken, len(body))
	answers := bufio.NewReader(c)
	line, err := answers.ReadString('\n')
	if err != nil || !strings.Contains(line, " 100 ") {
		t.Fatalf("no 100 Continue but %q, %v", line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := s.Signal(sigTerm); err != nil {
		t.Fatal(err)
	}
	awaitThat(t, "new connections are refused", func() bool {
		probe, err := net.Dial("tcp", s.HostPort())
		return err != nil || probe.Close() != nil
	})
	if _, err := io.WriteString(c, body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatalf("the request under way was not finished: %v", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the request under way was answered with %d", resp.StatusCode)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("the exit after SIGTERM: %v", err)
	}
	if err := s.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, err := s.Must(t.Context(), http.MethodGet, "secret/data/app", nil)
	if values, _ := a.Data()["data"].(map[string]any); err != nil || values["last"] != "words" {
		t.Errorf("what was acknowledged while stopping is %s, %v", a.Raw, err)
	}
}

// awaitThat polls until ok.
func awaitThat(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
