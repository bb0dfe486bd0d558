package api

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// Whoever else can open the socket is not at the machine: it may be a proxy.
func TestReadsEverything(t *testing.T) {
	for _, test := range []struct {
		uid, own int
		want     bool
	}{{0, 100, true}, {100, 100, true}, {0, 0, true}, {33, 100, false}, {65534, 100, false}, {33, 0, false}, {-1, 100, false}} {
		if got := readsEverything(test.uid, test.own); got != test.want {
			t.Errorf("user %d of a server of user %d: %v", test.uid, test.own, got)
		}
	}
}

// The kernel names who opened a socket.
func TestPeerUser(t *testing.T) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	client, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	if uid, err := peerUser(conn); err != nil || uid != os.Geteuid() {
		t.Errorf("user %d, %v", uid, err)
	}
	_ = conn.Close()
	if uid, err := peerUser(conn); err == nil {
		t.Errorf("user %d of a closed connection", uid)
	}
}
