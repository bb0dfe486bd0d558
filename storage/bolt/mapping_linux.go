package bolt

import "golang.org/x/sys/unix"

// unlock takes pages of a mapped file out of what is locked in memory, and lets go of them. They are read again when
// they are used.
func unlock(b []byte) {
	if unix.Munlock(b) == nil {
		_ = unix.Madvise(b, unix.MADV_DONTNEED)
	}
}
