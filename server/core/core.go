// Package core is the running server without its network: the life cycle (init, unseal, seal) and the
// one pipeline that every request goes through. Nothing else can call an engine's handler, so nothing
// can forget authorisation or audit.
//
// While the server is sealed there is no session, the value that holds everything secret. Handlers load
// the session once: nil is engines.ErrSealed.
package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"coffer/barrier"
	"coffer/barrier/seal"
	"coffer/engines"
	"coffer/server/ceremony"
	"coffer/server/clock"
	"coffer/server/inflight"
	"coffer/server/lockout"
	"coffer/server/metrics"
	"coffer/server/monitor"
	"coffer/server/mounts"
	"coffer/server/sys"
	"coffer/storage"
)

// Config is what a Core needs to run.
type Config struct {
	// Storage is the physical store; all it sees is encrypted.
	Storage storage.Storage
	// Trouble returns why the storage writes nothing at present, or nil, without waiting for it. Everybody may see the
	// error's text. A nil function is for storage that has no such troubles.
	Trouble func() error
	// Seal opens the server by itself; nil for Shamir's, which operators open.
	Seal   seal.Auto
	Logger *slog.Logger
	// Now is the machine's clock; time.Now but for tests.
	Now func() time.Time
	// Types are the engines that can be mounted.
	Types map[mounts.Kind]map[string]engines.Factory
	Settings
	Build Build
	// Scrub overwrites memory that nothing references any more. It is called a second after keys or their shares were in
	// a request or an answer; nil for never.
	Scrub func()

	// clock is the server's time, which follows Now.
	clock *clock.Clock
}

// Settings are the parts of the configuration that the core itself obeys or shows.
type Settings struct {
	// ClusterName is shown in seal-status and health; one is made at init when it is empty.
	ClusterName string
	// DefaultLeaseTTL and MaxLeaseTTL bound what every mount issues; above zero.
	DefaultLeaseTTL, MaxLeaseTTL time.Duration
	// RawStorage serves sys/raw.
	RawStorage bool
	// TrustClock tells that the machine's clock is right where the data says that it is later.
	TrustClock bool
	// StorageType is the name shown in seal-status: "bolt", "inmem".
	StorageType string
	// APIAddress and ClusterAddress are the URLs of this node, shown to clients.
	APIAddress, ClusterAddress string
	// LogLevel is the level of Logger, which sys/loggers changes.
	LogLevel *slog.LevelVar
	// LogLines is what sys/monitor follows; nil leaves that out.
	LogLines *monitor.Hub
	// Lockout says when users of a type of auth method are locked out; nil for never.
	Lockout func(method string) lockout.Policy
	// AuditDevices are those that the configuration declares; DeclareAudit changes them.
	AuditDevices []sys.AuditDevice
	// Sanitized is the configuration without secrets, for sys/config/state/sanitized.
	Sanitized map[string]any
}

// Build tells what is running.
type Build struct {
	// Version is the Vault version whose behaviour is served, a semantic version; clients compare it.
	Version string
	// Date is when the binary was built, RFC 3339.
	Date string
}

// errSessionOver is returned by what was still running when the server sealed.
var errSessionOver = errors.New("core: the session is over")

// Core is the server.
type Core struct {
	cfg     Config
	unseal  *ceremony.Unseal
	journal *journal
	metrics *metrics.Metrics
	flights inflight.Board
	session atomic.Pointer[session]

	// changing serialises the life cycle: init, unseal and seal.
	changing sync.Mutex
	// drafting has room for one initialisation that makes its server in memory. It is not held with changing.
	drafting chan struct{}
	// opened tells that there was a session since the start.
	opened atomic.Bool
}

// New returns a sealed server over cfg.Storage.
func New(cfg Config) *Core {
	cfg.clock = clock.New(cfg.Now, cfg.Logger)
	c := &Core{cfg: cfg, unseal: ceremony.NewUnseal(cfg.Storage, cfg.Seal),
		journal: &journal{logger: cfg.Logger, now: cfg.clock.Now}, drafting: make(chan struct{}, 1)}
	c.unseal.Expired = expired(cfg, "unseal")
	c.metrics = metrics.New(func() bool { return !c.Sealed() }, c.leaseCount,
		func() bool { return c.storageError() == "" })
	c.metrics.WatchDamage(c.damagedKinds)
	return c
}

// Metrics counts what the server does.
func (c *Core) Metrics() *metrics.Metrics { return c.metrics }

// InFlight lists the requests that are being served, as far as engines serve them.
func (c *Core) InFlight() *inflight.Board { return &c.flights }

// storageError says why nothing is written at present; "" when all is well.
func (c *Core) storageError() string {
	if c.cfg.Trouble == nil {
		return ""
	}
	if err := c.cfg.Trouble(); err != nil {
		return err.Error()
	}
	return ""
}

func (c *Core) leaseCount() int {
	s := c.session.Load()
	if s == nil {
		return 0
	}
	return s.leases.Count()
}

// Now is what the machine's clock says.
func (c *Core) Now() time.Time { return c.cfg.clock.Wall() }

// Sealed reports whether the server is sealed.
func (c *Core) Sealed() bool { return c.session.Load() == nil }

// unlock opens the session with the root key, and makes the changes that come with it. It does nothing when
// there is a session.
func (c *Core) unlock(ctx context.Context, o ceremony.Opening) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.session.Load() != nil {
		return nil
	}
	b, err := barrier.Open(ctx, c.cfg.Storage, o.Root)
	if err != nil {
		return fmt.Errorf("core: unseal: %w", err)
	}
	// The root key is the right one. Only now, and while nothing else can change the records, may they.
	if err := c.changeSeal(ctx, b, o); err != nil {
		return errors.Join(fmt.Errorf("core: unseal: %w", err), b.Close())
	}
	s, err := newSession(ctx, c.cfg, &c.flights, b)
	if err != nil {
		return errors.Join(fmt.Errorf("core: unseal: %w", err), b.Close())
	}
	if err := s.audit.Declare(ctx, c.cfg.AuditDevices); err != nil {
		s.stop()
		return errors.Join(fmt.Errorf("core: unseal: %w", err), b.Close())
	}
	c.settle(ctx, s, o.Shares)
	s.start() // before anybody asks it: what it revokes for others must be at work
	c.session.Store(s)
	c.opened.Store(true)
	c.unseal.Reset()
	c.cfg.Logger.Info("unsealed")
	return nil
}

// expired returns what tells the log that nobody went on with a ceremony, and removes what it left in memory.
func expired(cfg Config, what string) func() {
	return func() {
		cfg.scrubLater()
		cfg.Logger.Info(what+" ended: nobody went on with it", "idle", ceremony.IdleLimit.String())
	}
}

// Seal ends the session: its workers stop and its keys are zeroed. Sealing a sealed server is no error.
func (c *Core) Seal() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	return c.sealLocked()
}

func (c *Core) sealLocked() error {
	s := c.session.Swap(nil)
	if s == nil {
		return nil
	}
	s.interrupt(c.flights.Interrupt)
	err := s.barrier.Close()
	c.cfg.Logger.Info("sealed")
	return err
}

// CORS says which web pages may call the API; none while the server is sealed.
func (c *Core) CORS() sys.CORS {
	s := c.session.Load()
	if s == nil {
		return sys.CORS{}
	}
	return s.settings.CORS()
}

// DeclareAudit makes the audit devices of the configuration these, at once or when the server is unsealed.
func (c *Core) DeclareAudit(ctx context.Context, devices []sys.AuditDevice) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.cfg.AuditDevices = devices
	s := c.session.Load()
	if s == nil {
		return nil
	}
	return s.audit.Declare(ctx, devices)
}

// ReopenAudit opens the files of the audit devices anew, after their rotation.
func (c *Core) ReopenAudit() error {
	s := c.session.Load()
	if s == nil {
		return nil
	}
	return s.audit.Reopen()
}
