// Command ldap is what the minimal build of the unmodified Vault lacks of LDAP: HashiCorp's own auth method, as a plugin,
// and, as "ldap login username=… [password=…]", the handler behind "vault login -method=ldap", which prints the token.
//
// Like the server it is only run, to record what it answers, and never linked into coffer.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/builtin/credential/ldap"
	"github.com/hashicorp/vault/sdk/plugin"
)

// login is what "vault login -method=ldap" does; the server's address comes from the environment, as always.
func login(args []string) error {
	client, err := api.NewClient(nil)
	if err != nil {
		return err
	}
	settings := map[string]string{}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		settings[key] = value
	}
	secret, err := new(ldap.CLIHandler).Auth(client, settings)
	if err != nil {
		return err
	}
	token, err := secret.TokenID()
	fmt.Println(token)
	return err
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "login" {
		if err := login(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		return
	}
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
