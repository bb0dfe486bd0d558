// Package kubernetes is the auth method by which pods log in with the token of their ServiceAccount. The
// cluster's own API server says whose token it is. DESIGN.md says in which order what is checked.
package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// Keys below the mount.
const (
	configKey  = "config"
	roleFolder = "role/"
)

// method is one mount.
type method struct {
	storage storage.Storage
	log     *slog.Logger
	now     func() time.Time
	ttls    engines.TTLs
	pod     pod
	// gate bounds the logins that wait for the API server, patience how long each of them does.
	gate     gate
	patience time.Duration
	// locks guard the read-modify-write of the configuration and of roles, by their keys.
	locks *keylock.Set
	// config is nil when it has to be read again. Its writers hold the lock of configKey.
	config atomic.Pointer[config]
	// dialing guards cluster, the API server as it was last reached.
	dialing sync.Mutex
	cluster *cluster
}

var _ engines.LoginRenewer = (*method)(nil)

// Factory is the engines.Factory of type "kubernetes".
func Factory(ctx context.Context, cfg engines.Config) (engines.Engine, error) {
	return newMethod(ctx, cfg, podFolder), nil
}

// newMethod makes a mount that finds the pod's own token and CA in a folder.
func newMethod(ctx context.Context, cfg engines.Config, folder string) *method {
	m := &method{
		storage: cfg.Storage, log: cfg.Logger, now: cfg.Wall, ttls: cfg.TTLs, pod: pod{folder: folder},
		gate: newGate(concurrentReviews, waitingReviews), patience: patience, locks: keylock.New(),
	}
	context.AfterFunc(ctx, m.hangUp)
	return m
}

// Routes implements engines.Engine.
func (*method) Routes() *engines.Routes { return engines.RoutesOf[*method](routes) }

func routes() []engines.Route {
	return []engines.Route{
		engines.Path("config", "Configure how the Kubernetes API server is reached.",
			engines.OnRead(engines.Method((*method).readConfig)), engines.OnUpdate(engines.Method((*method).writeConfig))),
		engines.Path("login", "Log in with the token of a ServiceAccount.",
			engines.Unauthenticated(), engines.OnUpdate(engines.Method((*method).login))),
		engines.Path("role", "List the roles.", engines.OnList(engines.Method((*method).listRoles))),
		engines.Path("role/{name}", "Configure which ServiceAccounts may log in, and what tokens they get.",
			engines.CaseInsensitive("name"),
			engines.KeepSpelling("name"),
			engines.Exists(engines.Method((*method).roleExists)), engines.OnRead(engines.Method((*method).readRole)),
			engines.OnWrite(engines.Method((*method).writeRole)),
			engines.OnDelete(engines.Method((*method).deleteRole))),
	}
}

// load reads the JSON of a key into v. It returns storage.ErrNotFound when there is none.
func (m *method) load(ctx context.Context, key string, v any) error {
	raw, err := m.storage.Get(ctx, key)
	if errors.Is(err, storage.ErrInvalidKey) {
		return storage.ErrNotFound
	}
	if err != nil {
		return err
	}
	if json.Unmarshal(raw, v) != nil {
		// The decoder's error could repeat a piece of the value.
		return fmt.Errorf("kubernetes: the record %s is damaged", key)
	}
	return nil
}

func (m *method) save(ctx context.Context, key string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("kubernetes: %s: %w", key, err)
	}
	return m.storage.Apply(ctx, storage.Put(key, raw))
}
