package api_test

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"coffer/engines"
	"coffer/server/api"
	"coffer/server/core"
	"coffer/server/monitor"
	"coffer/storage/memory"
)

// logged is a house whose log can be followed over pipes, with the limits of a real listener.
type logged struct {
	*house
	*pipes

	logger *slog.Logger
	lines  *monitor.Hub
}

func newLogged(t *testing.T) *logged {
	t.Helper()
	render := func(out *bytes.Buffer) slog.Handler { return slog.NewTextHandler(out, nil) }
	lines := monitor.New(map[string]monitor.Renderer{monitor.Standard: render, monitor.JSON: render})
	l := &logged{house: &house{}, pipes: &pipes{conns: make(chan net.Conn), done: make(chan struct{})},
		logger: slog.New(lines.Handler(slog.DiscardHandler)), lines: lines}
	l.core = core.New(core.Config{
		Storage: memory.New(), Logger: l.logger, Now: time.Now,
		Settings: core.Settings{DefaultLeaseTTL: time.Hour, MaxLeaseTTL: time.Hour, StorageType: "inmem",
			LogLevel: new(slog.LevelVar), LogLines: lines},
		Build: core.Build{Version: "1.21.2", Date: "2026-01-01T00:00:00Z"},
	})
	_, root, err := l.core.InitDev(t.Context(), engines.Token{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	l.root = root.Reveal()
	l.handler = api.New(api.Config{
		Core: l.core, Logger: l.logger, MaxRequestSize: 1 << 20, MaxRequestDuration: time.Minute,
		JSON: api.DefaultJSONLimits(), Bodies: api.NewBodyGate(64 << 20),
	})
	s := &http.Server{Handler: l.handler, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute}
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-stopped
		if err := l.core.Seal(); err != nil {
			t.Error(err)
		}
		<-time.After(time.Minute) // for what net/http lets linger of its connections
	})
	return l
}

// follow asks for the log and returns what comes of it, once the answer has begun.
func (l *logged) follow(t *testing.T, token string) (*http.Response, net.Conn) {
	t.Helper()
	c := l.dial()
	t.Cleanup(func() { _ = c.Close() })
	if _, err := fmt.Fprintf(c, "GET /v1/sys/monitor HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\n\r\n", token); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp, c
}

// ends returns how long it takes until the answer ends.
func ends(resp *http.Response) time.Duration {
	begun := time.Now()
	all := bufio.NewScanner(resp.Body)
	for all.Scan() {
	}
	return time.Since(begun)
}

const readsLog = `path "sys/monitor" { capabilities = ["read"] }`

// Lines come while the answer is under way, beyond the times that a request may take.
func TestFollowingTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogged(t)
		resp, c := l.follow(t, l.token(t, readsLog))
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "" {
			t.Fatalf("%d, %v", resp.StatusCode, resp.Header)
		}
		body := bufio.NewReader(resp.Body)
		for _, text := range []string{"first", "second", "third"} {
			<-time.After(45 * time.Second)
			l.logger.Info(text)
			if line, err := body.ReadString('\n'); err != nil || !strings.Contains(line, "msg="+text) {
				t.Fatalf("%s: %q, %v", text, line, err)
			}
		}
		_ = c.Close()
		<-time.After(time.Second)
		w := l.send(t, "GET", "/v1/sys/metrics?format=prometheus", l.root, "")
		if text := w.Body.String(); !strings.Contains(text, "vault_core_handle_request_seconds_sum 0\n") ||
			!strings.Contains(text, "vault_core_in_flight_requests 0\n") {
			t.Errorf("the time of following is measured as a request's: %s", text)
		}
	})
}

// What ends a client's view of the log, and how soon.
func TestWhatEndsFollowingTheLog(t *testing.T) {
	for _, c := range []struct {
		name   string
		params string // of the token
		end    func(t *testing.T, l *logged, token string)
		within time.Duration
	}{
		{"the token's end", `,"ttl":"100s"`, func(*testing.T, *logged, string) {}, 102 * time.Second},
		{"the token's revocation", "", func(t *testing.T, l *logged, token string) {
			l.must(t, "POST", "/v1/auth/token/revoke", `{"token":"`+token+`"}`)
		}, 2 * time.Second},
		{"the loss of the policy", "", func(t *testing.T, l *logged, _ string) {
			l.must(t, "POST", "/v1/sys/policies/acl/log", `{"policy":"path \"x\" { capabilities = [\"read\"] }"}`)
		}, 2 * time.Second},
		{"sealing", "", func(t *testing.T, l *logged, _ string) {
			if err := l.core.Seal(); err != nil {
				t.Error(err)
			}
		}, 0},
		{"stopping", "", func(_ *testing.T, l *logged, _ string) { l.lines.Close() }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLogged(t)
				l.must(t, "POST", "/v1/sys/policies/acl/log", `{"policy":"`+strings.ReplaceAll(readsLog, `"`, `\"`)+`"}`)
				token := l.issue(t, `{"policies":["log"]`+c.params+`}`)
				resp, _ := l.follow(t, token)
				if resp.StatusCode != http.StatusOK {
					t.Fatal(resp.Status)
				}
				c.end(t, l, token)
				if took := ends(resp); took > c.within {
					t.Errorf("ended after %v", took)
				}
			})
		})
	}
}

// A token for one request may be used to follow the log, and is gone afterwards.
func TestFollowingTheLogWithTheLastUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogged(t)
		token := l.issue(t, `{"num_uses":1}`)
		resp, c := l.follow(t, token)
		<-time.After(10 * time.Second)
		l.logger.Info("still there")
		if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || !strings.Contains(line, "still there") {
			t.Errorf("%q, %v", line, err)
		}
		_ = c.Close()
		<-time.After(time.Second)
		if w := l.send(t, "GET", "/v1/auth/token/lookup-self", token, ""); w.Code != http.StatusForbidden {
			t.Errorf("afterwards: %d %s", w.Code, w.Body)
		}
	})
}

// Clients that do not read hold up nobody, and there is a bound to them. One that goes away makes room.
func TestFollowersThatDoNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogged(t)
		var last net.Conn
		for range monitor.MaxFollowers {
			_, last = l.follow(t, l.root)
		}
		begun := time.Now()
		for range 1000 {
			l.logger.Info(strings.Repeat("x", 1<<10))
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("the log waited for %v", took)
		}
		if w := l.send(t, "GET", "/v1/sys/monitor", l.root, ""); w.Code != http.StatusTooManyRequests {
			t.Errorf("one more: %d %s", w.Code, w.Body)
		}
		_ = last.Close()
		<-time.After(time.Second)
		if resp, _ := l.follow(t, l.root); resp.StatusCode != http.StatusOK {
			t.Errorf("one more after one has left: %d", resp.StatusCode)
		}
	})
}
