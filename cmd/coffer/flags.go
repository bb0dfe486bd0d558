package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"coffer/server/config"
)

const serverUsage = `Usage: coffer server [options]

Starts a server. It is sealed until "vault operator unseal" has brought it enough keys; a new one is
initialised first, with "vault operator init".

    $ coffer server -config=/etc/coffer/config.hcl
    $ coffer server -dev -dev-root-token-id=root

Options, with one dash or two:

  -config=<path>
      A configuration file, or a folder of *.hcl and *.json files. Can be given several times.

  -log-level=<level>, -log-format=<format>, -log-file=<path>
      trace, debug, info, warn or error; standard or json; a file that is written besides standard
      error. They win over VAULT_LOG_LEVEL and VAULT_LOG_FORMAT, and those over the configuration.

  -dev
      Runs an initialised, unsealed server in memory, without TLS. Everything is lost when it stops.

  -dev-root-token-id=<token>
      The root token of -dev; VAULT_DEV_ROOT_TOKEN_ID does the same.

  -dev-listen-address=<address>
      The address of -dev, 127.0.0.1:8200 by default; VAULT_DEV_LISTEN_ADDRESS does the same.

  -dev-no-store-token
      Keeps -dev from writing the root token to ~/.vault-token.

  -dev-kv-v1, -dev-no-kv
      -dev with KV version 1 at secret/, or without it.

  -dev-skip-init
      Leaves the server of -dev as "vault operator init" expects it.

  -dev-tls, -dev-tls-cert-dir=<path>, -dev-tls-san=<name>
      -dev with TLS. The certificate, its key and its authority are made at the start, as vault-cert.pem,
      vault-key.pem and vault-ca.pem in a folder that exists or in one of their own, and are removed at
      the end. The name, or IP address, is one more that the certificate is good for.

  -combine-logs
      Writes the log to standard output.

  -test-verify-only
      Checks the configuration and ends.

Other flags of Vault's server are taken, and the log says what is the case instead.

Signals: SIGTERM and SIGINT stop the server once its requests are answered; SIGHUP reads certificates,
authorities of clients, declared audit devices and the log level again, and opens log files anew.
`

// serverOptions are the flags of "coffer server", completed from the environment.
type serverOptions struct {
	configs []string
	log     struct {
		level, format, file string
		// combined sends the log to standard output.
		combined bool
	}
	dev devOptions
	// verifyOnly checks the configuration and starts nothing.
	verifyOnly bool
	// ignored are flags that were given and do nothing.
	ignored []ignoredUse
}

type devOptions struct {
	enabled   bool
	rootToken string
	address   string
	noStore   bool
	// skipInit leaves the server without keys and tokens.
	skipInit bool
	// kv is the version of KV at secret/; 0 for none.
	kv  int
	tls devTLS
}

var (
	errNoConfig = errors.New("must specify at least one configuration path using -config, such as " +
		"-config=/etc/coffer/coffer.hcl; to try it out without one: coffer server -dev")
	errOnlyDev   = errors.New("can only be used with -dev")
	errArguments = errors.New("unexpected argument")
)

// parseServerFlags reads the command line; flag.ErrHelp when help was asked for.
func parseServerFlags(args []string, env func(string) string) (*serverOptions, error) {
	o := &serverOptions{dev: devOptions{kv: 2}}
	f := flag.NewFlagSet("server", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Func("config", "", func(path string) error {
		o.configs = append(o.configs, path)
		return nil
	})
	f.StringVar(&o.log.level, "log-level", "", "")
	f.StringVar(&o.log.format, "log-format", "", "")
	f.StringVar(&o.log.file, "log-file", "", "")
	f.BoolVar(&o.log.combined, "combine-logs", false, "")
	f.BoolVar(&o.verifyOnly, "test-verify-only", false, "")
	o.devFlags(f)
	o.ignoreFlags(f)
	if err := parseFlags(f, args); err != nil {
		return nil, err
	}
	return o, o.complete(env)
}

// parseFlags reads the options of a command that takes no arguments; flag.ErrHelp when help was asked for.
func parseFlags(f *flag.FlagSet, args []string) error {
	err := f.Parse(args)
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("%w %q", errArguments, f.Arg(0))
	}
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err //nolint:wrapcheck // it asks for help
	}
	return fmt.Errorf("%w; \"coffer %s -h\" lists the options", err, f.Name())
}

// complete adds the environment and checks that the options fit together.
func (o *serverOptions) complete(env func(string) string) error {
	const without = "-dev-tls was not given"
	if !o.dev.tls.enabled && o.dev.tls.dir != "" {
		o.ignore("dev-tls-cert-dir", without)
	}
	if !o.dev.tls.enabled && o.dev.tls.names != nil {
		o.ignore("dev-tls-san", without)
	}
	if !o.dev.enabled {
		switch {
		case o.dev.skipInit:
			return fmt.Errorf("-dev-skip-init %w", errOnlyDev)
		case o.dev.rootToken != "":
			return fmt.Errorf("-dev-root-token-id %w", errOnlyDev)
		case o.dev.address != "":
			return fmt.Errorf("-dev-listen-address %w", errOnlyDev)
		case len(o.configs) == 0:
			return errNoConfig
		}
		return nil
	}
	if o.dev.rootToken == "" {
		o.dev.rootToken = strings.TrimSpace(env("VAULT_DEV_ROOT_TOKEN_ID"))
	}
	if o.dev.address == "" {
		o.dev.address = env("VAULT_DEV_LISTEN_ADDRESS")
	}
	if o.dev.address == "" {
		o.dev.address = config.DefaultListenAddress
	}
	return nil
}

// load reads the configuration and puts the flags on top of it.
func (o *serverOptions) load(env func(string) string) (*config.Config, []config.Warning, error) {
	var cfg *config.Config
	var warnings []config.Warning
	var err error
	if o.dev.enabled {
		dev := config.Dev{Address: o.dev.address}
		if o.dev.tls.enabled {
			dev.CertFile, dev.KeyFile = o.dev.tls.certFile(), o.dev.tls.keyFile()
		}
		cfg, warnings, err = config.LoadDev(o.configs, dev, env)
	} else {
		cfg, warnings, err = config.Load(o.configs, env)
	}
	if err != nil {
		return nil, warnings, err
	}
	if o.log.level != "" {
		if cfg.Log.Level, err = config.ParseLogLevel(o.log.level); err != nil {
			return nil, warnings, fmt.Errorf("-log-level: %w, got %q", err, o.log.level)
		}
	}
	if o.log.format != "" {
		if cfg.Log.Format, err = config.ParseLogFormat(o.log.format); err != nil {
			return nil, warnings, fmt.Errorf("-log-format: %w, got %q", err, o.log.format)
		}
	}
	if o.log.file != "" {
		cfg.Log.File = o.log.file
	}
	// A server that forgets everything has nothing to protect from the swap file.
	cfg.DisableMlock = cfg.DisableMlock || o.dev.enabled
	return cfg, warnings, nil
}
