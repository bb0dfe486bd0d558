package bolt

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// unlock takes pages of a mapped file out of what is locked in memory.
func unlock(b []byte) { _ = unix.Munlock(b) }

// letGo takes pages of a mapped file, which are not locked, out of the process's memory. They are mapped again when
// they are used.
func letGo(b []byte) {
	if len(b) > 0 {
		_ = unix.Madvise(b, unix.MADV_DONTNEED)
	}
}

// resident is how many bytes of mapped files are in the process's memory, its program included; 0 when that is not
// known (proc_pid_statm(5)).
func resident() int {
	text, err := os.ReadFile("/proc/self/statm")
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 3 {
		return 0
	}
	pages, err := strconv.Atoi(string(fields[2]))
	if err != nil {
		return 0
	}
	return pages * os.Getpagesize()
}
