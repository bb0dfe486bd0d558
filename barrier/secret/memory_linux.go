package secret

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// LockMemory keeps the memory of the process, now and later, from being written to swap. It returns
// ErrCannotLock when the process lacks the right (CAP_IPC_LOCK or a sufficient RLIMIT_MEMLOCK).
func LockMemory() error {
	// Locking pages as they are first touched keeps the reserved but unused memory of the runtime and
	// of the database's mapping from becoming resident.
	err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
	if err != nil {
		return fmt.Errorf("%w: mlockall: %w", ErrCannotLock, err)
	}
	return nil
}
