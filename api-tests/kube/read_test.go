package kube

import (
	"fmt"
	"testing"
)

// externalSecret is an ExternalSecret named name that syncs every second from the SecretStore "store"; body is what
// differs: lines of its spec, indented by two.
func externalSecret(name, body string) string {
	return fmt.Sprintf(`
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: %s}
spec:
  refreshInterval: 1s
  secretStoreRef: {kind: SecretStore, name: store}
%s`, name, body)
}

func TestRotation(t *testing.T) {
	s := newStage(t)
	s.put("db", map[string]any{"password": "old"})
	s.apply(externalSecret("db", `
  data:
  - {secretKey: password, remoteRef: {key: db, property: password}}
`))
	s.wantSecret("db", map[string]string{"password": "old"})
	s.put("db", map[string]any{"password": "new"})
	s.wantSecret("db", map[string]string{"password": "new"})
}

func TestDataFrom(t *testing.T) {
	s := newStage(t)
	// Values of every JSON type: the operator stores numbers and objects as their JSON text.
	s.put("apps/web", map[string]any{"user": "web", "port": 8080, "big": 12345678901, "on": true, "more": map[string]any{"a": "b"}})
	s.put("apps/deep/worker", map[string]any{"user": "worker"})
	s.put("other", map[string]any{"user": "other"})
	s.do("secret/metadata/apps/web", map[string]any{"custom_metadata": map[string]string{"team": "red", "tier": "1"}})
	s.do("secret/metadata/apps/deep/worker", map[string]any{"custom_metadata": map[string]string{"team": "blue"}})

	s.apply(externalSecret("extract", `
  dataFrom:
  - extract: {key: apps/web}
`))
	s.apply(externalSecret("by-name", `
  dataFrom:
  - find: {name: {regexp: "^apps/.*"}}
    rewrite: [{regexp: {source: "/", target: "_"}}]
`))
	s.apply(externalSecret("by-path", `
  dataFrom:
  - find: {path: apps/deep, name: {regexp: ".*"}}
    rewrite: [{regexp: {source: "/", target: "_"}}]
`))
	s.apply(externalSecret("by-tags", `
  dataFrom:
  - find: {tags: {team: red}}
    rewrite: [{regexp: {source: "/", target: "_"}}]
`))
	web := `{"big":12345678901,"more":{"a":"b"},"on":true,"port":8080,"user":"web"}`
	s.wantSecret("extract", map[string]string{
		"user": "web", "port": "8080", "big": "12345678901", "on": "true", "more": `{"a":"b"}`,
	})
	s.wantSecret("by-name", map[string]string{"apps_web": web, "apps_deep_worker": `{"user":"worker"}`})
	s.wantSecret("by-path", map[string]string{"apps_deep_worker": `{"user":"worker"}`})
	s.wantSecret("by-tags", map[string]string{"apps_web": web})
}

func TestVersionAndMetadata(t *testing.T) {
	s := newStage(t)
	s.put("db", map[string]any{"password": "first"})
	s.put("db", map[string]any{"password": "second"})
	s.do("secret/metadata/db", map[string]any{"custom_metadata": map[string]string{"owner": "ann"}})
	s.apply(externalSecret("db", `
  data:
  - {secretKey: first, remoteRef: {key: db, property: password, version: "1"}}
  - {secretKey: latest, remoteRef: {key: db, property: password}}
  - {secretKey: owner, remoteRef: {key: db, property: owner, metadataPolicy: Fetch}}
  - {secretKey: metadata, remoteRef: {key: db, metadataPolicy: Fetch}}
`))
	s.wantSecret("db", map[string]string{
		"first": "first", "latest": "second", "owner": "ann", "metadata": `{"owner":"ann"}`,
	})
}

// TestDeletionPolicies takes the secret away, first softly, then for good: both look the same to the operator.
func TestDeletionPolicies(t *testing.T) {
	for _, take := range []string{"data", "metadata"} {
		t.Run(take, func(t *testing.T) {
			s := newStage(t)
			s.put("gone", map[string]any{"key": "value"})
			s.put("stays", map[string]any{"key": "other"})
			for _, policy := range []string{"Retain", "Delete", "Merge"} {
				name := map[string]string{"Retain": "retain", "Delete": "delete", "Merge": "merge"}[policy]
				from := "\n  dataFrom: [{extract: {key: gone}}]\n"
				s.apply(externalSecret(name, "  target: {deletionPolicy: "+policy+"}"+from))
				s.wantSecret(name, map[string]string{"key": "value"})
			}
			s.remove("secret/" + take + "/gone")
			s.wantNoSecret("delete")
			s.wantReady("externalsecrets/retain", "False", "could not get secret data from provider")
			s.wantSecret("retain", map[string]string{"key": "value"})
			s.wantSecret("merge", map[string]string{})
			s.put("gone", map[string]any{"key": "back"})
			for _, name := range []string{"retain", "delete", "merge"} {
				s.wantSecret(name, map[string]string{"key": "back"})
			}
		})
	}
}

func TestKeyValueVersion1(t *testing.T) {
	s := newStage(t)
	s.do("sys/mounts/kv1", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	s.do("sys/policies/acl/app", map[string]any{"policy": `path "kv1/*" { capabilities = ["read", "list"] }`})
	s.do("kv1/db", map[string]any{"password": "one", "port": 5432})
	s.apply(`
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: kv1}
spec:
  provider:
    vault:
      server: $SERVER
      path: kv1
      version: v1
      auth:
        kubernetes: {mountPath: kubernetes, role: app, serviceAccountRef: {name: app}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db}
spec:
  refreshInterval: 1s
  secretStoreRef: {kind: SecretStore, name: kv1}
  dataFrom: [{extract: {key: db}}]
`)
	s.wantSecret("db", map[string]string{"password": "one", "port": "5432"})
	s.do("kv1/db", map[string]any{"password": "two"})
	s.wantSecret("db", map[string]string{"password": "two"})
}

// TestManySecrets is a small cluster's worth of ExternalSecrets at once, and what their tokens leave behind: nothing.
func TestManySecrets(t *testing.T) {
	const secrets = 30
	s := newStage(t)
	documents := ""
	for i := range secrets {
		name := fmt.Sprintf("app-%d", i)
		s.put(name, map[string]any{"a": name, "b": "2", "c": "3"})
		documents += "---" + externalSecret(name, fmt.Sprintf(`
  data:
  - {secretKey: a, remoteRef: {key: %s, property: a}}
  - {secretKey: b, remoteRef: {key: %s, property: b}}
  - {secretKey: c, remoteRef: {key: %s, property: c}}
`, name, name, name))
	}
	s.apply(documents)
	for i := range secrets {
		name := fmt.Sprintf("app-%d", i)
		s.wantSecret(name, map[string]string{"a": name, "b": "2", "c": "3"})
	}
	s.kubectl("delete", "externalsecrets", "--all")
	s.kubectl("delete", "secretstore", "store")
	s.wantTokens(1)
}
