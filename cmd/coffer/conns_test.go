package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// fixed is a listener of connections that are there already, each from an address of its own.
type fixed struct{ conns chan net.Conn }

func (f fixed) Accept() (net.Conn, error) { return <-f.conns, nil }
func (f fixed) Close() error              { return nil }
func (f fixed) Addr() net.Addr            { return &net.TCPAddr{} }

type from struct {
	net.Conn
	client string
}

func (f from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(f.client), Port: 1} }

// dial makes a connection of a client's, and returns both its ends.
func dial(t *testing.T, l *crowd, client string) (here net.Conn, there *conn) {
	t.Helper()
	here, raw := net.Pipe()
	l.Listener.(fixed).conns <- from{raw, client}
	there, err := l.next()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return here, there
}

func isClosed(c *conn) bool {
	return errors.Is(c.SetReadDeadline(time.Time{}), io.ErrClosedPipe)
}

// TestConnectionsAreBounded holds that a connection too many takes the place of an idle one of who has the most.
func TestConnectionsAreBounded(t *testing.T) {
	l := newCrowd(fixed{make(chan net.Conn, 1)}, 4)
	var theirs []*conn
	_, mine := dial(t, l, "10.0.0.1")
	for range 3 {
		here, there := dial(t, l, "10.0.0.2")
		theirs = append(theirs, there)
		go func() { _, _ = here.Write([]byte("xx")) }()
	}
	closed := func() (which []int) {
		for i, c := range append([]*conn{mine}, theirs...) {
			if isClosed(c) {
				which = append(which, i)
			}
		}
		return which
	}
	for _, step := range []struct{ client, want string }{
		{"10.0.0.3", "[2]"},
		{"2001:db8::1", "[2 3]"},
	} {
		if _, err := theirs[0].Read(make([]byte, 1)); err != nil { // it is not idle
			t.Fatal(err)
		}
		dial(t, l, step.client)
		if got := fmt.Sprint(closed()); got != step.want {
			t.Errorf("closed after one of %s: %s, want %s", step.client, got, step.want)
		}
	}
	_ = mine.Close()
	_ = mine.Close()
	if len(l.conns) != 3 || len(l.clients) != 3 {
		t.Errorf("%d connections of %d clients", len(l.conns), len(l.clients))
	}
	if a, b := networkOf(&net.TCPAddr{IP: net.ParseIP("2001:db8::1")}), networkOf(&net.TCPAddr{IP: net.ParseIP("2001:db8::2:3")}); a != b {
		t.Errorf("%v and %v count as two", a, b)
	}
}

// TestWritesEndInTime holds that a client that reads nothing keeps nobody waiting, and that a deadline of who writes
// goes before that of the connection.
func TestWritesEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newCrowd(fixed{make(chan net.Conn, 1)}, 10)
		write := func(c *conn, n int) time.Duration {
			begin := time.Now()
			if _, err := c.Write(make([]byte, n)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a write that nobody reads: %v", err)
			}
			if !isClosed(c) {
				t.Error("the connection stays")
			}
			return time.Since(begin)
		}
		_, c := dial(t, l, "10.0.0.1")
		if took := write(c, 100); took < writeGrace || took > 2*writeGrace+time.Second {
			t.Errorf("a write ended after %v", took)
		}
		// One deadline is for many writes, and each of them has its time.
		here, c := dial(t, l, "10.0.0.1")
		go func() { _, _ = io.CopyN(io.Discard, here, 300) }()
		for range 3 {
			if _, err := c.Write(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			<-time.After(9 * time.Second)
		}
		if took := write(c, 1<<20); took < writeGrace || took > 4*writeGrace {
			t.Errorf("a large write ended after %v", took)
		}
		_, c = dial(t, l, "10.0.0.1")
		_ = c.SetWriteDeadline(time.Now().Add(time.Minute))
		if took := write(c, 100); took != time.Minute {
			t.Errorf("a write with a deadline of a minute ended after %v", took)
		}
		_, c = dial(t, l, "10.0.0.1")
		_ = c.SetWriteDeadline(time.Now().Add(time.Minute))
		_ = c.SetWriteDeadline(time.Time{})
		if took := write(c, 100); took > 2*writeGrace+time.Second {
			t.Errorf("a write after one with a deadline ended after %v", took)
		}
	})
}
