package servers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// PluginConfig is the line of configuration, for Options.Config, that lets a Vault run a plugin, which is built when
// needed. RegisterPlugin does the rest.
func PluginConfig(ctx context.Context, plugin Kind) (string, error) {
	file, err := Binary(ctx, plugin)
	return fmt.Sprintf("plugin_directory = %q\n", filepath.Dir(file)), err
}

// RegisterPlugin makes an auth plugin known to an unsealed Vault, by the name that coffer has the method under. It runs
// in a process of its own, as all plugins do that are not part of Vault's binary.
func (s *Server) RegisterPlugin(ctx context.Context, plugin Kind, name string) error {
	file, err := Binary(ctx, plugin)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	_, err = s.Must(ctx, http.MethodPut, "sys/plugins/catalog/auth/"+name,
		map[string]any{"sha256": hex.EncodeToString(sum[:]), "command": filepath.Base(file)})
	return err
}
