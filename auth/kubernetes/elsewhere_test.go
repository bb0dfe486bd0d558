package kubernetes

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"coffer/engines"
)

// TestPodsTokenStaysInItsCluster: who may write the configuration cannot have the pod's own token sent to a server of
// his.
func TestPodsTokenStaysInItsCluster(t *testing.T) {
	const podToken = "pod-token"
	a, foreign := newAPI(t), selfSignedPEM(t)
	plain := httptest.NewServer(http.HandlerFunc(a.answer))
	defer plain.Close()
	for name, tc := range map[string]struct {
		podCA  string
		config object
		sent   bool
	}{
		"the cluster's server":          {a.ca(), object{"kubernetes_host": a.URL}, true},
		"with its CA":                   {a.ca(), object{"kubernetes_host": a.URL, "kubernetes_ca_cert": a.ca() + "\n"}, true},
		"with one of the cluster's CAs": {a.ca() + foreign, object{"kubernetes_host": a.URL, "kubernetes_ca_cert": a.ca()}, true},
		"another server":                {foreign, object{"kubernetes_host": a.URL}, false},
		"with another CA":               {foreign, object{"kubernetes_host": a.URL, "kubernetes_ca_cert": a.ca()}, false},
		"with another CA among CAs":     {foreign, object{"kubernetes_host": a.URL, "kubernetes_ca_cert": foreign + a.ca()}, false},
		"without TLS":                   {a.ca(), object{"kubernetes_host": plain.URL}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t)
			m.secrets = append(m.secrets, podToken)
			for file, text := range map[string]string{"token": podToken, "ca.crt": tc.podCA} {
				if err := os.WriteFile(filepath.Join(m.pod, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			m.must(t, "config", tc.config)
			m.must(t, "role/app", object{"bound_service_account_names": "eso", "bound_service_account_namespaces": "prod"})
			a.bearers = nil
			m.login(t, "app", accepted(t, a))
			if sent := slices.Contains(a.bearers, "Bearer "+podToken); sent != tc.sent {
				t.Errorf("the pod's token was sent: %v, want %v\n%s", sent, tc.sent, m.logs)
			}
		})
	}
}

// TestReviewersTokenIsForOneConfiguration: a configuration is written as a whole, so that a reviewer's token that is not
// sent along is gone.
func TestReviewersTokenIsForOneConfiguration(t *testing.T) {
	one, other := newAPI(t), newAPI(t)
	m := newMount(t)
	m.must(t, "config", object{"kubernetes_host": one.URL, "kubernetes_ca_cert": one.ca(), "disable_local_ca_jwt": true,
		"token_reviewer_jwt": reviewer})
	m.must(t, "role/app", object{"bound_service_account_names": "eso", "bound_service_account_namespaces": "prod"})
	m.must(t, "config", object{"kubernetes_host": other.URL, "kubernetes_ca_cert": other.ca(), "disable_local_ca_jwt": true})
	m.login(t, "app", accepted(t, other))
	if len(other.bearers) == 0 || slices.Contains(other.bearers, "Bearer "+reviewer) {
		t.Errorf("the other server was asked as %q", other.bearers)
	}
	if got := m.do(t, engines.Read, "config", nil); !strings.Contains(got, `"token_reviewer_jwt_set":false`) {
		t.Errorf("config: %s", got)
	}
}
