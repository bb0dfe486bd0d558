package main

import (
	"fmt"
	"runtime"
	"strings"

	"coffer/server/config"
	"coffer/server/loglevel"
)

// banner prints what is about to run, in the form of Vault's.
func (p *process) banner(cfg *config.Config, open endpoints, locked bool) {
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%24s: %s\n", key, value) }
	b.WriteString("==> coffer server configuration:\n\n")
	line("Api Address", orNone(cfg.Cluster.APIAddr))
	line("Cluster Address", orNone(cfg.Cluster.ClusterAddr))
	line("Go Version", runtime.Version())
	for i, e := range open {
		line(fmt.Sprintf("Listener %d", i+1), e.describe(cfg.Listeners[i]))
	}
	line("Log Level", loglevel.Name(cfg.Log.Level))
	line("Mlock", fmt.Sprintf("supported: %t, enabled: %t", mlockSupported, locked))
	line("Storage", cfg.Storage.Label+pathOf(cfg.Storage))
	line("Version", versionLine())
	b.WriteString("\n==> coffer server started! Log data will stream in below:\n\n")
	fmt.Fprint(p.stdout, b.String())
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func pathOf(s config.Storage) string {
	if s.Path == "" {
		return ""
	}
	return " (" + s.File() + ")"
}
