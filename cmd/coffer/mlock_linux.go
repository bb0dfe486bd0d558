package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const mlockSupported = true

// lockMemory locks what the process has in memory now and later, as it is touched: without MCL_ONFAULT the
// kernel would make all that Go reserves resident.
func lockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("mlockall: %w", err)
	}
	return nil
}
