package main

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"

	"coffer/barrier/seal"
	"coffer/server/config"
	"coffer/server/core"
	"coffer/server/loglevel"
)

// bannerState is what the banner tells beside the configuration.
type bannerState struct {
	core.State
	// locked is set when memory is, found when the data file was there before.
	locked, found bool
	// dev is set for a development server, which says itself how to use it.
	dev bool
}

// banner prints what is about to run, in the form of Vault's, and what to do next.
func (p *process) banner(cfg *config.Config, open endpoints, s bannerState) {
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
	line("Mlock", fmt.Sprintf("supported: %t, enabled: %t", mlockSupported, s.locked))
	line("Seal", describeSeal(cfg.Seal))
	line("State", describeState(s.State))
	line("Storage", describeStorage(cfg.Storage, s.found))
	line("Version", versionLine())
	if !s.dev {
		b.WriteString(next(cfg, open, s.State))
	}
	b.WriteString("\n==> coffer server started! Log data will stream in below:\n\n")
	fmt.Fprint(p.stdout, b.String())
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// dataFound reports whether the data file is there.
func dataFound(s config.Storage) bool {
	if s.Path == "" {
		return false
	}
	_, err := os.Stat(s.File())
	return err == nil
}

func describeStorage(s config.Storage, found bool) string {
	switch {
	case s.Path == "":
		return s.Label + " (in memory: everything is lost when the server stops)"
	case found:
		return s.Label + " (" + s.File() + ", found)"
	default:
		return s.Label + " (" + s.File() + ", new)"
	}
}

func describeSeal(s config.Seal) string {
	if s.Type != seal.TypeStatic {
		return s.Type + " (opened by hand, with unseal keys)"
	}
	where := "in the configuration"
	switch {
	case s.Current.File != "":
		where = "in " + s.Current.File
	case s.Current.Env != "":
		where = "in the variable " + s.Current.Env
	}
	return fmt.Sprintf("%s (opens itself with the key %q %s)", s.Type, s.Current.ID, where)
}

// next is what an operator types next.
func next(cfg *config.Config, open endpoints, s core.State) string {
	var b strings.Builder
	b.WriteString("\n==> What to do next, in another terminal, with HashiCorp's \"vault\" or OpenBao's \"bao\":\n\n")
	command := func(line, why string) {
		if why != "" {
			line = fmt.Sprintf("%-32s # %s", line, why)
		}
		b.WriteString("    $ " + line + "\n")
	}
	address, authority := clientAddress(cfg, open)
	command("export VAULT_ADDR="+address, "")
	if authority {
		command("export VAULT_CACERT=FILE", "the authority that signed the certificate")
	}
	switch {
	case !s.Initialized && cfg.Seal.Type == seal.TypeStatic:
		command("vault operator init", "once: prints recovery keys and the root token; keep them")
	case !s.Initialized:
		command("vault operator init", "once: prints the unseal keys and the root token; keep them")
		command("vault operator unseal", "with one key at a time, until it says \"Sealed false\"")
	case s.Sealed && cfg.Seal.Type == seal.TypeStatic:
		b.WriteString("\n    The seal did not open the data; the log says why. The recovery keys open it by hand:\n\n")
		command("vault operator unseal", fmt.Sprintf("%d times, each time with another key", s.Threshold))
	case s.Sealed:
		command("vault operator unseal", fmt.Sprintf("%d times, each time with another key", s.Threshold))
	default:
		command("vault status", "")
	}
	if !s.Sealed || !s.Initialized {
		command("vault login", "")
	}
	return b.String()
}

// clientAddress is what VAULT_ADDR should be, and whether a client of this machine needs to be told whom to trust.
func clientAddress(cfg *config.Config, open endpoints) (address string, authority bool) {
	if len(open) == 0 {
		return cfg.Cluster.APIAddr, false
	}
	first := open[0]
	address = first.url()
	if cfg.Cluster.APIAddr != "" {
		address = cfg.Cluster.APIAddr
	}
	if first.cert == nil {
		return address, false
	}
	leaf := first.cert.current.Load().config.Certificates[0].Leaf
	if cfg.Cluster.APIAddr == "" {
		address = certifiedAddress(leaf, address)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return address, true
	}
	between := x509.NewCertPool()
	for _, der := range first.cert.current.Load().config.Certificates[0].Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return address, err != nil
}

// certifiedAddress replaces the host by one that the certificate is for, when it is not for that.
func certifiedAddress(leaf *x509.Certificate, address string) string {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(address, "https://"))
	if err != nil || leaf.VerifyHostname(host) == nil {
		return address
	}
	switch {
	case len(leaf.DNSNames) > 0 && !strings.Contains(leaf.DNSNames[0], "*"):
		host = leaf.DNSNames[0]
	case len(leaf.IPAddresses) > 0:
		host = leaf.IPAddresses[0].String()
	}
	return "https://" + net.JoinHostPort(host, port)
}
