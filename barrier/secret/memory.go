package secret

import "errors"

// ErrCannotLock is returned by LockMemory when the operating system does not lock memory or does not let
// this process do it.
var ErrCannotLock = errors.New("secret: memory cannot be locked")
