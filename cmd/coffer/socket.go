package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"

	"coffer/server/config"
)

var (
	errNotASocket  = errors.New("the file exists and is no socket; remove it, or choose another path")
	errSocketInUse = errors.New("another program listens on the socket; stop it, or choose another path")
)

// listenSocket opens a Unix socket, in place of one that a server left behind. Nobody may open it before its owner and
// mode are right.
func listenSocket(ctx context.Context, path string, s config.Socket) (net.Listener, error) {
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	old := syscall.Umask(0o177)
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}
	if err = own(path, s); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

func own(path string, s config.Socket) error {
	user, group := -1, -1
	for _, id := range []struct {
		text string
		dst  *int
	}{{s.User, &user}, {s.Group, &group}} {
		if id.text == "" {
			continue
		}
		n, err := strconv.Atoi(id.text)
		if err != nil {
			return err
		}
		*id.dst = n
	}
	if user >= 0 || group >= 0 {
		if err := os.Lchown(path, user, group); err != nil {
			return fmt.Errorf("socket_user, socket_group: %w; a process that is not root can give a socket to its own user "+
				"and groups alone", err)
		}
	}
	return os.Chmod(path, s.Mode)
}

// removeStale removes a socket on which nobody listens any more.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errNotASocket
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(errSocketInUse, conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: %w", errSocketInUse, err)
	}
	return os.Remove(path)
}
