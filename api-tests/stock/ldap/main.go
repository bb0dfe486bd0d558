// Command ldap is HashiCorp's own LDAP auth method as a plugin of the unmodified Vault, whose minimal build lacks it.
//
// Like the server it is only run, to record what it answers, and never linked into coffer.
package main

import (
	"os"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/builtin/credential/ldap"
	"github.com/hashicorp/vault/sdk/plugin"
)

func main() {
	meta := &api.PluginAPIClientMeta{}
	if err := meta.FlagSet().Parse(os.Args[1:]); err != nil {
		os.Exit(2)
	}
	if plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: ldap.Factory, TLSProviderFunc: api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	}) != nil {
		os.Exit(1)
	}
}
