//go:build !linux

package secret

import (
	"fmt"
	"runtime"
)

// LockMemory returns ErrCannotLock: only Linux is supported.
func LockMemory() error {
	return fmt.Errorf("%w on %s", ErrCannotLock, runtime.GOOS)
}
