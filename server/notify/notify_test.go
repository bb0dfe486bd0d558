package notify_test

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coffer/server/notify"
)

// listen is the manager's end of a socket.
func listen(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func receive(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 4096)
	n, err := conn.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(text[:n])
}

func env(vars ...string) func(string) string {
	return func(name string) string {
		for _, v := range vars {
			if text, ok := strings.CutPrefix(v, name+"="); ok {
				return text
			}
		}
		return ""
	}
}

func TestManager(t *testing.T) {
	for _, name := range []string{
		filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@coffer-test-%s-%d", t.Name(), time.Now().UnixNano()),
	} {
		t.Run(name[:1], func(t *testing.T) {
			socket := listen(t, name)
			m, err := notify.New(env("NOTIFY_SOCKET="+name, "WATCHDOG_USEC=3000000", "WATCHDOG_PID=7"), 7)
			if err != nil {
				t.Fatal(err)
			}
			if m.Every() != 1500*time.Millisecond {
				t.Errorf("the watchdog is fed every %s", m.Every())
			}
			for _, step := range []struct {
				do   func() error
				want string
			}{
				{m.Ready, "READY=1"}, {m.Alive, "WATCHDOG=1"}, {m.Stopping, "STOPPING=1"},
				{func() error { return errors.Join(m.Status("one\ntwo"), m.Status("one\ntwo")) }, "STATUS=one two"},
				{func() error { return m.Status(strings.Repeat("x", 5000)) }, "STATUS=" + strings.Repeat("x", 512)},
			} {
				if err := step.do(); err != nil {
					t.Fatal(err)
				}
				if got := receive(t, socket); got != step.want {
					t.Errorf("sent %q, want %q", got, step.want)
				}
			}
			if err := m.Reloading(); err != nil {
				t.Fatal(err)
			}
			var usec int64
			if n, err := fmt.Sscanf(receive(t, socket), "RELOADING=1\nMONOTONIC_USEC=%d", &usec); n != 1 || usec <= 0 {
				t.Errorf("reloading: %v", err)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	m, err := notify.New(env(), 1)
	if m != nil || err != nil {
		t.Fatalf("New = %v, %v", m, err)
	}
	if err := errors.Join(m.Ready(), m.Reloading(), m.Alive(), m.Stopping(), m.Status("x"), m.Close()); err != nil || m.Every() != 0 {
		t.Errorf("%v, every %s", err, m.Every())
	}
}

func TestBadEnvironment(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	listen(t, name)
	for _, vars := range [][]string{
		{"NOTIFY_SOCKET=relative"}, {"NOTIFY_SOCKET=@"}, {"NOTIFY_SOCKET=vsock:2:1"}, {"NOTIFY_SOCKET=/does/not/exist"},
		{"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=soon"}, {"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=0"},
		{"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=9223372036854775807"},
	} {
		if m, err := notify.New(env(vars...), 1); err == nil || m != nil {
			t.Errorf("%v: %v, %v", vars, m, err)
		}
	}
	// Another process is watched.
	m, err := notify.New(env("NOTIFY_SOCKET="+name, "WATCHDOG_USEC=3000000", "WATCHDOG_PID=2"), 1)
	if err != nil || m.Every() != 0 {
		t.Errorf("%v, every %s", err, m.Every())
	}
}
