package kube

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// reader is an account that may review tokens and look at what bound selectors and annotations speak of.
const reader = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: $NS-reviews}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, name: reader, namespace: $NS}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: $NS-reads}
rules: [{apiGroups: [""], resources: [namespaces, serviceaccounts], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: $NS-reads}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: $NS-reads}
subjects: [{kind: ServiceAccount, name: reader, namespace: $NS}]
`

// TestNamespaceSelector lets in who comes from a namespace with a label, as long as it has it.
func TestNamespaceSelector(t *testing.T) {
	s := newStage(t)
	s.apply(reader)
	s.do("auth/kubernetes/role/labelled", map[string]any{
		"bound_service_account_names": "app", "token_policies": "app",
		"bound_service_account_namespace_selector": `{"matchLabels": {"stage": "prod"}}`,
	})
	s.do("auth/kubernetes/role/either", map[string]any{
		"bound_service_account_names": "app", "token_policies": "app", "bound_service_account_namespaces": "elsewhere",
		"bound_service_account_namespace_selector": `{"matchLabels": {"stage": "test"}}`,
	})
	jwt := s.token("app")
	// This reviewer may not look. Vault goes on with the API server's own words.
	a, err := s.login("kubernetes", "labelled", jwt)
	if err != nil || a.Status != http.StatusForbidden || !strings.Contains(string(a.Raw), `"namespace not authorized`) {
		t.Errorf("%d, %v: %s", a.Status, err, a.Raw)
	}
	s.configure("kubernetes", s.cluster, s.token("reader"))
	s.wantLogin("kubernetes", "labelled", jwt, http.StatusForbidden, "namespace not authorized")
	s.kubectl("label", "namespace", s.ns, "stage=test")
	s.wantLogin("kubernetes", "labelled", jwt, http.StatusForbidden, "namespace not authorized")
	s.wantLogin("kubernetes", "either", jwt, http.StatusOK, "")
	s.kubectl("label", "namespace", s.ns, "--overwrite", "stage=prod")
	s.wantLogin("kubernetes", "labelled", jwt, http.StatusOK, "")
	s.kubectl("label", "namespace", s.ns, "stage-")
	s.wantLogin("kubernetes", "labelled", jwt, http.StatusForbidden, "namespace not authorized")
	s.wantLogin("kubernetes", "either", jwt, http.StatusForbidden, "namespace not authorized")
	s.checkLog(jwt)
}

// TestAnnotations takes the metadata of an alias from the annotations of the ServiceAccount.
func TestAnnotations(t *testing.T) {
	s := newStage(t)
	s.apply(reader)
	s.kubectl("annotate", "serviceaccount", "app",
		"vault.hashicorp.com/alias-metadata-team=storage", "vault.hashicorp.com/other=x", "note=y")
	s.do("auth/kubernetes/config", map[string]any{
		"kubernetes_host": s.cluster.Host(), "kubernetes_ca_cert": s.caOf(s.cluster), "token_reviewer_jwt": s.token("reader"),
		"use_annotations_as_alias_metadata": true,
	})
	s.wantAliasMetadata("storage")
	s.kubectl("annotate", "serviceaccount", "app", "--overwrite", "vault.hashicorp.com/alias-metadata-team=network")
	s.wantAliasMetadata("network")
	s.kubectl("annotate", "serviceaccount", "app", "vault.hashicorp.com/alias-metadata-team-")
	s.wantAliasMetadata("")
	// A name that the method gives itself can't be taken.
	s.kubectl("annotate", "serviceaccount", "app", "vault.hashicorp.com/alias-metadata-service_account_name=admin")
	s.wantLogin("kubernetes", "app", s.token("app"), http.StatusBadRequest,
		`annotations: keys=["service_account_name"]`)
}

// wantAliasMetadata logs in and looks at "team" in the metadata of the alias; "" for none.
func (s *stage) wantAliasMetadata(team string) {
	s.Helper()
	a, err := s.login("kubernetes", "app", s.token("app"))
	if err != nil || a.Status != http.StatusOK {
		s.Fatalf("%d, %v: %s", a.Status, err, a.Raw)
	}
	entity, err := s.server.Must(s.Context(), http.MethodGet, fmt.Sprint("identity/entity/id/", a.Auth()["entity_id"]), nil)
	if err != nil {
		s.Fatal(err)
	}
	aliases, _ := entity.Data()["aliases"].([]any)
	if len(aliases) != 1 {
		s.Fatalf("aliases %v", aliases)
	}
	alias, _ := aliases[0].(map[string]any)
	metadata, _ := alias["metadata"].(map[string]any)
	if got, _ := metadata["team"].(string); got != team || metadata["other"] != nil || metadata["service_account_name"] != "app" {
		s.Errorf("metadata %v, want team %q", metadata, team)
	}
}
