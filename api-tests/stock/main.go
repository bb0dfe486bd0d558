// Command stock builds the programs that the black-box tests run beside coffer and keeps them in the cache, one after
// the other: so the tests' deadlines are not spent beside compilers. Each is built from its published module, unchanged;
// the folders beside this file are modules of their own.
//
// Usage: go run ./api-tests/stock
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"coffer/api-tests/servers"
)

// needed by the tests; the Kubernetes plugin of stock Vault is only for recording and comparing.
var needed = []servers.Kind{
	servers.Vault, servers.LDAPAuth, servers.Etcd, servers.KubeAPIServer, servers.Kubectl, servers.ExternalSecrets,
	servers.OpenIDProvider,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, kind := range needed {
		begin := time.Now()
		if _, err := servers.Binary(ctx, kind); err != nil {
			fmt.Fprintln(os.Stderr, "stock:", err)
			os.Exit(1)
		}
		if took := time.Since(begin); took > time.Second {
			fmt.Fprintf(os.Stderr, "stock: built %s in %v\n", kind, took.Round(time.Second))
		}
	}
}
