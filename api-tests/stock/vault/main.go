// Command vault is the unmodified HashiCorp Vault 1.21.2, command line and server.
//
// It is the yardstick of the tests and the benchmark and is never linked into coffer: this folder is
// a module of its own, so that the product's go.mod stays free of it.
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() {
	os.Exit(command.Run(os.Args[1:]))
}
