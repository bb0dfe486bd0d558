package config

import (
	"github.com/hashicorp/go-secure-stdlib/parseutil"

	"coffer/barrier/seal"
)

// override applies the variables of the environment that Vault's server reads, and VAULT_SEAL_TYPE only to
// say that it asks for another seal than the files.
func override(c *Config, env func(string) string, rep *report) {
	pos := Position{File: "environment"}
	check := func(name string, err error) {
		if err != nil {
			rep.fail(pos, name, "%v", err)
		}
	}
	var err error
	// The last two are old names of the first.
	for _, name := range []string{"VAULT_API_ADDR", "VAULT_REDIRECT_ADDR", "VAULT_ADVERTISE_ADDR"} {
		if text := env(name); text != "" {
			c.Cluster.APIAddr, err = apiURL(text)
			check(name, err)
			break
		}
	}
	if text := env("VAULT_CLUSTER_ADDR"); text != "" {
		c.Cluster.ClusterAddr, err = clusterURL(text)
		check("VAULT_CLUSTER_ADDR", err)
	}
	if text := env("VAULT_LOG_LEVEL"); text != "" {
		c.Log.Level, err = ParseLogLevel(text)
		check("VAULT_LOG_LEVEL", err)
	}
	if text := env("VAULT_LOG_FORMAT"); text != "" {
		c.Log.Format, err = ParseLogFormat(text)
		check("VAULT_LOG_FORMAT", err)
	}
	switch text := env("VAULT_SEAL_TYPE"); text {
	case "", c.Seal.Type:
	case seal.TypeShamir, seal.TypeStatic:
		rep.fail(pos, "VAULT_SEAL_TYPE", "asks for another seal than the configuration; leave it out")
	default:
		rep.fail(pos, "VAULT_SEAL_TYPE", "unsupported seal; %s", supportedSeals)
	}
	var lockout bool
	if env("VAULT_DISABLE_USER_LOCKOUT") != "" {
		c.DisableUserLockout = &lockout
	}
	for name, dst := range map[string]*bool{
		"VAULT_DISABLE_MLOCK":        &c.DisableMlock,
		"VAULT_DISABLE_USER_LOCKOUT": &lockout,
		"VAULT_RAW_STORAGE_ENDPOINT": &c.RawStorageEndpoint,
		"VAULT_UI":                   &c.UI,
	} {
		text := env(name)
		if text == "" {
			continue
		}
		if b, err := parseutil.ParseBool(text); err == nil {
			*dst = b
		} else {
			rep.fail(pos, name, "expected true or false")
		}
	}
}
