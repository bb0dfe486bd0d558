package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"
)

// Bounds of what a client sends before it has proved anything. crypto/tls takes certificates of 256 KiB, of which each
// name becomes a hundred times as much memory, and keeps them as long as the connection.
const (
	// maxHandshake is how many bytes a client sends in a handshake. Four certificates with RSA keys of 4096 bits take
	// nine kilobytes.
	maxHandshake = 24 << 10
	// maxCertificates is the length of a client's chain.
	maxCertificates = 8
	// maxParts bounds the names and extensions of all certificates of a chain together.
	maxParts = 300
)

// handshakes is a listener that gives out connections once their TLS handshake is over. Those whose handshake failed
// are given out as well: net/http finds the error again, logs it, and answers who spoke no TLS.
type handshakes struct {
	crowd  *crowd
	config *tls.Config
	// within is the longest that a handshake may take.
	within time.Duration
	log    *slog.Logger

	begin sync.Once
	ready chan accepted
	// closed ends when the listener is closed, and handshakes with it.
	closed context.Context //nolint:containedctx // it is the listener's life
	end    context.CancelFunc
}

type accepted struct {
	conn net.Conn
	err  error
}

func newHandshakes(l *crowd, config *tls.Config, within time.Duration, log *slog.Logger) *handshakes {
	h := &handshakes{crowd: l, config: config.Clone(), within: within, log: log, ready: make(chan accepted)}
	h.closed, h.end = context.WithCancel(context.Background())
	return h
}

// Accept implements net.Listener.
func (h *handshakes) Accept() (net.Conn, error) {
	h.begin.Do(func() { go h.accept() })
	select {
	case a := <-h.ready:
		return a.conn, a.err
	case <-h.closed.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handshakes) Close() error {
	h.end()
	return h.crowd.Close() //nolint:wrapcheck // it is that of the listener
}

// Addr implements net.Listener.
func (h *handshakes) Addr() net.Addr { return h.crowd.Addr() }

func (h *handshakes) accept() {
	for h.closed.Err() == nil {
		c, err := h.crowd.next()
		if err != nil {
			h.give(accepted{err: err}) // net/http waits a little where that helps
			continue
		}
		go h.shake(c)
	}
}

func (h *handshakes) shake(c *conn) {
	defer func() {
		if p := recover(); p != nil { // as net/http has it
			h.log.Error("a TLS handshake panicked", "client", c.client.String(), "panic", p, "stack", string(debug.Stack()))
			_ = c.Close()
		}
	}()
	c.unproven.Store(maxHandshake)
	_ = c.SetDeadline(time.Now().Add(h.within)) // without one the handshake fails
	secure := tls.Server(c, h.config)
	if err := secure.HandshakeContext(h.closed); err == nil {
		_ = c.SetDeadline(time.Time{})
	}
	c.unproven.Store(-1)
	h.give(accepted{conn: secure})
}

func (h *handshakes) give(a accepted) {
	select {
	case h.ready <- a:
	case <-h.closed.Done():
		if a.conn != nil {
			_ = a.conn.Close()
		}
	}
}

var errLargeChain = errors.New("the client's certificates are too many or too large")

// checkChain is tls.Config.VerifyConnection of what certificate loads: it refuses a chain that is not worth what it
// takes to keep.
func checkChain(state tls.ConnectionState) error {
	if n := len(state.PeerCertificates); n > maxCertificates {
		return fmt.Errorf("%w: %d certificates, %d are allowed", errLargeChain, n, maxCertificates)
	}
	parts := 0
	for _, cert := range state.PeerCertificates {
		parts += partsOf(cert)
	}
	if parts > maxParts {
		return fmt.Errorf("%w: %d names and extensions, %d are allowed", errLargeChain, parts, maxParts)
	}
	return nil
}

// partsOf counts what crypto/x509 makes a value of.
func partsOf(c *x509.Certificate) int {
	return len(c.Subject.Names) + len(c.Issuer.Names) + len(c.Extensions) +
		len(c.DNSNames) + len(c.EmailAddresses) + len(c.IPAddresses) + len(c.URIs) +
		len(c.ExtKeyUsage) + len(c.UnknownExtKeyUsage) + len(c.UnhandledCriticalExtensions) +
		len(c.PolicyIdentifiers) + len(c.Policies) + len(c.PolicyMappings) +
		len(c.OCSPServer) + len(c.IssuingCertificateURL) + len(c.CRLDistributionPoints) +
		len(c.PermittedDNSDomains) + len(c.ExcludedDNSDomains) + len(c.PermittedIPRanges) + len(c.ExcludedIPRanges) +
		len(c.PermittedEmailAddresses) + len(c.ExcludedEmailAddresses) +
		len(c.PermittedURIDomains) + len(c.ExcludedURIDomains)
}
