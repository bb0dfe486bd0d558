package cluster

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"
)

// Services stands in for the cluster's DNS and service network, which need nodes: an HTTP proxy that knows where the
// name of a service leads. The operator uses it for all but loopback addresses.
type Services struct {
	listener net.Listener
	server   *http.Server

	mu    sync.Mutex
	table map[string]string // From "name.namespace.svc:port" to "127.0.0.1:port"; mu guards it.
}

// newServices starts the proxy.
func newServices() (*Services, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Services{listener: listener, table: map[string]string{}}
	s.server = &http.Server{
		Handler:           &httputil.ReverseProxy{Rewrite: s.rewrite, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)},
		ReadHeaderTimeout: time.Minute,
	}
	go s.server.Serve(listener) // It ends with close.
	return s, nil
}

// Set makes the service, such as "web.default.svc:80", lead to address, such as "127.0.0.1:20000".
func (s *Services) Set(service, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table[service] = address
}

// rewrite sends a request on. One for a service that is not known goes to its own name and fails there.
func (s *Services) rewrite(r *httputil.ProxyRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if address, ok := s.table[r.In.URL.Host]; ok {
		r.Out.URL.Host = address
	}
}

func (s *Services) url() string { return "http://" + s.listener.Addr().String() }

func (s *Services) close() error {
	if err := s.server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
