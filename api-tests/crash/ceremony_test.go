package crash

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

// TestLostKeys kills the server while the keys of a new one, and then those of a rekey, are on their way to a client
// that never reads them.
func TestLostKeys(t *testing.T) {
	ctx := t.Context()
	s := servers.ForTest(t, servers.Coffer, servers.Options{})
	ask := func(method, path, token string, body any) servers.Answer {
		t.Helper()
		answer, err := s.Call(ctx, method, path, token, body)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	until := func(what string, reached func() bool) {
		t.Helper()
		for limit := time.Now().Add(20 * time.Second); !reached(); <-time.After(10 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("never: %s", what)
			}
		}
	}

	send(t, s, "/v1/sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	until("initialized", func() bool { return ask(http.MethodGet, "sys/init", "", nil).Body["initialized"] == true })
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Launch(ctx); err != nil {
		t.Fatal(err)
	}
	again := map[string]any{"secret_shares": 1, "secret_threshold": 1, "again": true}
	var lost struct {
		Keys      []string
		RootToken string `json:"root_token"`
	}
	if answer := ask(http.MethodPut, "sys/init", "", again); json.Unmarshal(answer.Raw, &lost) != nil || len(lost.Keys) != 1 {
		t.Fatalf("init, asked again: %d %s", answer.Status, answer.Raw)
	}
	if err := s.Init(ctx, 1, 1); err == nil {
		t.Fatal("without the parameter, after an answer that was read, there is another one")
	}
	s.Adopt(lost.Keys, lost.RootToken, 1)
	if err := s.Unseal(ctx); err != nil {
		t.Fatal(err)
	}
	if answer := ask(http.MethodPut, "sys/init", "", again); answer.Status != http.StatusBadRequest {
		t.Errorf("after the first unsealing: %d %s", answer.Status, answer.Raw)
	}

	started, err := s.Must(ctx, http.MethodPut, "sys/rekey/init", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	if err != nil {
		t.Fatal(err)
	}
	send(t, s, "/v1/sys/rekey/update", map[string]any{"nonce": started.Body["nonce"], "key": s.Keys[0]})
	until("rekeyed", func() bool {
		return ask(http.MethodGet, "sys/rekey/former", s.RootToken, nil).Body["former_shares"] == true
	})
	if err := s.Crash(ctx); err != nil {
		t.Fatalf("the old key after the crash: %v", err)
	}
	if status := ask(http.MethodGet, "sys/seal-status", "", nil); status.Body["former_shares"] != true {
		t.Errorf("seal-status: %s", status.Raw)
	}
	if ended := ask(http.MethodDelete, "sys/rekey/former", s.RootToken, nil); ended.Status != http.StatusNoContent {
		t.Errorf("%d %s", ended.Status, ended.Raw)
	}
	if status := ask(http.MethodGet, "sys/seal-status", "", nil); status.Body["former_shares"] != nil {
		t.Errorf("seal-status: %s", status.Raw)
	}
}

// send sends a request whose answer nobody reads.
func send(t *testing.T, s *servers.Server, path string, body any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.HostPort())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s",
		path, s.HostPort(), len(text), text); err != nil {
		t.Fatal(err)
	}
}
