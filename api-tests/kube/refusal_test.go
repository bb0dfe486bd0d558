package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"coffer/api-tests/servers"
)

// TestRefusals asks for logins that must not succeed. The log may say which check failed; the answer says no more than
// Vault's, and the refusals leave no token behind.
func TestRefusals(t *testing.T) {
	s := newStage(t)
	s.apply(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: other}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: gone}
`)
	role := func(name string, fields map[string]any) {
		body := map[string]any{
			"bound_service_account_names": "app", "bound_service_account_namespaces": s.ns, "token_policies": "app",
		}
		for key, value := range fields {
			body[key] = value
		}
		s.do("auth/kubernetes/role/"+name, body)
	}
	role("elsewhere", map[string]any{"bound_service_account_namespaces": "elsewhere"})
	role("coffer", map[string]any{"audience": "coffer"})
	role("gone", map[string]any{"bound_service_account_names": "gone"})
	good, gone := s.token("app"), s.token("gone")
	s.kubectl("delete", "serviceaccount", "gone")
	parts := strings.Split(good, ".")
	other := strings.Split(s.token("other"), ".")

	for _, test := range []struct {
		name, role, jwt string
		status          int
		text            string
	}{
		{"the right one", "app", good, http.StatusOK, ""},
		{"wrong namespace", "elsewhere", good, http.StatusForbidden, "namespace not authorized"},
		{"wrong name", "app", s.token("other"), http.StatusForbidden, "service account name not authorized"},
		{"audience the role does not want", "coffer", good, http.StatusForbidden,
			"invalid audience (aud) claim: audience claim does not match any expected audience"},
		{"audience the role wants", "coffer", s.token("app", "coffer"), http.StatusOK, ""},
		{"one audience of two", "coffer", s.token("app", "vault", "coffer"), http.StatusOK, ""},
		{"any audience", "app", s.token("app", "something"), http.StatusOK, ""},
		{"deleted account", "gone", gone, http.StatusForbidden, "permission denied"},
		{"signature of another token", "app", parts[0] + "." + parts[1] + "." + other[2], http.StatusForbidden,
			"permission denied"},
		{"claims of another token", "app", other[0] + "." + other[1] + "." + parts[2], http.StatusForbidden,
			"service account name not authorized"},
		{"no signature", "app", parts[0] + "." + parts[1] + ".", http.StatusForbidden,
			"invalid algorithm (alg) header parameter: token must be signed"},
		{"alg none", "app", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + ".", http.StatusForbidden,
			"permission denied"},
		{"garbage", "app", "garbage", http.StatusForbidden, "permission denied"},
		{"no token", "app", "", http.StatusBadRequest, "missing jwt"},
		{"unknown role", "nobody", good, http.StatusBadRequest, `invalid role name "nobody"`},
		{"no role", "", good, http.StatusBadRequest, "missing role"},
		{"the right one again", "app", good, http.StatusOK, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inner := *s
			inner.T = t
			inner.wantLogin("kubernetes", test.role, test.jwt, test.status, test.text)
		})
	}
	s.checkLog(good, gone)
	s.kubectl("delete", "secretstore", "store")
	s.wantTokens(1)
}

// TestAccountDeletedLater logs in, deletes the ServiceAccount, and makes it anew: the old token is refused as soon as
// the API server has forgotten that it was good (ten seconds), although there is an account of that name again.
func TestAccountDeletedLater(t *testing.T) {
	s := newStage(t)
	jwt := s.token("app")
	s.wantLogin("kubernetes", "app", jwt, http.StatusOK, "")
	s.kubectl("delete", "serviceaccount", "app")
	s.kubectl("create", "serviceaccount", "app")
	s.eventually("the old token is refused", func(context.Context) error {
		a, err := s.login("kubernetes", "app", jwt)
		if err == nil && a.Status != http.StatusForbidden {
			err = fmt.Errorf("status %d", a.Status)
		}
		return err
	})
	s.wantLogin("kubernetes", "app", jwt, http.StatusForbidden, "permission denied")
	s.wantLogin("kubernetes", "app", s.token("app"), http.StatusOK, "")
}

// TestRefusedStore is how a refusal looks to who made the store.
func TestRefusedStore(t *testing.T) {
	s := newStage(t)
	s.put("db", map[string]any{"password": "value"})
	s.do("auth/kubernetes/role/app", map[string]any{
		"bound_service_account_names": "app", "bound_service_account_namespaces": "elsewhere", "token_policies": "app",
	})
	s.wantReady("secretstores/store", "False", "unable to create client")
	s.wantEvent("Code: 403. Errors:\\n\\n* namespace not authorized")
	s.do("auth/kubernetes/role/app", map[string]any{
		"bound_service_account_names": "app", "bound_service_account_namespaces": s.ns, "token_policies": "nothing",
	})
	s.wantReady("secretstores/store", "True", "store validated")
	s.apply(externalSecret("db", `
  dataFrom: [{extract: {key: db}}]
`))
	s.wantReady("externalsecrets/db", "False", "could not get secret data from provider")
	s.wantNoSecret("db")
}

// TestReviewerWithoutRights refuses every login when the reviewer's account may not ask for TokenReviews.
func TestReviewerWithoutRights(t *testing.T) {
	s := newStage(t)
	s.configure("kubernetes", s.cluster, s.token("app"))
	s.wantLogin("kubernetes", "app", s.token("app"), http.StatusForbidden, "permission denied")
	s.configure("kubernetes", s.cluster, s.reviewer)
	s.wantLogin("kubernetes", "app", s.token("app"), http.StatusOK, "")
}

// TestReviewsItself has no reviewer: each token is reviewed with itself, which works for those accounts that may.
func TestReviewsItself(t *testing.T) {
	s := newStage(t)
	s.apply(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: delegator}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: $NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, name: delegator, namespace: $NS}]
`)
	s.do("auth/kubernetes/config", map[string]any{
		"kubernetes_host": s.cluster.Host(), "kubernetes_ca_cert": s.caOf(s.cluster), "disable_local_ca_jwt": true,
	})
	s.do("auth/kubernetes/role/both", map[string]any{
		"bound_service_account_names": "app,delegator", "bound_service_account_namespaces": "test*", "token_policies": "app",
	})
	s.wantLogin("kubernetes", "both", s.token("delegator"), http.StatusOK, "")
	s.wantLogin("kubernetes", "both", s.token("app"), http.StatusForbidden, "permission denied")
}

// wantLogin logs in at auth/mount. A login that is to succeed ends with the revocation of its token; of one that is to
// fail, text is the whole error or its end.
func (s *stage) wantLogin(mount, role, jwt string, status int, text string) {
	s.Helper()
	a, err := s.login(mount, role, jwt)
	if err != nil {
		s.Fatal(err)
	}
	if a.Status != status {
		s.Fatalf("login as %s at %s: status %d, want %d: %s", role, mount, a.Status, status, a.Raw)
	}
	if status == http.StatusOK {
		token, _ := a.Auth()["client_token"].(string)
		if _, err := s.server.Call(s.Context(), http.MethodPut, "auth/token/revoke-self", token, nil); err != nil {
			s.Error(err)
		}
		return
	}
	texts, _ := a.Body["errors"].([]any)
	if len(texts) != 1 || !strings.HasSuffix(fmt.Sprint(texts[0]), text) {
		s.Errorf("login as %s at %s: errors %q, want %q", role, mount, texts, text)
	}
}

func (s *stage) login(mount, role, jwt string) (servers.Answer, error) {
	return s.server.Call(s.Context(), http.MethodPut, "auth/"+mount+"/login", "", map[string]any{"role": role, "jwt": jwt})
}

// checkLog looks for parts of tokens in the server's log: the claims may not be there either.
func (s *stage) checkLog(tokens ...string) {
	s.Helper()
	log := s.server.LogTail(1 << 20)
	for i, token := range tokens {
		for _, part := range strings.Split(token, ".") {
			if strings.Contains(log, part) {
				s.Errorf("the log holds a part of token %d", i)
			}
		}
	}
	if log == "" {
		s.Error(errors.New("the log is empty"))
	}
}
