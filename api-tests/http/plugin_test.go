package http

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"coffer/api-tests/servers"
)

// plugins are the auth methods that a minimal build of Vault lacks, as HashiCorp publishes them.
var plugins = map[string]servers.Kind{"kubernetes": servers.KubernetesAuth, "ldap": servers.LDAPAuth}

func pluginFile(t *testing.T, name string) string {
	t.Helper()
	kind, ok := plugins[name]
	if !ok {
		t.Fatalf("no plugin %q", name)
	}
	file, err := servers.Binary(t.Context(), kind)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// registerPlugin makes the plugin known to a Vault by the name that coffer has the method under.
func registerPlugin(t *testing.T, server *servers.Server, name string) {
	t.Helper()
	file := pluginFile(t, name)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if _, err := server.Must(t.Context(), http.MethodPut, "sys/plugins/catalog/auth/"+name,
		map[string]any{"sha256": hex.EncodeToString(sum[:]), "command": filepath.Base(file)}); err != nil {
		t.Fatal(err)
	}
}
