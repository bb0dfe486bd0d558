package limits

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/api-tests/servers"
)

// guess logs in three times with a wrong password and then with the right one, and returns the statuses.
func guess(t *testing.T, s *servers.Server) (statuses []int) {
	t.Helper()
	for _, password := range []string{"wrong", "wrong", "wrong", "right"} {
		a, err := s.Call(t.Context(), http.MethodPost, "auth/userpass/login/me", "", map[string]any{"password": password})
		if err != nil {
			t.Fatal(err)
		}
		statuses = append(statuses, a.Status)
	}
	return statuses
}

func TestLockoutFollowsTheConfiguration(t *testing.T) {
	stanzas := `
		user_lockout "all" {
			lockout_threshold = "9"
		}
		user_lockout "userpass" {
			lockout_threshold = "2"
			lockout_duration  = "10m"
		}`
	for name, tc := range map[string]struct {
		opts          servers.Options
		want, restart []int
		tuned         any
	}{
		"by default":    {servers.Options{}, []int{400, 400, 400, 200}, []int{400, 400, 400, 200}, nil},
		"by its stanza": {servers.Options{Config: stanzas}, []int{400, 400, 403, 403}, []int{403, 403, 403, 403}, nil},
		"off by its tuning": {servers.Options{Config: stanzas}, []int{400, 400, 400, 200}, []int{400, 400, 400, 200},
			map[string]any{"lockout_disable": true}},
		"off by its environment": {servers.Options{Config: stanzas, Env: []string{"VAULT_DISABLE_USER_LOCKOUT=true"}},
			[]int{400, 400, 400, 200}, []int{400, 400, 400, 200}, nil},
		"on by its environment": {servers.Options{Config: strings.ReplaceAll(stanzas, "lockout_threshold", "disable_lockout = true\nlockout_threshold"),
			Env: []string{"VAULT_DISABLE_USER_LOCKOUT=false"}}, []int{400, 400, 403, 403}, []int{403, 403, 403, 403},
			map[string]any{"lockout_disable": true}},
		"off for all": {servers.Options{Config: `user_lockout "all" {
			disable_lockout = true
			lockout_threshold = "2"
		}`}, []int{400, 400, 400, 200}, []int{400, 400, 400, 200}, nil},
		"off for all but its own": {servers.Options{Config: `user_lockout "all" {
			disable_lockout = true
		}
		user_lockout "userpass" {
			disable_lockout = false
			lockout_threshold = "2"
		}`}, []int{400, 400, 403, 403}, []int{403, 403, 403, 403}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := servers.ReadyForTest(t, kind(), tc.opts)
			for _, r := range []struct {
				path string
				body map[string]any
			}{
				{"sys/auth/userpass", map[string]any{"type": "userpass"}},
				{"auth/userpass/users/me", map[string]any{"password": "right"}},
				{"sys/auth/userpass/tune", map[string]any{"user_lockout_config": tc.tuned}},
			} {
				if r.path == "sys/auth/userpass/tune" && tc.tuned == nil {
					continue
				}
				if _, err := s.Must(t.Context(), http.MethodPost, r.path, r.body); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tc.want, guess(t, s)); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
			if err := s.Crash(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.restart, guess(t, s)); diff != "" {
				t.Errorf("statuses after a crash (-want +got):\n%s", diff)
			}
		})
	}
}
