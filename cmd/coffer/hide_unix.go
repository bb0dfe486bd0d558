//go:build unix && !linux

package main

// hideMemory keeps what the process has in memory out of core dumps.
func hideMemory() error { return noCoreDumps() }
