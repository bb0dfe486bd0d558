package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"coffer/auth/approle"
	"coffer/auth/cert"
	"coffer/auth/jwt"
	"coffer/auth/kubernetes"
	"coffer/auth/ldap"
	"coffer/auth/userpass"
	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/engines"
	"coffer/engines/kv"
	"coffer/server/api"
	"coffer/server/audit"
	"coffer/server/config"
	"coffer/server/core"
	"coffer/server/lockout"
	"coffer/server/metrics"
	"coffer/server/mounts"
	"coffer/server/sys"
	"coffer/storage"
	"coffer/storage/bolt"
	"coffer/storage/memory"
)

// house is the server put together: storage, core, and the handlers of its listeners.
type house struct {
	cfg    *config.Config
	log    *slog.Logger
	core   *core.Core
	store  store
	bodies *api.BodyGate
	// stopUnsealing ends the attempts to open by the seal, and waits for that.
	stopUnsealing func()
}

// store is a storage that can be closed.
type store interface {
	storage.Storage
	// Trouble returns why nothing is written at present, or nil.
	Trouble() error
	Close() error
}

// untroubled is storage in memory, which can always be written.
type untroubled struct{ *memory.Store }

// Trouble implements store.
func (untroubled) Trouble() error { return nil }

// startCore is where the rooms of the server are put together.
func startCore(cfg *config.Config, log *logging) (service, error) {
	devices, err := declaredAudit(cfg)
	if err != nil {
		return nil, err
	}
	s, err := openStorage(cfg.Storage, !cfg.DisableMlock, log.With(moduleKey, "storage"))
	if err != nil {
		return nil, err
	}
	h := &house{cfg: cfg, log: log.Logger, store: s, bodies: api.NewBodyGate(largestBody(cfg))}
	h.core = core.New(core.Config{
		Storage: s,
		Trouble: s.Trouble,
		Seal:    sealOf(cfg.Seal, os.Getenv),
		Logger:  log.With(moduleKey, "core"),
		Now:     time.Now,
		Scrub:   secret.Scrub,
		Types: map[mounts.Kind]map[string]engines.Factory{
			mounts.Secret: {"kv": kv.Factory, "generic": kv.Factory},
			mounts.Auth: {
				"approle":    approle.Factory,
				"jwt":        jwt.Factory,
				"kubernetes": kubernetes.Factory,
				"oidc":       jwt.Factory,
				"cert":       cert.Factory,
				"ldap":       ldap.Factory,
				"userpass":   userpass.NewFactory(userpass.NewHasher(runtime.GOMAXPROCS(0))),
			},
		},
		Settings: core.Settings{
			ClusterName:     cfg.Cluster.Name,
			DefaultLeaseTTL: cfg.Leases.DefaultTTL,
			MaxLeaseTTL:     cfg.Leases.MaxTTL,
			RawStorage:      cfg.RawStorageEndpoint,
			TrustClock:      os.Getenv("COFFER_TRUST_CLOCK") != "",
			APIAddress:      cfg.Cluster.APIAddr,
			ClusterAddress:  cfg.Cluster.ClusterAddr,
			LogLevel:        log.level,
			LogLines:        log.lines,
			StorageType:     cfg.Storage.Label,
			Sanitized:       sanitized(cfg),
			AuditDevices:    devices,
			Lockout: func(method string) lockout.Policy {
				l := cfg.Lockout(method)
				return lockout.Policy{Disabled: l.Disabled, Forced: l.Forced, Threshold: l.Threshold,
					Duration: l.Duration, CounterReset: l.CounterReset}
			},
		},
		Build: core.Build{Version: vaultVersion, Date: date},
	})
	h.startUnsealing()
	return h, nil
}

// largestBody is the largest size of a body that a listener takes, in bytes.
func largestBody(cfg *config.Config) int64 {
	var largest int64
	for _, l := range cfg.Listeners {
		largest = max(largest, l.Limits.RequestSize)
	}
	return largest
}

// sealOf returns the seal that opens by itself, or nil for Shamir's.
func sealOf(cfg config.Seal, env func(string) string) seal.Auto {
	if cfg.Type != seal.TypeStatic {
		return nil
	}
	keys := []seal.StaticKey{}
	for _, k := range []config.SealKey{cfg.Current, cfg.Previous} {
		if k.ID != "" {
			keys = append(keys, seal.StaticKey{ID: k.ID, Load: func() (secret.Key, error) { return k.Load(env) }})
		}
	}
	return seal.NewStatic(keys[0], keys[1:]...)
}

// startUnsealing opens the server by its seal, if it has one: before it listens, when all is well.
func (h *house) startUnsealing() {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	first := h.core.AutoUnseal(ctx)
	if first != nil {
		done.Go(func() { h.core.KeepUnsealing(ctx, first) })
	}
	h.stopUnsealing = func() {
		cancel()
		done.Wait()
	}
}

// openStorage opens the storage. The file is ciphertext: it stays out of what is locked in memory.
func openStorage(cfg config.Storage, locked bool, log *slog.Logger) (store, error) {
	if cfg.Kind == config.StorageMemory {
		return untroubled{memory.New()}, nil
	}
	var s *bolt.Store
	var err error
	open := func() { s, err = bolt.Open(cfg.File(), bolt.WithLogger(log)) }
	if locked {
		unlockedMapping(open)
	} else {
		open()
	}
	var damage *bolt.DamageError
	switch {
	case errors.As(err, &damage):
		return nil, damage // it names the file
	case errors.Is(err, storage.ErrLocked):
		return nil, fmt.Errorf("storage %s: another server has it open: %w", cfg.File(), err)
	case errors.Is(err, fs.ErrPermission):
		return nil, cfg.Place.Error(config.Explain(err))
	case err != nil:
		return nil, fmt.Errorf("storage %s: %w", cfg.File(), err)
	}
	s.UnlockMapping()
	return s, nil
}

// Handler implements service.
func (h *house) Handler(l config.Listener) http.Handler {
	var forwarded *api.Forwarded
	if f := l.ForwardedFor; len(f.Authorized) > 0 || f.Socket {
		forwarded = &api.Forwarded{Authorized: f.Authorized, Socket: f.Socket, HopSkips: f.HopSkips,
			RejectNotPresent: f.RejectNotPresent, RequireHeader: f.RequireHeader, RejectNotAuthorized: f.RejectNotAuthorized}
	}
	return api.New(api.Config{
		Core:               h.core,
		Logger:             h.log.With(moduleKey, "api"),
		MaxRequestSize:     l.Limits.RequestSize,
		MaxRequestDuration: l.Limits.RequestDuration,
		JSON:               api.JSONLimits(l.Limits.JSON),
		Bodies:             h.bodies,
		Forwarded:          forwarded,
		RequireHeader:      l.RequireRequestHeader,
		OpenMetrics:        l.UnauthenticatedMetrics,
		UI:                 h.cfg.UI,
		GenerateRoot:       accessOf(l.GenerateRoot),
		Rekey:              accessOf(l.Rekey),
	})
}

func accessOf(a config.Access) api.Access {
	switch a {
	case config.AccessEverybody:
		return api.Everybody
	case config.AccessNobody:
		return api.Nobody
	default:
		return api.AtMachine
	}
}

// Reload implements service.
func (h *house) Reload(cfg *config.Config) error {
	var declared error
	if cfg != nil {
		devices, err := declaredAudit(cfg)
		if err == nil {
			err = h.core.DeclareAudit(context.Background(), devices)
		}
		declared = err
	}
	return errors.Join(declared, h.core.ReopenAudit())
}

// declaredAudit are the audit devices of the configuration. What is wrong with them names the place.
func declaredAudit(cfg *config.Config) ([]sys.AuditDevice, error) {
	devices := make([]sys.AuditDevice, 0, len(cfg.Audit))
	var errs []error
	for _, d := range cfg.Audit {
		device := sys.AuditDevice{Path: d.Path + "/", Type: d.Type, Description: d.Description, Options: d.Options}
		if err := audit.CheckDevice(device); err != nil {
			errs = append(errs, d.Place.Error(err))
		}
		devices = append(devices, device)
	}
	return devices, errors.Join(errs...)
}

// State implements service.
func (h *house) State(ctx context.Context) (core.State, error) { return h.core.State(ctx) }

// Metrics implements service.
func (h *house) Metrics() *metrics.Metrics { return h.core.Metrics() }

// InitDev implements service.
func (h *house) InitDev(ctx context.Context, rootToken string, kv int) (devSecrets, error) {
	key, token, err := h.core.InitDev(ctx, engines.NewToken(rootToken), kv)
	if err != nil {
		return devSecrets{}, err
	}
	return devSecrets{unsealKey: key, rootToken: token.Reveal()}, nil
}

// Close implements service.
func (h *house) Close() error {
	h.stopUnsealing()
	return errors.Join(h.core.Seal(), h.store.Close())
}
