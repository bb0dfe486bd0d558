package http

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"coffer/api-tests/servers"
)

// kubernetesPlugin is the file of the official plugin: a minimal build of Vault has no Kubernetes auth itself.
func kubernetesPlugin(t *testing.T) string {
	t.Helper()
	plugin, err := servers.Binary(t.Context(), servers.KubernetesAuth)
	if err != nil {
		t.Fatal(err)
	}
	return plugin
}

func pluginDirectory(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("plugin_directory = %q\n", filepath.Dir(kubernetesPlugin(t)))
}

// registerPlugin makes the plugin known to a Vault by the name that coffer has the method under.
func registerPlugin(t *testing.T, server *servers.Server) {
	t.Helper()
	plugin := kubernetesPlugin(t)
	content, err := os.ReadFile(plugin)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if _, err := server.Must(t.Context(), http.MethodPut, "sys/plugins/catalog/auth/kubernetes",
		map[string]any{"sha256": hex.EncodeToString(sum[:]), "command": filepath.Base(plugin)}); err != nil {
		t.Fatal(err)
	}
}
