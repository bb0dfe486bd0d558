package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"coffer/server/config"
	"coffer/server/core"
	"coffer/server/loglevel"
	"coffer/server/metrics"
)

// gracePeriod is how long requests may still run after the server was told to stop.
const gracePeriod = 30 * time.Second

// service is the server without its network and its process.
type service interface {
	observed
	// Handler serves the API as the listener's settings ask. It is called once for each listener.
	Handler(l config.Listener) http.Handler
	// Reload makes the declared audit devices those of cfg, unless that is nil, and opens the files of all devices anew.
	Reload(cfg *config.Config) error
	// InitDev initialises and unseals an empty store with one key, and mounts KV at secret/ in version kv, unless that
	// is 0. The root token is the one given, or a random one when that is "".
	InitDev(ctx context.Context, rootToken string, kv int) (devSecrets, error)
	// Close seals the server, syncs what it stores and lets it go. No request is running then.
	Close() error
}

// observed is what the process tells its users of the service.
type observed interface {
	// State is cheap enough to be asked for every few seconds.
	State(ctx context.Context) (core.State, error)
	Metrics() *metrics.Metrics
}

// devSecrets is what a development server tells its user.
type devSecrets struct {
	unsealKey string
	rootToken string
}

// startFunc opens the storage and builds the service over it, sealed.
type startFunc func(cfg *config.Config, log *logging) (service, error)

// server is the command "coffer server".
func (p *process) server(ctx context.Context, args []string) int {
	opts, err := parseServerFlags(args, p.env)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(p.stdout, serverUsage)
		return exitOK
	}
	if err == nil {
		err = opts.dev.tls.during(opts.dev.address, func() error { return p.serve(ctx, opts) })
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "%v\n", err)
		return exitError
	}
	return exitOK
}

// serve runs the server until a signal ends it: configuration, log, memory, core, network, signals, and all
// of it backwards.
func (p *process) serve(ctx context.Context, opts *serverOptions) (err error) {
	cfg, warnings, err := opts.load(p.env)
	if err != nil {
		return err
	}
	logged := p.stderr
	if opts.log.combined {
		logged = p.stdout
	}
	log, err := newLogging(cfg.Log, logged)
	if err != nil {
		return fmt.Errorf("log_file: %w", err)
	}
	defer func() { err = errors.Join(err, log.close()) }()
	// What the server prints must not hold it up either.
	stdout := newLogSink(p.stdout, &log.dropped)
	defer stdout.close()
	p.stdout = stdout
	warn(log, opts, warnings)
	if opts.verifyOnly {
		fmt.Fprintln(p.stdout, "The configuration is valid.")
		return nil
	}
	if p.exposed != nil {
		log.Warn("secrets may reach core dumps, and debuggers of the same user", "error", p.exposed)
	}
	locked := p.lockMemory(cfg, log)
	defer p.tuneCollector()()

	found := dataFound(cfg.Storage)
	svc, err := p.start(cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, svc.Close()) }()
	open, err := listen(ctx, svc, cfg.Listeners, log.Logger)
	if err != nil {
		return err
	}
	remove, err := writePIDFile(cfg.PIDFile)
	if err != nil {
		return errors.Join(fmt.Errorf("pid_file: %w", err), open.close())
	}
	defer func() { err = errors.Join(err, remove()) }()

	state, err := svc.State(ctx)
	if err != nil {
		return errors.Join(err, open.close())
	}
	if err := watch(svc.Metrics(), open, log); err != nil {
		return errors.Join(err, open.close())
	}
	p.banner(cfg, open, bannerState{State: state, locked: locked, found: found, dev: opts.dev.enabled})
	checkKeys(cfg, state, log, p.env)
	if opts.dev.enabled {
		if err := p.startDev(ctx, svc, opts, open, log); err != nil {
			return errors.Join(err, open.close())
		}
	}
	return p.untilStopped(ctx, opts, svc, open, log)
}

// watch adds what the process itself measures.
func watch(m *metrics.Metrics, open endpoints, log *logging) error {
	return errors.Join(
		m.Watch(metrics.Reading{Name: metrics.CertificateDays, Label: "listener",
			Help: "Days until the certificate of a listener ends, below zero when it has.", Read: open.certificateDays}),
		m.Watch(metrics.Reading{Name: "vault_log_lines_dropped_total", Counter: true,
			Help: "Lines of the log that could not be written.",
			Read: func() map[string]float64 { return map[string]float64{"": float64(log.dropped.Load())} }}))
}

func warn(log *logging, opts *serverOptions, warnings []config.Warning) {
	for _, use := range opts.ignored {
		log.Warn("flag has no effect in coffer and is ignored", "flag", use.flag, "why", use.why)
	}
	for _, w := range warnings {
		log.Warn(w.String())
	}
}

// untilStopped serves until a signal or a failing listener ends it, then lets the requests finish.
func (p *process) untilStopped(
	ctx context.Context, opts *serverOptions, svc service, open endpoints, log *logging,
) error {
	failed := make(chan error, len(open))
	open.serve(failed)
	following, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { open.follow(following) })
	defer func() {
		stop()
		done.Wait()
	}()
	manager := p.newSupervisor(svc, log)
	defer manager.close()
	manager.ready(ctx)
	for {
		select {
		case err := <-failed:
			manager.stopping()
			return errors.Join(err, p.drain(ctx, open, log))
		case <-manager.ticks:
			manager.tick(ctx)
		case <-manager.watchdog:
			manager.alive()
		case s := <-p.signals:
			if s == syscall.SIGHUP {
				manager.reloading()
				p.reload(opts, svc, open, log)
				manager.ready(ctx)
				continue
			}
			manager.stopping()
			fmt.Fprintln(p.stdout, "==> coffer shutdown triggered")
			log.Info("shutting down", "signal", s.String())
			return p.drain(ctx, open, log)
		}
	}
}

// drain stops listening and waits for the requests that run. A second signal, or the end of the grace
// period, cuts them off; that is logged and no failure, since nothing was promised to them.
func (p *process) drain(ctx context.Context, open endpoints, log *logging) error {
	ctx, cancel := context.WithTimeout(ctx, gracePeriod)
	defer cancel()
	log.lines.Close() // who follows the log does so until it ends
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := open.shutdown(ctx); err != nil {
			log.Warn("requests were cut off", "error", err)
		}
	}()
	for {
		select {
		case <-done:
			return nil
		case s := <-p.signals:
			if s != syscall.SIGHUP {
				cancel()
			}
		}
	}
}

// reload is what SIGHUP does. Each part is tried even when another fails; the server goes on in any case.
func (p *process) reload(opts *serverOptions, svc service, open endpoints, log *logging) {
	cfg, _, cfgErr := opts.load(p.env)
	if cfgErr == nil {
		log.level.Set(cfg.Log.Level)
	} else {
		cfg = nil
	}
	err := errors.Join(cfgErr, open.reload(), log.reopen(), svc.Reload(cfg))
	if err != nil {
		log.Error("reload failed in part; what failed stays as it was", "error", err)
		return
	}
	log.Info("reloaded log level, log file, certificates, client authorities and audit devices",
		"log_level", loglevel.Name(cfg.Log.Level))
}

// writePIDFile writes the process id to path, unless that is "", and returns what removes the file.
func writePIDFile(path string) (remove func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	id := []byte(strconv.Itoa(os.Getpid()) + "\n")
	if err := os.WriteFile(path, id, 0o644); err != nil { //nolint:gosec // Supervisors of other users read it.
		return nil, config.Explain(err)
	}
	return func() error { return os.Remove(path) }, nil
}

// lockMemory keeps secrets out of the swap file, where that is possible and wanted.
func (p *process) lockMemory(cfg *config.Config, log *logging) bool {
	if cfg.DisableMlock {
		return false
	}
	if err := lockMemory(); err != nil {
		log.Warn("memory is not locked: secrets may reach the swap file; allow the process IPC_LOCK, turn swap off or "+
			"set disable_mlock = true", "error", err)
		return false
	}
	return true
}
