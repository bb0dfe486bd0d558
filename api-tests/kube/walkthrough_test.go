package kube

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWalkthrough goes the way of a new user from an empty server to a Kubernetes Secret, with HashiCorp's vault and
// with kubectl. A step that fails ends the test: the next ones stand on it.
func TestWalkthrough(t *testing.T) {
	s := bareStage(t)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	copyFile(t, s.cluster.CAFile(), ca)
	s.step("initialise and unseal", func(s *stage) {
		var keys struct {
			Unseal []string `json:"unseal_keys_b64"`
			Root   string   `json:"root_token"`
		}
		out := s.cli("", "operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json")
		if err := json.Unmarshal([]byte(out), &keys); err != nil {
			s.Fatalf("%v in %s", err, out)
		}
		s.server.RootToken = keys.Root
		wantText(s.T, s.cli("", "operator", "unseal", keys.Unseal[0]), "Sealed", "false")
		s.registerPlugin()
	})
	s.step("store a secret", func(s *stage) {
		s.cli("", "secrets", "enable", "-path=secret", "kv-v2")
		s.cli("", "kv", "put", "secret/myapp/config", "username=admin", "password=supersecret")
	})
	s.step("enable Kubernetes auth", func(s *stage) {
		wantText(s.T, s.cli("", "auth", "enable", "kubernetes"), "Success! Enabled kubernetes auth method at: kubernetes/")
	})
	s.step("point it at the cluster", func(s *stage) {
		out := s.cli("", "write", "auth/kubernetes/config", "token_reviewer_jwt="+s.reviewer,
			"kubernetes_host="+s.cluster.Host(), "kubernetes_ca_cert=@"+ca)
		wantText(s.T, out, "Success! Data written to: auth/kubernetes/config")
	})
	s.step("read it back", func(s *stage) { s.checkConfig(ca) })
	s.step("write the policy", func(s *stage) {
		s.cli(`path "secret/data/*" { capabilities = ["read"] }`, "policy", "write", "eso-policy", "-")
		wantText(s.T, s.cli("", "policy", "read", "eso-policy"), `path "secret/data/*"`)
	})
	s.step("write the role", func(s *stage) {
		s.cli("", "write", "auth/kubernetes/role/eso-role",
			"bound_service_account_names=external-secrets", "bound_service_account_namespaces="+s.ns,
			"policies=eso-policy", "ttl=1h")
		wantText(s.T, s.cli("", "read", "auth/kubernetes/role/eso-role"), "external-secrets", s.ns, "eso-policy", "1h")
	})
	s.step("connect the operator", func(s *stage) { s.connect() })
	s.step("sync", func(s *stage) {
		s.apply(`
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: myapp}
spec:
  refreshInterval: 1s
  secretStoreRef: {kind: ClusterSecretStore, name: $NS}
  target: {name: myapp-config}
  data:
  - {secretKey: username, remoteRef: {key: myapp/config, property: username}}
  - {secretKey: password, remoteRef: {key: myapp/config, property: password}}
`)
		s.wantReady("externalsecrets/myapp", "True", "secret synced")
		s.wantSecret("myapp-config", map[string]string{"username": "admin", "password": "supersecret"})
		wantText(s.T, s.kubectl("get", "secret", "myapp-config", "-o", "go-template={{.data.password|base64decode}}"),
			"supersecret")
	})
	s.step("leave no token behind", func(s *stage) { s.checkTokens() })
}

// checkConfig reads auth/kubernetes/config: all that was written comes back, but for the reviewer's token.
func (s *stage) checkConfig(ca string) {
	s.Helper()
	var config struct {
		Data map[string]any `json:"data"`
	}
	out := s.cli("", "read", "-format=json", "auth/kubernetes/config")
	if err := json.Unmarshal([]byte(out), &config); err != nil {
		s.Fatalf("%v in %s", err, out)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		s.Fatal(err)
	}
	for key, want := range map[string]any{
		"kubernetes_host": s.cluster.Host(), "kubernetes_ca_cert": string(pem), "token_reviewer_jwt_set": true,
		"disable_iss_validation": true, "disable_local_ca_jwt": false, "issuer": "",
	} {
		if got := config.Data[key]; got != want {
			s.Errorf("auth/kubernetes/config: %s is %#v, want %#v", key, got, want)
		}
	}
	if strings.Contains(out, s.reviewer) {
		s.Error("auth/kubernetes/config shows the reviewer's token")
	}
}

// connect makes a ClusterSecretStore that logs in as the operator's own ServiceAccount.
func (s *stage) connect() {
	s.Helper()
	s.apply(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: external-secrets}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: $NS}
spec:
  provider:
    vault:
      server: $SERVER
      path: secret
      version: v2
      auth:
        kubernetes:
          mountPath: kubernetes
          role: eso-role
          serviceAccountRef: {name: external-secrets, namespace: $NS}
`)
	s.wantReady("clustersecretstores/"+s.ns, "True", "store validated")
	wantText(s.T, s.kubectl("get", "clustersecretstore", s.ns), "Valid", "True")
}

// checkTokens waits until the operator has revoked what it logged in with: only the root token is left, for a moment.
func (s *stage) checkTokens() {
	s.Helper()
	s.kubectl("delete", "externalsecret", "myapp")
	s.kubectl("delete", "clustersecretstore", s.ns)
	s.wantTokens(1)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func wantText(t *testing.T, text string, fragments ...string) {
	t.Helper()
	for _, fragment := range fragments {
		if !strings.Contains(text, fragment) {
			t.Errorf("%q is not in:\n%s", fragment, text)
		}
	}
}
