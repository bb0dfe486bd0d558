package api

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// peerUser asks the kernel for the user of the process that opened the connection (SO_PEERCRED of unix(7)). A user that
// the server's user namespace does not know is the overflow id, 65534.
func peerUser(c *net.UnixConn) (uid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	var peer *unix.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) {
		peer, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, asked); err != nil {
		return -1, err
	}
	return int(peer.Uid), nil
}
