//go:build unix

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// noCoreDumps forbids core dumps for good: nobody without privileges raises a hard limit.
func noCoreDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("RLIMIT_CORE: %w", err)
	}
	return nil
}
