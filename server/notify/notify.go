// Package notify tells a service manager how the server is, as sd_notify(3) of systemd describes it: ready, reloading,
// stopping, alive, and a line of text. Without a service manager that asks, it does nothing.
package notify

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// ErrSocket is returned by New for a NOTIFY_SOCKET that is neither a path nor an abstract name.
var ErrSocket = errors.New(`NOTIFY_SOCKET: expected a path that begins with "/", or an abstract name with "@"`)

// maxStatus bounds the line of text, in bytes.
const maxStatus = 512

// Manager is the service manager. Nil is one that does not listen. It is not safe for concurrent use.
type Manager struct {
	conn *net.UnixConn
	// monotonic is the time of CLOCK_MONOTONIC in microseconds.
	monotonic func() (int64, error)
	watchdog  time.Duration
	status    string
}

// New returns the manager that the environment names (NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID), nil when there is
// none. pid is that of this process.
func New(env func(string) string, pid int) (*Manager, error) {
	name := env("NOTIFY_SOCKET")
	if name == "" {
		return nil, nil //nolint:nilnil // nobody listens, which is no error
	}
	if !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "@") || len(name) < 2 {
		return nil, ErrSocket
	}
	// An "@" in front is the abstract name space for net as well.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	m := &Manager{conn: conn, monotonic: monotonic}
	if m.watchdog, err = watchdog(env, pid); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return m, nil
}

func watchdog(env func(string) string, pid int) (time.Duration, error) {
	text := env("WATCHDOG_USEC")
	if text == "" {
		return 0, nil
	}
	if whose := env("WATCHDOG_PID"); whose != "" && whose != strconv.Itoa(pid) {
		return 0, nil
	}
	usec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || usec <= 0 || usec > int64(time.Duration(1<<62)/time.Microsecond) {
		return 0, fmt.Errorf("WATCHDOG_USEC: expected microseconds, got %q", text)
	}
	return time.Duration(usec) * time.Microsecond, nil
}

// Every is how often Alive is to be called: half of the time after which the manager takes the server for hung; 0 for
// never.
func (m *Manager) Every() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog / 2
}

// Ready says that the server serves, after its start and after a reload.
func (m *Manager) Ready() error { return m.send("READY=1") }

// Reloading says that the server reads its configuration again; Ready ends that. The time is what Type=notify-reload
// tells a new reload from an old one by.
func (m *Manager) Reloading() error {
	if m == nil {
		return nil
	}
	usec, err := m.monotonic()
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return m.send("RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(usec, 10))
}

// Stopping says that the server begins to stop.
func (m *Manager) Stopping() error { return m.send("STOPPING=1") }

// Alive keeps the manager's watchdog quiet.
func (m *Manager) Alive() error { return m.send("WATCHDOG=1") }

// Status shows a line of text, such as in `systemctl status`. The same text again is not sent.
func (m *Manager) Status(text string) error {
	if m == nil || text == m.status {
		return nil
	}
	m.status = text
	line := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
	return m.send("STATUS=" + line[:min(len(line), maxStatus)])
}

// Close lets go of the socket.
func (m *Manager) Close() error {
	if m == nil {
		return nil
	}
	return m.conn.Close()
}

// sendTimeout bounds how long a manager that does not read holds the server up.
const sendTimeout = time.Second

func (m *Manager) send(state string) error {
	if m == nil {
		return nil
	}
	if err := m.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	if _, err := m.conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}
