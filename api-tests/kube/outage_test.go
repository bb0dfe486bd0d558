package kube

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"coffer/api-tests/cluster"
	"coffer/api-tests/servers"
)

// TestSealed seals the server while the operator syncs from it: there are errors, the Kubernetes Secret stays as it
// was, and after the unsealing all goes on.
func TestSealed(t *testing.T) {
	s := newStage(t)
	s.put("db", map[string]any{"password": "before"})
	s.apply(externalSecret("db", `
  dataFrom: [{extract: {key: db}}]
`))
	s.wantSecret("db", map[string]string{"password": "before"})
	s.do("sys/seal", nil)
	s.wantReady("secretstores/store", "False", "unable to create client")
	s.wantEvent("Code: 503. Errors:\\n\\n* Vault is sealed")
	s.wantSecret("db", map[string]string{"password": "before"})
	if err := s.server.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.put("db", map[string]any{"password": "after"})
	s.wantReady("secretstores/store", "True", "store validated")
	s.wantSecret("db", map[string]string{"password": "after"})
}

// TestCrash kills the server while the operator pushes and syncs. What was acknowledged is there after the restart.
func TestCrash(t *testing.T) {
	s := newStage(t)
	s.put("db", map[string]any{"password": "before"})
	s.apply(pushed)
	s.apply(pushSecret("whole", "store", `
  selector: {secret: {name: source}}
  data: [{match: {remoteRef: {remoteKey: pushed/whole}}}]
`))
	s.apply(externalSecret("db", `
  dataFrom: [{extract: {key: db}}]
`))
	s.wantSecret("db", map[string]string{"password": "before"})
	s.wantStored("pushed/whole", map[string]any{"user": "ann", "password": "first"})
	if err := s.server.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wantStored("pushed/whole", map[string]any{"user": "ann", "password": "first"})
	s.put("db", map[string]any{"password": "after"})
	s.wantSecret("db", map[string]string{"password": "after"})
	s.apply(pushedAgain)
	s.wantStored("pushed/whole", map[string]any{"user": "ann", "password": "second"})
}

// TestSecondCluster has a second cluster with the same names, at a mount of its own. First its tokens are offered at the
// first cluster's mount, then its API server goes away, then it hangs; the first cluster's mount does not notice.
func TestSecondCluster(t *testing.T) {
	s := newStage(t)
	other := s.otherCluster("other")
	foreign, err := other.Token(t.Context(), s.ns, "app")
	if err != nil {
		t.Fatal(err)
	}
	own := s.token("app")
	s.step("another cluster's token", func(s *stage) {
		s.wantLogin("other", "app", foreign, http.StatusOK, "")
		s.wantLogin("kubernetes", "app", foreign, http.StatusForbidden, "permission denied")
		s.wantLogin("other", "app", own, http.StatusForbidden, "permission denied")
	})
	s.step("API server down", func(s *stage) {
		other.StopAPI()
		s.wantLogin("other", "app", foreign, http.StatusForbidden, "permission denied")
		s.wantLogin("kubernetes", "app", own, http.StatusOK, "")
		if err := other.StartAPI(s.Context()); err != nil {
			s.Fatal(err)
		}
		s.wantLogin("other", "app", foreign, http.StatusOK, "")
	})
	if s.server.Kind == servers.Vault {
		t.Log("a login that waits for a hanging API server takes the stock Vault 90 seconds, and ends with a 500")
		return
	}
	s.step("API server hangs", func(s *stage) { s.hang(other, foreign, own) })
}

// hang lets the API server of other take connections and answer none. A crowd of logins that wait for it ends in
// bounded time, and meanwhile logins at the first cluster are as quick as ever.
func (s *stage) hang(other *cluster.Cluster, foreign, own string) {
	const crowd, bound, quick = 60, 45 * time.Second, 5 * time.Second
	if err := other.SuspendAPI(); err != nil {
		s.Fatal(err)
	}
	begin := time.Now()
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			a, err := s.login("other", "app", foreign)
			if err != nil || a.Status != http.StatusForbidden {
				s.Errorf("a login while the API server hangs: status %d, %v", a.Status, err)
			}
		})
	}
	for range 10 {
		before := time.Now()
		s.wantLogin("kubernetes", "app", own, http.StatusOK, "")
		if took := time.Since(before); took > quick {
			s.Errorf("a login at the other mount took %v", took)
		}
	}
	wg.Wait()
	if took := time.Since(begin); took > bound {
		s.Errorf("%d logins took %v to fail, want at most %v", crowd, took, bound)
	}
	if err := other.ResumeAPI(); err != nil {
		s.Fatal(err)
	}
	s.eventually("login after the API server goes on", func(context.Context) error {
		a, err := s.login("other", "app", foreign)
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("status %d", a.Status)
		}
		return err
	})
}

// otherCluster starts a second cluster with the same namespace and ServiceAccount, and a mount auth/name for it with
// the same role.
func (s *stage) otherCluster(name string) *cluster.Cluster {
	s.Helper()
	other, err := cluster.Start(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := other.Close(); err != nil {
			s.Error(err)
		}
	})
	reviewer, err := makeReviewer(s.Context(), other)
	if err != nil {
		s.Fatal(err)
	}
	if err := other.Apply(s.Context(), "", `
apiVersion: v1
kind: Namespace
metadata: {name: `+s.ns+`}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: app, namespace: `+s.ns+`}
`); err != nil {
		s.Fatal(err)
	}
	s.do("sys/auth/"+name, map[string]any{"type": "kubernetes"})
	s.configure(name, other, reviewer)
	s.do("auth/"+name+"/role/app", map[string]any{
		"bound_service_account_names": "app", "bound_service_account_namespaces": s.ns, "token_policies": "app",
	})
	return other
}
