// Package sys is the engine mounted at "sys/": the server seen from the inside. Each topic has a file with
// its routes, their parameters and the small interface of what it needs of the server.
//
// The handlers that work without a session (init, unseal, seal, health, rekey, generate-root, leader) are
// not here but in server/api.
package sys

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"coffer/engines"
	"coffer/server/monitor"
	"coffer/storage"
)

// Config is what the engine needs of the server. All fields are needed but those that say so.
type Config struct {
	Mounts    Mounts
	Policies  Policies
	Passwords Passwords
	ACLs      ACLs
	Leases    Leases
	Wrapping  Wrapping
	Keys      Keys
	Audit     Audit
	Settings  *Settings
	// Backups and RecoveryBackups are those of unseal keys and of recovery keys.
	Backups, RecoveryBackups Backups
	Lockouts                 Lockouts
	SecondFactors            SecondFactors
	InFlight                 InFlight
	Damaged                  Damaged
	// Raw is the barrier from its root for sys/raw; nil leaves the route out.
	Raw  storage.Storage
	Node Node
	// LogLevel is the level of the server's one logger.
	LogLevel *slog.LevelVar
	// LogLines is what monitor follows; nil leaves the route out.
	LogLines *monitor.Hub
	// Now is the server's time, by which leases end; Wall is that of policies.
	Now, Wall func() time.Time
	// Session ends when the server seals; work that outlives its request lives in it.
	Session context.Context //nolint:containedctx // it is not the context of a call
}

// Node tells what is running and where.
type Node struct {
	// Version is the Vault version whose behaviour is served: "1.21.2".
	Version string
	// APIAddress and ClusterAddress are the URLs of this node.
	APIAddress, ClusterAddress string
	// Sanitized is the configuration without secrets, for sys/config/state/sanitized. It is not changed.
	Sanitized map[string]any
	// LogLevel is the configured level, which DELETE sys/loggers goes back to.
	LogLevel slog.Level
}

type engine struct {
	Config

	moves moves
}

// New returns the engine.
func New(cfg Config) engines.Engine { return &engine{Config: cfg} }

// Routes implements engines.Engine.
func (e *engine) Routes() *engines.Routes {
	return engines.Compile(slices.Concat(
		e.mountRoutes(), e.authRoutes(), e.remountRoutes(), e.policyRoutes(), e.passwordRoutes(), e.capabilityRoutes(),
		e.uiRoutes(), e.catalogRoutes(), e.keyRoutes(), e.leaseRoutes(), e.wrappingRoutes(), e.auditRoutes(),
		e.corsRoutes(), e.headerRoutes(), e.toolRoutes(), e.hostRoutes(), e.loggerRoutes(), e.nodeRoutes(),
		e.rawRoutes(), e.backupRoutes(), e.lockoutRoutes(), e.mfaRoutes(), e.featureRoutes(),
		e.pluginRoutes(), e.damagedRoutes(), e.profileRoutes(), e.monitorRoutes(), absentRoutes(),
	)...)
}

// read answers with data alone.
func read(data map[string]any) (*engines.Response, error) { return &engines.Response{Data: data}, nil }

// flat answers with data that is repeated at the top level, as on the older paths of sys/.
func flat(data map[string]any) (*engines.Response, error) {
	return &engines.Response{Data: data, Flatten: true}, nil
}

// done answers 204.
func done() (*engines.Response, error) { return &engines.Response{}, nil }

// warn answers with warnings alone.
func warn(warnings ...string) (*engines.Response, error) {
	return &engines.Response{Warnings: warnings}, nil
}

// timestamp is a time as the API tells it, or nil for none.
func timestamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}
