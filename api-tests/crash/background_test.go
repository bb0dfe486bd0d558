package crash

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"coffer/api-tests/servers"
)

// many is how many tokens end at once: enough for several commits.
const many = 1500

// TestKilledWhileMuchEnds kills the server while it revokes many tokens in the background. From the answer on, and after
// the crash, none of them is good for anything; the next start revokes the rest, and what was not meant lives on.
func TestKilledWhileMuchEnds(t *testing.T) {
	s := servers.ReadyForTest(t, servers.Coffer, servers.Options{})
	must(t, s, http.MethodPost, "sys/auth/approle", map[string]any{"type": "approle"})
	must(t, s, http.MethodPost, "auth/approle/role/app", map[string]any{"bind_secret_id": false, "secret_id_bound_cidrs": "127.0.0.0/8"})
	id, _ := must(t, s, http.MethodGet, "auth/approle/role/app/role-id", nil).Data()["role_id"].(string)
	login := func(path string) func() (servers.Answer, error) {
		return func() (servers.Answer, error) {
			return s.Must(t.Context(), http.MethodPost, path, map[string]any{"role_id": id})
		}
	}
	parent, _ := must(t, s, http.MethodPost, "auth/token/create-orphan", nil).Auth()["client_token"].(string)
	child := func() (servers.Answer, error) {
		return s.Call(t.Context(), http.MethodPost, "auth/token/create", parent, map[string]any{"policies": []string{"default"}})
	}
	for _, tt := range []struct {
		name string
		one  func() (servers.Answer, error)
		// end asks for the end of all; without wait its answer is given before they are gone.
		method, path string
		body         map[string]any
		waits        bool
		leases       string
	}{
		{"a prefix", login("auth/approle/login"), http.MethodPut, "sys/leases/revoke-prefix/auth/approle/login",
			map[string]any{"sync": false}, false, "auth/approle/"},
		{"a move", login("auth/approle/login"), http.MethodPost, "sys/remount",
			map[string]any{"from": "auth/approle", "to": "auth/moved"}, false, "auth/approle/"},
		{"a mount", login("auth/moved/login"), http.MethodDelete, "sys/auth/moved", nil, true, "auth/moved/"},
		{"a parent", child, http.MethodPost, "auth/token/revoke", map[string]any{"token": parent}, true, "auth/token/create"},
	} {
		made := fill(t, tt.one)
		answered := make(chan error, 1)
		go func() {
			_, err := s.Must(t.Context(), tt.method, tt.path, tt.body)
			answered <- err
		}()
		if tt.waits {
			awaitRefused(t, s, made[many/2])
		} else if err := <-answered; err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if err := errors.Join(s.Kill(), revive(t.Context(), s)); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		for i := 0; i < many; i += 17 {
			if a, err := s.Call(t.Context(), http.MethodGet, "auth/token/lookup-self", made[i], nil); err != nil || a.Status != http.StatusForbidden {
				t.Fatalf("%s: after the crash token %d is answered with %d %s, %v", tt.name, i, a.Status, a.Raw, err)
			}
		}
		await(t, s, tt.name, "LIST", "sys/leases/lookup/"+tt.leases, http.StatusNotFound)
		if tt.name == "a move" {
			if _, err := login("auth/moved/login")(); err != nil {
				t.Errorf("at its new path: %v", err)
			}
		}
	}
}

// fill makes many tokens.
func fill(t *testing.T, one func() (servers.Answer, error)) []string {
	t.Helper()
	made := make([]string, many)
	var g errgroup.Group
	g.SetLimit(32)
	for i := range made {
		g.Go(func() error {
			a, err := one()
			if made[i], _ = a.Auth()["client_token"].(string); err == nil && made[i] == "" {
				err = fmt.Errorf("%w: no token: %d %s", servers.ErrStatus, a.Status, a.Raw)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return made
}

// awaitRefused waits until a token is refused.
func awaitRefused(t *testing.T, s *servers.Server, token string) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); ; <-time.After(time.Millisecond) {
		a, err := s.Call(t.Context(), http.MethodGet, "auth/token/lookup-self", token, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.Status == http.StatusForbidden {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("a token is still answered with %d", a.Status)
		}
	}
}

// await repeats a request until its status.
func await(t *testing.T, s *servers.Server, what, method, path string, status int) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); ; <-time.After(10 * time.Millisecond) {
		a, err := s.Call(t.Context(), method, path, s.RootToken, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.Status == status {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s: %s %s is still answered with %d", what, method, path, a.Status)
		}
	}
}
