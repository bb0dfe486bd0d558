package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"coffer/server/config"
)

// maxHeader bounds the headers of a request in bytes. A Vault token is about 100 bytes, a batch token a few
// hundred; the rest is room for proxies.
const maxHeader = 16 << 10

// endpoint is one address that the API is served on.
type endpoint struct {
	listener net.Listener
	server   *http.Server
	// cert is nil without TLS.
	cert *certificate
}

// address is where the endpoint listens, the port that the system chose included.
func (e *endpoint) address() string { return e.listener.Addr().String() }

// url is the address as VAULT_ADDR takes it.
func (e *endpoint) url() string {
	network, address := e.listener.Addr().Network(), e.address()
	switch {
	case network == "unix":
		return "unix://" + address
	case e.cert != nil:
		return "https://" + reachableAddress(address)
	default:
		return "http://" + reachableAddress(address)
	}
}

// reachableAddress replaces the address of all interfaces by one that a client of this machine can call.
func reachableAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// endpoints are all of them; they start and stop together.
type endpoints []*endpoint

// listen opens every address, or none. Nothing is served until serve.
func listen(ctx context.Context, svc service, listeners []config.Listener, log *slog.Logger) (endpoints, error) {
	var open endpoints
	for _, l := range listeners {
		e, err := newEndpoint(ctx, svc, l, log)
		if err != nil {
			return nil, errors.Join(err, open.close())
		}
		open = append(open, e)
	}
	return open, nil
}

// http2Bounds keep one connection of HTTP/2 from being worth hundreds: what is bounded by the number of connections
// stays so. A client waits for its own earlier requests at most.
func http2Bounds() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: 8, MaxReceiveBufferPerConnection: 128 << 10, MaxReceiveBufferPerStream: 64 << 10,
		MaxReadFrameSize: 16 << 10, // the least; a connection keeps a buffer for the largest that it was sent
	}
}

func newEndpoint(ctx context.Context, svc service, l config.Listener, log *slog.Logger) (*endpoint, error) {
	e := &endpoint{server: &http.Server{
		Handler:           svc.Handler(l),
		ReadHeaderTimeout: l.Timeouts.ReadHeader,
		ReadTimeout:       l.Timeouts.Read,
		WriteTimeout:      l.Timeouts.Write,
		IdleTimeout:       l.Timeouts.Idle,
		MaxHeaderBytes:    maxHeader,
		HTTP2:             http2Bounds(),
		ErrorLog:          newHTTPLog(log.With(moduleKey, "http")),
		ConnContext:       connContext,
	}}
	var err error
	if l.TLS != nil {
		if e.cert, err = newCertificate(l.TLS, log.With(moduleKey, "tls")); err != nil {
			return nil, err
		}
		e.server.TLSConfig = e.cert.server()
	}
	if l.Socket != nil {
		e.listener, err = listenSocket(ctx, l.Address, *l.Socket)
	} else {
		// As in Vault, 0.0.0.0 means IPv4 alone.
		network := "tcp"
		if strings.HasPrefix(l.Address, "0.0.0.0:") {
			network = "tcp4"
		}
		e.listener, err = new(net.ListenConfig).Listen(ctx, network, l.Address)
	}
	if err != nil {
		return nil, l.Place.Error(explainListen(l, err))
	}
	clients := newCrowd(e.listener, maxConnections)
	e.listener = clients
	if e.cert != nil {
		e.listener = newHandshakes(clients, e.server.TLSConfig, l.Timeouts.ReadHeader, log)
	}
	return e, nil
}

// explainListen adds what to do about an address that cannot be had.
func explainListen(l config.Listener, err error) error {
	_, port, _ := net.SplitHostPort(l.Address)
	switch {
	case l.Socket != nil && errors.Is(err, fs.ErrPermission):
		if at := (*net.OpError)(nil); errors.As(err, &at) {
			err = &fs.PathError{Op: "bind", Path: l.Address, Err: syscall.EACCES}
		}
		return config.Explain(err)
	case l.Socket != nil:
		return err
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; another program listens there, maybe another coffer or vault: find it with "+
			"\"ss -ltnp 'sport = :%s'\" and stop it, or choose another port", err, port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w; no interface of this machine has the address: choose one that \"ip address\" lists, or "+
			"\"0.0.0.0:%s\" for all", err, port)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w; ports below 1024 need the capability CAP_NET_BIND_SERVICE: choose a higher port, or add "+
			"AmbientCapabilities=CAP_NET_BIND_SERVICE to the unit", err)
	default:
		return err
	}
}

// serve answers requests in the background. What ends an endpoint before its time is sent to failed.
func (es endpoints) serve(failed chan<- error) {
	for _, e := range es {
		go func() {
			err := e.server.Serve(e.listener)
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("listener %s: %w", e.address(), err)
			}
		}()
	}
}

// shutdown stops listening, waits until all requests are answered or ctx ends, and cuts off the rest.
func (es endpoints) shutdown(ctx context.Context) error {
	errs := make([]error, len(es))
	var all sync.WaitGroup
	for i, e := range es {
		all.Go(func() {
			if err := e.server.Shutdown(ctx); err != nil {
				errs[i] = errors.Join(fmt.Errorf("listener %s: %w", e.address(), err), e.server.Close())
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// close gives the addresses back before anything was served.
func (es endpoints) close() error {
	var errs []error
	for _, e := range es {
		errs = append(errs, e.listener.Close())
	}
	return errors.Join(errs...)
}

// reload reads the certificates again.
func (es endpoints) reload() error {
	var errs []error
	for _, e := range es {
		if e.cert != nil {
			errs = append(errs, e.cert.reload())
		}
	}
	return errors.Join(errs...)
}

// follow reads certificates whose files change, until ctx ends.
func (es endpoints) follow(ctx context.Context) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, e := range es {
				if e.cert != nil {
					e.cert.follow()
				}
			}
		}
	}
}

// certificateDays is how many days the certificate of each listener is good for, by the listener's address.
func (es endpoints) certificateDays() map[string]float64 {
	days := map[string]float64{}
	for _, e := range es {
		if e.cert != nil {
			days[e.address()] = e.cert.left()
		}
	}
	return days
}

// describe is the endpoint's line in the banner.
func (e *endpoint) describe(l config.Listener) string {
	if l.Socket != nil {
		return fmt.Sprintf("unix (addr: %q, mode: %04o, max_request_duration: %q, max_request_size: \"%d\")",
			e.address(), l.Socket.Mode, l.Limits.RequestDuration, l.Limits.RequestSize)
	}
	security := "disabled"
	if e.cert != nil {
		security = "enabled, " + tls.VersionName(l.TLS.MinVersion) + " or later"
	}
	return fmt.Sprintf("tcp (addr: %q, max_request_duration: %q, max_request_size: \"%d\", tls: %q)",
		e.address(), l.Limits.RequestDuration, l.Limits.RequestSize, security)
}
