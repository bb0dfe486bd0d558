package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// startDev makes the development server usable and tells the user how to use it.
func (p *process) startDev(ctx context.Context, svc service, opts *serverOptions, open endpoints, log *logging) error {
	scheme, authority := "http", ""
	if opts.dev.tls.enabled {
		scheme, authority = "https", fmt.Sprintf("    $ export VAULT_CACERT='%s'\n", opts.dev.tls.caFile())
	}
	if opts.dev.skipInit {
		fmt.Fprintf(p.stdout, `WARNING! dev mode is enabled! The server has no keys yet, and what it stores in memory is
lost when it stops.

To initialise it from a shell:

    $ export VAULT_ADDR='%s://%s'
%s    $ vault operator init

`, scheme, open[0].address(), authority)
		return nil
	}
	secrets, err := svc.InitDev(ctx, opts.dev.rootToken, opts.dev.kv)
	if err != nil {
		return fmt.Errorf("development server: %w", err)
	}
	stored := ""
	if !opts.dev.noStore {
		if err := storeToken(p.env("HOME"), secrets.rootToken); err != nil {
			log.Warn("the root token could not be stored for the command line", "error", err)
		} else {
			stored = "The root token is stored in ~/.vault-token, where the vault command finds it.\n"
		}
	}
	fmt.Fprintf(p.stdout, `WARNING! dev mode is enabled! The server is unsealed, and what it stores in memory is
lost when it stops.
%s
To use it from a shell:

    $ export VAULT_ADDR='%s://%s'
%s
To unseal it again, or to log in elsewhere:

Unseal Key: %s
Root Token: %s

Development mode is not for production!

`, stored, scheme, open[0].address(), authority, secrets.unsealKey, secrets.rootToken)
	return nil
}

var errNoHome = errors.New("HOME is not set")

// storeToken puts the token where Vault's command line looks for it, readable by the user alone.
func storeToken(home, token string) (err error) {
	if home == "" {
		return errNoHome
	}
	// A new file that replaces the old one: the mode of the old one may be anything.
	f, err := os.CreateTemp(home, ".vault-token-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(token)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(home, ".vault-token"))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
