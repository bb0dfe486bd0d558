// Command ldap is what the minimal build of the unmodified Vault lacks of LDAP: HashiCorp's own auth method, as a plugin,
// and, as "ldap login -method=ldap …", Vault's own command "vault login" with the handler that a full build gives it.
//
// Like the server it is only run, to record what it answers, and never linked into coffer.
package main

import (
	"os"

	"github.com/hashicorp/cli"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/builtin/credential/ldap"
	"github.com/hashicorp/vault/command"
	"github.com/hashicorp/vault/sdk/plugin"
)

// login is "vault login" that knows LDAP as its only method.
func login(args []string) int {
	return (&command.LoginCommand{
		BaseCommand: &command.BaseCommand{
			UI: &cli.BasicUi{Reader: os.Stdin, Writer: os.Stdout, ErrorWriter: os.Stderr},
		},
		Handlers: map[string]command.LoginHandler{"ldap": &ldap.CLIHandler{}},
	}).Run(args)
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "login" {
		os.Exit(login(os.Args[2:]))
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
