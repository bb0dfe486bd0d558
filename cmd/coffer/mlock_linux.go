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

// unlockedMapping runs open, which maps a file into memory and reads all of it, while what is new in memory is not
// locked. What was locked before stays so. Its caller unlocks the mapping itself.
func unlockedMapping(open func()) {
	restricted := unix.Mlockall(unix.MCL_CURRENT|unix.MCL_ONFAULT) == nil
	open()
	if restricted {
		_ = lockMemory() // it was allowed before
	}
}
