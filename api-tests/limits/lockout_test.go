package limits

import (
	"net/http"
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
		user_lockout "all" { lockout_threshold = "9" }
		user_lockout "userpass" {
			lockout_threshold = "2"
			lockout_duration  = "10m"
		}`
	for name, tc := range map[string]struct {
		opts          servers.Options
		want, restart []int
	}{
		"by default":    {servers.Options{}, []int{400, 400, 400, 200}, []int{400, 400, 400, 200}},
		"by its stanza": {servers.Options{Config: stanzas}, []int{400, 400, 403, 403}, []int{403, 403, 403, 403}},
		"off by its environment": {servers.Options{Config: stanzas, Env: []string{"VAULT_DISABLE_USER_LOCKOUT=true"}},
			[]int{400, 400, 400, 200}, []int{400, 400, 400, 200}},
	} {
		t.Run(name, func(t *testing.T) {
			s := servers.ReadyForTest(t, kind(), tc.opts)
			for _, r := range []struct {
				path string
				body map[string]any
			}{
				{"sys/auth/userpass", map[string]any{"type": "userpass"}},
				{"auth/userpass/users/me", map[string]any{"password": "right"}},
			} {
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
