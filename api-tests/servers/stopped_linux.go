package servers

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// awaitStop waits until every thread of a child has taken SIGSTOP; on a busy machine some go on for a while.
func awaitStop(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
