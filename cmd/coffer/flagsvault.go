package main

import (
	"flag"
	"maps"
	"slices"
	"strconv"
)

// ignoredFlag is a flag of Vault that does nothing in coffer.
type ignoredFlag struct {
	// value is set for flags that have one; the others are switches.
	value bool
	// dev is set for those that turn on -dev, as in Vault.
	dev bool
	// why says what is the case instead.
	why string
}

// ignoredUse is a flag that was given and does nothing.
type ignoredUse struct{ flag, why string }

// vaultFlags are the flags of Vault's server that do nothing here, by name.
func vaultFlags() map[string]ignoredFlag {
	return map[string]ignoredFlag{
		"dev-auto-seal":         {dev: true, why: "the server opens with the key that is printed"},
		"dev-ha":                {dev: true, why: "there is one node"},
		"dev-latency":           {value: true, why: "storage is as fast as it is"},
		"dev-latency-jitter":    {value: true, why: "storage is as fast as it is"},
		"dev-plugin-dir":        {value: true, why: "there are no external plugins"},
		"dev-plugin-init":       {why: "there are no external plugins"},
		"dev-transactional":     {dev: true, why: "storage is transactional always"},
		"disable-gated-logs":    {why: "the log is not held back"},
		"exit-on-core-shutdown": {why: "a server whose core ends is ended"},
		"experiment":            {value: true, why: "there are no experiments"},
		"log-rotate-bytes":      {value: true, why: "SIGHUP opens the log anew after another program has moved it"},
		"log-rotate-duration":   {value: true, why: "SIGHUP opens the log anew after another program has moved it"},
		"log-rotate-max-files":  {value: true, why: "SIGHUP opens the log anew after another program has moved it"},
		"non-interactive":       {why: "the server asks nothing"},
		"pprof-dump-dir":        {value: true, why: "sys/pprof has profiles"},
		"recovery":              {why: "there is no recovery mode: the server starts as always"},
	}
}

// ignoreFlags declares the flags of Vault that do nothing here, and remembers those that are given.
func (o *serverOptions) ignoreFlags(f *flag.FlagSet) {
	known := vaultFlags()
	for _, name := range slices.Sorted(maps.Keys(known)) {
		ignored := known[name]
		if ignored.value {
			f.Func(name, "", func(string) error {
				o.ignore(name, ignored.why)
				return nil
			})
			continue
		}
		onSwitch(f, name, func() {
			o.ignore(name, ignored.why)
			o.dev.enabled = o.dev.enabled || ignored.dev
		})
	}
}

// ignore remembers a flag that does nothing, and why.
func (o *serverOptions) ignore(name, why string) {
	o.ignored = append(o.ignored, ignoredUse{flag: "-" + name, why: why})
}

// onSwitch declares a switch that calls do when it is turned on.
func onSwitch(f *flag.FlagSet, name string, do func()) {
	f.BoolFunc(name, "", func(text string) error {
		on, err := strconv.ParseBool(text)
		if err == nil && on {
			do()
		}
		return err
	})
}

// devFlags declares the flags of -dev. Those of Vault that turn it on do so here.
func (o *serverOptions) devFlags(f *flag.FlagSet) {
	d := &o.dev
	on := func(name string, do func()) {
		onSwitch(f, name, func() {
			d.enabled = true
			do()
		})
	}
	on("dev", func() {})
	on("dev-kv-v1", func() { d.kv = 1 })
	on("dev-no-kv", func() { d.kv = 0 })
	on("dev-leased-kv", func() {
		d.kv = 1
		o.ignore("dev-leased-kv", "KV version 1 is at secret/, and its secrets have no leases")
	})
	on("dev-tls", func() { d.tls.enabled = true })
	f.BoolVar(&d.skipInit, "dev-skip-init", false, "")
	f.StringVar(&d.tls.dir, "dev-tls-cert-dir", "", "")
	f.Func("dev-tls-san", "", func(name string) error {
		d.tls.names = append(d.tls.names, name)
		return nil
	})
	f.StringVar(&d.rootToken, "dev-root-token-id", "", "")
	f.StringVar(&d.address, "dev-listen-address", "", "")
	f.BoolVar(&d.noStore, "dev-no-store-token", false, "")
}
