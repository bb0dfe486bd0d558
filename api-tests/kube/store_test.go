package kube

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"

	"coffer/api-tests/cluster"
	"coffer/api-tests/servers"
)

// TestTokenStore reads with a token that stands in a Secret of the namespace.
func TestTokenStore(t *testing.T) {
	s := newStage(t)
	s.put("db", map[string]any{"password": "by token"})
	a := s.do("auth/token/create", map[string]any{"policies": []string{"app"}, "ttl": "1h"})
	token, _ := a.Auth()["client_token"].(string)
	s.apply(fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: token}
stringData: {token: %q}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: by-token}
spec:
  provider:
    vault:
      server: $SERVER
      path: secret
      version: v2
      auth:
        tokenSecretRef: {name: token, key: token}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db}
spec:
  refreshInterval: 1s
  secretStoreRef: {kind: SecretStore, name: by-token}
  dataFrom: [{extract: {key: db}}]
`, token))
	s.wantReady("secretstores/by-token", "True", "store validated")
	s.wantSecret("db", map[string]string{"password": "by token"})

	// The token is the user's: it outlives the operator's reconciles, and when it is revoked the store says so.
	s.put("db", map[string]any{"password": "still by token"})
	s.wantSecret("db", map[string]string{"password": "still by token"})
	s.do("auth/token/revoke", map[string]any{"token": token})
	s.wantReady("secretstores/by-token", "False", "unable to validate store")
}

// TestAppRoleStore reads with a role id and a secret id.
func TestAppRoleStore(t *testing.T) {
	s := newStage(t)
	s.put("db", map[string]any{"password": "by approle"})
	s.do("sys/auth/approle", map[string]any{"type": "approle"})
	s.do("auth/approle/role/app", map[string]any{"token_policies": "app", "secret_id_ttl": "1h", "token_ttl": "10m"})
	role, err := s.server.Must(s.Context(), http.MethodGet, "auth/approle/role/app/role-id", nil)
	if err != nil {
		t.Fatal(err)
	}
	secret := s.do("auth/approle/role/app/secret-id", nil)
	s.apply(fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: approle}
stringData: {secret-id: %q}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: by-approle}
spec:
  provider:
    vault:
      server: $SERVER
      path: secret
      version: v2
      auth:
        appRole: {path: approle, roleId: %q, secretRef: {name: approle, key: secret-id}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db}
spec:
  refreshInterval: 1s
  secretStoreRef: {kind: SecretStore, name: by-approle}
  dataFrom: [{extract: {key: db}}]
`, secret.Data()["secret_id"], role.Data()["role_id"]))
	s.wantReady("secretstores/by-approle", "True", "store validated")
	s.wantSecret("db", map[string]string{"password": "by approle"})
	s.put("db", map[string]any{"password": "still by approle"})
	s.wantSecret("db", map[string]string{"password": "still by approle"})
	s.do("auth/approle/role/app/secret-id/destroy", map[string]any{"secret_id": secret.Data()["secret_id"]})
	s.wantReady("secretstores/by-approle", "False", "unable to create client")
}

// TestTokenCache has an operator of its own that keeps its token, which the shared one does not: it looks the token up
// for every reconcile, and when it is revoked logs in again.
func TestTokenCache(t *testing.T) {
	s := newStage(t)
	operator, err := cluster.StartOperator(t.Context(), s.cluster,
		"--controller-class=cached", "--namespace="+s.ns, "--experimental-enable-vault-token-cache",
		"--enable-cluster-store-reconciler=false", "--enable-cluster-external-secret-reconciler=false",
		"--enable-cluster-push-secret-reconciler=false")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := operator.Close(); err != nil {
			t.Error(err)
		}
	})
	s.kubectl("delete", "secretstore", "store")
	s.put("db", map[string]any{"password": "first"})
	s.apply(`
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: cached}
spec:
  controller: cached
  provider:
    vault:
      server: $SERVER
      path: secret
      version: v2
      auth:
        kubernetes: {mountPath: kubernetes, role: app, serviceAccountRef: {name: app}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db}
spec:
  refreshInterval: 1s
  secretStoreRef: {kind: SecretStore, name: cached}
  dataFrom: [{extract: {key: db}}]
`)
	s.wantSecret("db", map[string]string{"password": "first"})
	rotate := func(password string) {
		s.put("db", map[string]any{"password": password})
		s.wantSecret("db", map[string]string{"password": password})
	}
	rotate("second")
	before := len(s.accessors()) // Clients that begin at once each log in; the operator keeps one of them and forgets the others.
	for i := range 5 {
		rotate(fmt.Sprint(i))
	}
	old := s.accessors()
	if after := len(old); after != before {
		t.Errorf("there were %d tokens, and five reconciles later %d", before, after)
	}
	s.do("sys/leases/revoke-prefix/auth/kubernetes/login", nil)
	rotate("last")
	s.eventually("the old tokens are gone", func(context.Context) error {
		left := 0
		for _, accessor := range s.accessors() {
			if slices.Contains(old, accessor) {
				left++
			}
		}
		if left != 1 { // The root token's.
			return fmt.Errorf("%d of %d are left", left, len(old))
		}
		return nil
	})
}

// TestTLS reads over TLS from a server whose CA stands in the store, or beside it in the cluster; without the CA the
// operator does not trust it.
func TestTLS(t *testing.T) {
	w := theWorld(t)
	s := stageOn(t, w, servers.Options{TLSCert: w.cluster.ServerCert(), TLSKey: w.cluster.ServerKey()})
	s.furnish()
	s.put("db", map[string]any{"password": "over TLS"})
	ca, err := os.ReadFile(w.cluster.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	s.kubectl("create", "configmap", "ca", "--from-file=ca.crt="+w.cluster.CAFile())
	for name, trust := range map[string]string{
		"inline": "caBundle: " + base64.StdEncoding.EncodeToString(ca),
		"beside": "caProvider: {type: ConfigMap, name: ca, key: ca.crt}",
	} {
		s.apply(`
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: ` + name + `}
spec:
  provider:
    vault:
      server: $SERVER
      ` + trust + `
      path: secret
      version: v2
      auth:
        kubernetes: {mountPath: kubernetes, role: app, serviceAccountRef: {name: app}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: ` + name + `}
spec:
  refreshInterval: 1s
  secretStoreRef: {kind: SecretStore, name: ` + name + `}
  dataFrom: [{extract: {key: db}}]
`)
		s.wantSecret(name, map[string]string{"password": "over TLS"})
	}
	s.wantReady("secretstores/store", "False", "unable to create client")
	s.wantEvent("certificate signed by unknown authority")
}

// TestGenerator makes Secrets from what paths of any engine answer.
func TestGenerator(t *testing.T) {
	s := newStage(t)
	s.put("fixed", map[string]any{"password": "value"})
	s.do("sys/policies/acl/app", map[string]any{"policy": `
		path "auth/token/create" { capabilities = ["update"] }
		path "sys/tools/random/*" { capabilities = ["update"] }
		path "secret/data/fixed" { capabilities = ["read"] }
	`})
	for name, body := range map[string]string{
		"token":  "path: auth/token/create, method: POST, resultType: Auth, parameters: {ttl: 10m}",
		"random": "path: sys/tools/random/16, method: POST, parameters: {format: hex}",
		"read":   "path: secret/data/fixed",
	} {
		s.apply(`
apiVersion: generators.external-secrets.io/v1alpha1
kind: VaultDynamicSecret
metadata: {name: ` + name + `}
spec:
  ` + "{" + body + `,
  provider: {server: $SERVER, auth: {kubernetes: {mountPath: kubernetes, role: app, serviceAccountRef: {name: app}}}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: ` + name + `}
spec:
  refreshInterval: 1h
  dataFrom: [{sourceRef: {generatorRef: {
    apiVersion: generators.external-secrets.io/v1alpha1, kind: VaultDynamicSecret, name: ` + name + `}}}]
`)
	}
	s.wantKey("random", "random_bytes", func(value string) bool { return len(value) == 32 })
	s.wantKey("read", "data", func(value string) bool { return value == `{"password":"value"}` })
	// A token that it made is a child of the operator's, which is revoked with all its children. Batch or orphan tokens
	// live on; this shows that the answer arrives whole.
	s.wantKey("token", "client_token", func(value string) bool { return len(value) > 20 })
	s.wantKey("token", "token_policies", func(value string) bool { return value == `["app","default"]` })
}
