// Package servers builds and runs the servers that the black-box tests and the benchmark talk to: coffer, built from
// this checkout, and the stock HashiCorp Vault it is measured against.
//
// Every server is a process of its own with its own data folder and loopback ports. It never outlives the process that
// started it, and it sees none of the VAULT_ variables of the environment it is started from.
package servers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Kind says which program a Server runs.
type Kind string

// The programs that can be run.
const (
	// Vault is the unmodified HashiCorp Vault of api-tests/stock/vault.
	Vault Kind = "vault"
	// Coffer is ./cmd/coffer of this checkout.
	Coffer Kind = "coffer"
)

// Storage backends understood by Options. OnDisk is the default.
const (
	// OnDisk is single-node raft for Vault and bolt for coffer.
	OnDisk = "disk"
	// InMemory is "inmem" for both; a restart loses everything.
	InMemory = "inmem"
)

// Deadlines of the life cycle; generous, because test machines are slow and shared.
const (
	startDeadline = 60 * time.Second
	stopDeadline  = 30 * time.Second
	pollEvery     = 2 * time.Millisecond
)

// ErrExited is returned when the server process ended although it was expected to serve. The error that wraps it
// carries the exit status and the end of the log.
var ErrExited = errors.New("server process exited")

// ErrNotServing is returned when the server did not answer, or did not become active, within the deadline.
var ErrNotServing = errors.New("server does not serve")

// Options of a Server. The zero value is a server on disk over plain HTTP that logs at level info.
type Options struct {
	Storage  string   // OnDisk (default) or InMemory.
	Listener string   // More lines for the listener block, as HCL.
	Config   string   // More top-level configuration, as HCL.
	Whole    string   // All of the configuration in place of ours; $ADDRESS and $DATA stand for what the test gives it.
	LogLevel string   // trace, debug, info (default), warn or error.
	TLSCert  string   // Certificate file (PEM); with TLSKey the listener speaks TLS, and the certificate is trusted.
	TLSKey   string   // Key file (PEM).
	Env      []string // More environment, "KEY=value".
	Dir      string   // Folder for data, configuration and log; empty: a temporary one that Close removes.
}

// Server is one server process and the folder it keeps its data in. Its methods are meant for one goroutine; only Addr,
// Call and the measuring methods (RSS, PeakRSS, DataSize, LogTail) may be used by others meanwhile.
type Server struct {
	Kind      Kind
	RootToken string   // Set by Init.
	Keys      []string // Unseal keys, hex; set by Init.

	threshold int
	opts      Options
	dir       string
	ownDir    bool
	binary    string
	ports     *Ports
	client    *http.Client
	proc      *Process
}

// Start builds the program when needed, starts it with a fresh data folder and waits until it answers sys/health, which
// it does while uninitialised too. The caller must Close the server.
//
// Errors: ErrExited when the process ended, ErrNotServing after the deadline, and whatever the build says.
func Start(ctx context.Context, kind Kind, opts Options) (*Server, error) {
	s, err := prepare(ctx, kind, opts)
	if err != nil {
		return nil, err
	}
	if err := s.launch(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Prepare does all of Start but starting the process: Launch does that. It is for measuring how long a start takes.
func Prepare(ctx context.Context, kind Kind, opts Options) (*Server, error) {
	return prepare(ctx, kind, opts)
}

// Launch starts a prepared or stopped server and waits until it answers sys/health.
func (s *Server) Launch(ctx context.Context) error { return s.launch(ctx) }

func prepare(ctx context.Context, kind Kind, opts Options) (*Server, error) {
	binary, err := Binary(ctx, kind)
	if err != nil {
		return nil, err
	}
	client, err := newClient(opts.TLSCert)
	if err != nil {
		return nil, err
	}
	ports, err := ReservePorts()
	if err != nil {
		return nil, err
	}
	s := &Server{Kind: kind, opts: opts, dir: opts.Dir, binary: binary, ports: ports, client: client}
	if s.dir == "" {
		s.ownDir = true
		if s.dir, err = os.MkdirTemp("", "coffer-test-"+string(kind)+"-"); err != nil {
			return nil, errors.Join(err, ports.Release())
		}
	}
	if err := s.writeConfig(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Addr is the base URL, such as http://127.0.0.1:20000.
func (s *Server) Addr() string {
	if s.opts.TLSCert != "" {
		return "https://" + s.HostPort()
	}
	return "http://" + s.HostPort()
}

// HostPort is the address that the API listens on, such as 127.0.0.1:20000.
func (s *Server) HostPort() string { return s.ports.First() }

// DataDir is the folder with the server's data.
func (s *Server) DataDir() string { return filepath.Join(s.dir, "data") }

// ConfigFile is the configuration file that the server was started with; Restart reads it again.
func (s *Server) ConfigFile() string { return filepath.Join(s.dir, "config.hcl") }

// LogFile holds what all processes of this server wrote to standard output and standard error.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "server.log") }

// PID is the id of the process, or 0 when none runs.
func (s *Server) PID() int {
	if s.proc == nil {
		return 0
	}
	return s.proc.pid
}

// Configure replaces Options.Config, for the next Launch or Restart.
func (s *Server) Configure(config string) error {
	s.opts.Config = config
	return s.writeConfig()
}

func (s *Server) writeConfig() error {
	if err := os.MkdirAll(s.DataDir(), 0o700); err != nil {
		return err
	}
	if s.opts.Whole != "" {
		text := strings.NewReplacer("$ADDRESS", s.HostPort(), "$DATA", s.DataDir()).Replace(s.opts.Whole)
		return os.WriteFile(s.ConfigFile(), []byte(text), 0o600)
	}
	var b strings.Builder
	switch {
	case s.opts.Storage == InMemory:
		b.WriteString("storage \"inmem\" {}\n")
	case s.Kind == Vault:
		fmt.Fprintf(&b, "storage \"raft\" {\n  path = %q\n  node_id = \"n1\"\n  performance_multiplier = 1\n}\n",
			s.DataDir())
	default:
		fmt.Fprintf(&b, "storage \"bolt\" {\n  path = %q\n}\n", s.DataDir())
	}
	fmt.Fprintf(&b, "listener \"tcp\" {\n  address = %q\n  cluster_address = %q\n", s.ports.First(), s.ports.Second())
	if s.opts.TLSCert != "" {
		fmt.Fprintf(&b, "  tls_cert_file = %q\n  tls_key_file = %q\n", s.opts.TLSCert, s.opts.TLSKey)
	} else {
		b.WriteString("  tls_disable = true\n")
	}
	b.WriteString(s.opts.Listener)
	level := s.opts.LogLevel
	if level == "" {
		level = "info"
	}
	fmt.Fprintf(&b, "\n}\napi_addr = %q\ncluster_addr = %q\ndisable_mlock = true\nlog_level = %q\n%s\n",
		s.Addr(), "https://"+s.ports.Second(), level, s.opts.Config)
	return os.WriteFile(s.ConfigFile(), []byte(b.String()), 0o600)
}

func (s *Server) launch(ctx context.Context) error {
	proc, err := StartProcess(s.binary, []string{"server", "-config=" + s.ConfigFile()},
		append(CleanEnv(), s.opts.Env...), s.LogFile())
	if err != nil {
		return err
	}
	s.proc = proc
	return s.await(ctx, func(status int) bool { return status != 0 })
}

// await polls sys/health until ok accepts its status. A server that does not answer has status 0.
func (s *Server) await(ctx context.Context, ok func(status int) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		last := s.health(ctx)
		if ok(last) {
			return nil
		}
		select {
		case <-s.proc.done:
			return fmt.Errorf("%w: %s: %w\n%s", ErrExited, s.Kind, s.proc.err, s.LogTail(4096))
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: sys/health last said %d: %w\n%s",
				ErrNotServing, s.Kind, last, ctx.Err(), s.LogTail(4096))
		case <-tick.C:
		}
	}
}

// Kill ends the process with SIGKILL and waits for its end. It is no error when it has ended already.
func (s *Server) Kill() error {
	if s.proc == nil {
		return nil
	}
	s.proc.Kill()
	s.proc = nil
	s.client.CloseIdleConnections()
	return nil
}

// Stop ends the process with SIGTERM and waits for it. The error says when it did not exit with status 0, or not at all
// within the deadline (it is killed then).
func (s *Server) Stop() error {
	if s.proc == nil {
		return nil
	}
	s.proc.signal(sigTerm)
	select {
	case <-s.proc.done:
		err := s.proc.err
		s.proc = nil
		s.client.CloseIdleConnections()
		return err
	case <-time.After(stopDeadline):
		return errors.Join(fmt.Errorf("%s did not stop within %v of SIGTERM", s.Kind, stopDeadline), s.Kill())
	}
}

// Signal sends sig to the process. It reports an error when none runs.
func (s *Server) Signal(sig os.Signal) error {
	if s.proc == nil {
		return fmt.Errorf("%s does not run", s.Kind)
	}
	return s.proc.signal(sig)
}

// Exited is closed when the current process has ended. It is nil when none runs.
func (s *Server) Exited() <-chan struct{} {
	if s.proc == nil {
		return nil
	}
	return s.proc.done
}

// Restart stops the process with SIGTERM when it runs, starts a new one on the same data and port, and waits until it
// answers. It is sealed then, as after any start.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.launch(ctx)
}

// Close kills the process, frees its ports and removes its folder unless Options.Dir named one.
func (s *Server) Close() error {
	err := s.Kill()
	err = errors.Join(err, s.ports.Release())
	if s.ownDir {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}
