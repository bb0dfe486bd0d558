package main

import "fmt"

// Stamped with -ldflags '-X main.version=…'; see the Makefile.
var (
	version = "0.1.0-dev"
	commit  = "unknown"
	// date is when the commit was made, in RFC 3339, so that a commit always builds the same binary.
	date = "1970-01-01T00:00:00Z"
)

// vaultVersion is the release of Vault whose behaviour clients see. They compare it with what they need.
const vaultVersion = "1.21.2"

func versionLine() string {
	return fmt.Sprintf("coffer v%s (%s), built %s, compatible with Vault v%s", version, commit, date, vaultVersion)
}
