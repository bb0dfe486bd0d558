package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hideMemory keeps what the process has in memory from core dumps and from other processes of the same user, which
// could read it by ptrace or /proc. The limit alone would not do: it does not hold where the kernel pipes dumps to
// a program.
func hideMemory() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_DUMPABLE: %w", err)
	}
	return noCoreDumps()
}
