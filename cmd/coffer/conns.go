package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"coffer/server/api"
)

// maxConnections bounds the connections of one listener. Each of them can make the server hold a few requests.
const maxConnections = 512

// How long a write to a connection may take at least, and how fast what is written must be read beyond that, in bytes a
// second. Answers that are large have a deadline of their own.
const (
	writeGrace = 10 * time.Second
	writeRate  = 128 << 10
)

// crowd is a listener that bounds the number of its connections. One that comes when there are as many takes the place
// of one that is there: of the client with the most, the one on which nothing has happened for the longest time. So
// nobody can keep out others by holding connections.
type crowd struct {
	net.Listener
	limit int
	begun time.Time
	// clock counts the connections that were accepted: the time by which connections are idle.
	clock atomic.Int64

	mu sync.Mutex
	// Guarded by mu. clients are how many connections each has.
	conns   map[*conn]struct{}
	clients map[netip.Prefix]int
}

func newCrowd(l net.Listener, limit int) *crowd {
	return &crowd{Listener: l, limit: limit, begun: time.Now(),
		conns: map[*conn]struct{}{}, clients: map[netip.Prefix]int{}}
}

// Accept implements net.Listener. What it returns are *conn.
func (l *crowd) Accept() (net.Conn, error) { return l.next() }

func (l *crowd) next() (*conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // net/http knows the errors of net
	}
	c := &conn{Conn: accepted, crowd: l, client: networkOf(accepted.RemoteAddr())}
	c.active.Store(l.clock.Add(1))
	c.unproven.Store(-1)
	if idle := l.add(c); idle != nil {
		_ = idle.Close() // it is given up
	}
	return c, nil
}

// add adds a connection, and takes out the one whose place it takes; nil for none.
func (l *crowd) add(c *conn) (idle *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.limit {
		idle = l.idleLocked()
		l.removeLocked(idle)
	}
	l.conns[c] = struct{}{}
	l.clients[c.client]++
	return idle
}

func (l *crowd) idleLocked() (idle *conn) {
	for c := range l.conns {
		if idle == nil || l.clients[c.client] > l.clients[idle.client] ||
			l.clients[c.client] == l.clients[idle.client] && c.active.Load() < idle.active.Load() {
			idle = c
		}
	}
	return idle
}

func (l *crowd) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeLocked(c)
}

func (l *crowd) removeLocked(c *conn) {
	if _, ok := l.conns[c]; !ok {
		return
	}
	delete(l.conns, c)
	if l.clients[c.client]--; l.clients[c.client] == 0 {
		delete(l.clients, c.client)
	}
}

// networkOf is who counts as one client: an address, or in IPv6 the network that one customer is given.
func networkOf(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	network, _ := ip.Prefix(bits) // no error: bits fit
	return network
}

// conn is one connection of a crowd. It has a deadline for all that is written to it, unless who writes sets one.
type conn struct {
	net.Conn
	crowd  *crowd
	client netip.Prefix
	// active is when something was last read or written, in the crowd's time.
	active atomic.Int64
	// unproven is how many bytes the client may still send before its TLS handshake is over; below zero when it is, or
	// there is none.
	unproven atomic.Int64
	// due is the deadline of writes, counted from the crowd's beginning; 0 for none.
	due atomic.Int64
	// paced is set while who writes has set a deadline.
	paced atomic.Bool
}

var errLongHandshake = errors.New("the client's part of the TLS handshake is too long")

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	left := c.unproven.Load()
	switch {
	case left == 0:
		return 0, errLongHandshake
	case left > 0:
		b = b[:min(int64(len(b)), left)]
	}
	n, err := c.Conn.Read(b)
	if left > 0 {
		c.unproven.Store(left - int64(n))
	}
	c.active.Store(c.crowd.clock.Load())
	return n, err //nolint:wrapcheck // net/http knows the errors of net
}

// Write implements net.Conn. A connection whose client reads too slowly is closed.
func (c *conn) Write(b []byte) (int, error) {
	if !c.paced.Load() {
		c.pace(len(b))
	}
	n, err := c.Conn.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = c.Close()
	}
	c.active.Store(c.crowd.clock.Load())
	return n, err //nolint:wrapcheck // net/http knows the errors of net
}

// pace sets the deadline for a write of n bytes. It is set anew only when little of it is left, which is seldom.
func (c *conn) pace(n int) {
	now := time.Since(c.crowd.begun)
	need := writeGrace + time.Duration(int64(n)*int64(time.Second)/writeRate)
	if time.Duration(c.due.Load())-now >= need {
		return
	}
	c.due.Store(int64(now + need + writeGrace))
	_ = c.Conn.SetWriteDeadline(time.Now().Add(need + writeGrace)) // the write fails as well
}

// SetWriteDeadline implements net.Conn. No deadline leaves that of the crowd.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.due.Store(0)
	c.paced.Store(!t.IsZero())
	return c.Conn.SetWriteDeadline(t) //nolint:wrapcheck // it is that of the connection
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// connContext is http.Server.ConnContext. What package api asks of a Unix socket only the connection itself can tell.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if inner, ok := c.(*conn); ok {
		c = inner.Conn
	}
	return api.ConnContext(ctx, c)
}

// CloseWrite lets net/http end its side alone, where the client is still sending.
func (c *conn) CloseWrite() error {
	if tcp, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return tcp.CloseWrite() //nolint:wrapcheck // it is that of the connection
	}
	return c.Close()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.crowd.remove(c)
	return c.Conn.Close() //nolint:wrapcheck // it is that of the connection
}
