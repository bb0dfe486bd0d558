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

Signals: SIGTERM and SIGINT stop the server once its requests are answered; SIGHUP reads certificates,
authorities of clients, declared audit devices and the log level again, and opens log files anew.
`

// serverOptions are the flags of "coffer server", completed from the environment.
type serverOptions struct {
	configs []string
	log     struct{ level, format, file string }
	dev     devOptions
	// ignored are flags of Vault that were given and do nothing here.
	ignored []string
}

type devOptions struct {
	enabled   bool
	rootToken string
	address   string
	noStore   bool
}

var (
	errNoConfig  = errors.New("must specify at least one configuration path using -config")
	errOnlyDev   = errors.New("can only be used with -dev")
	errArguments = errors.New("unexpected argument")
)

// parseServerFlags reads the command line; flag.ErrHelp when help was asked for.
func parseServerFlags(args []string, env func(string) string) (*serverOptions, error) {
	o := &serverOptions{}
	f := flag.NewFlagSet("server", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Func("config", "", func(path string) error {
		o.configs = append(o.configs, path)
		return nil
	})
	f.StringVar(&o.log.level, "log-level", "", "")
	f.StringVar(&o.log.format, "log-format", "", "")
	f.StringVar(&o.log.file, "log-file", "", "")
	f.BoolVar(&o.dev.enabled, "dev", false, "")
	f.StringVar(&o.dev.rootToken, "dev-root-token-id", "", "")
	f.StringVar(&o.dev.address, "dev-listen-address", "", "")
	f.BoolVar(&o.dev.noStore, "dev-no-store-token", false, "")
	for name, isBool := range map[string]bool{
		"exit-on-core-shutdown": true, "dev-plugin-init": true, "dev-transactional": true, "dev-plugin-dir": false,
		"experiment": false, "log-rotate-bytes": false, "log-rotate-duration": false, "log-rotate-max-files": false,
		"pprof-dump-dir": false,
	} {
		ignore := func(string) error {
			o.ignored = append(o.ignored, "-"+name)
			return nil
		}
		if isBool {
			f.BoolFunc(name, "", ignore)
		} else {
			f.Func(name, "", ignore)
		}
	}
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("%w %q", errArguments, f.Arg(0))
	}
	return o, o.complete(env)
}

// complete adds the environment and checks that the options fit together.
func (o *serverOptions) complete(env func(string) string) error {
	if !o.dev.enabled {
		switch {
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
		cfg, warnings, err = config.LoadDev(o.configs, o.dev.address, env)
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
