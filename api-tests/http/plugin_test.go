package http

import (
	"testing"

	"coffer/api-tests/servers"
)

// plugin is the auth method of this name that a minimal build of Vault lacks, as HashiCorp publishes it.
func plugin(t *testing.T, name string) servers.Kind {
	t.Helper()
	kind, ok := map[string]servers.Kind{"kubernetes": servers.KubernetesAuth, "ldap": servers.LDAPAuth}[name]
	if !ok {
		t.Fatalf("no plugin %q", name)
	}
	return kind
}
