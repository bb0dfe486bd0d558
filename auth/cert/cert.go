// Package cert is the auth method for clients that prove who they are with a certificate, over mutual TLS.
//
// TLS has already shown that the client holds the key of its certificate. What is left is to find a role that
// trusts it: one that names a certificate authority it descends from, or one that names the certificate
// itself. DESIGN.md tells how.
package cert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// Factory is the engines.Factory of type "cert".
func Factory(_ context.Context, cfg engines.Config) (engines.Engine, error) {
	e := &engine{
		storage: cfg.Storage, log: cfg.Logger, now: cfg.Wall, ttls: cfg.TTLs, locks: keylock.New(),
		trust: &trustCache{}, statuses: &statusCache{}, lists: &revocations{},
	}
	cfg.Background(e.refreshLists)
	return e, nil
}

type engine struct {
	storage  storage.Storage
	log      *slog.Logger
	now      func() time.Time
	ttls     engines.TTLs
	locks    *keylock.Set
	trust    *trustCache
	statuses *statusCache
	lists    *revocations
}

// Where the engine keeps what it stores.
const (
	roleFolder = "role/"
	listFolder = "crl/"
	configKey  = "config"
)

// Routes implements engines.Engine.
func (*engine) Routes() *engines.Routes { return engines.RoutesOf[*engine](routes) }

func routes() []engines.Route {
	return []engines.Route{
		engines.Path("config", "Settings of the whole mount.",
			engines.OnRead(engines.Method((*engine).readConfig)), engines.OnUpdate(engines.Method((*engine).writeConfig))),
		engines.Path("login", "Log in with the certificate of the connection.",
			engines.OnUpdate(engines.Method((*engine).login)), engines.Unauthenticated()),
		engines.Path("certs", "List the trusted certificates.", engines.OnList(engines.Method((*engine).listRoles))),
		engines.Path("certs/{name}", "Read, write or delete a trusted certificate.", engines.CaseInsensitive("name"),
			engines.OnRead(engines.Method((*engine).readRole)), engines.OnUpdate(engines.Method((*engine).writeRole)),
			engines.OnDelete(engines.Method((*engine).deleteRole))),
		engines.Path("crls", "List the revocation lists.", engines.OnList(engines.Method((*engine).listLists))),
		engines.Path("crls/{name}", "Read, write or delete a revocation list.", engines.CaseInsensitive("name"),
			engines.OnRead(engines.Method((*engine).readList)), engines.OnUpdate(engines.Method((*engine).writeList)),
			engines.OnDelete(engines.Method((*engine).deleteList))),
	}
}

type nameParams struct {
	Name string `path:"name" help:"Name of the entry."`
}

// list answers with the names in a folder.
func (e *engine) list(ctx context.Context, folder string) (*engines.Response, error) {
	names, err := e.storage.List(ctx, folder, "", 0)
	if err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}

// config are the settings of the mount.
type config struct {
	DisableBinding    bool `json:"disable_binding,omitempty"`
	AliasMetadata     bool `json:"alias_metadata,omitempty"`
	MetadataOnFailure bool `json:"metadata_on_failure,omitempty"`
	// StatusCache and RoleCache are numbers of entries. 0 stands for the default, -1 for no cache.
	StatusCache int `json:"status_cache,omitempty"`
	RoleCache   int `json:"role_cache,omitempty"`
}

// Sizes of the caches.
const (
	defaultStatusCache = 100
	defaultRoleCache   = 200
	maxCache           = 100_000
)

func (e *engine) config(ctx context.Context) (*config, error) {
	c := &config{}
	err := e.read(ctx, configKey, c)
	if errors.Is(err, storage.ErrNotFound) {
		return c, nil
	}
	return c, err
}

// read decodes what is stored at a key. Its error names the key, never what is there.
func (e *engine) read(ctx context.Context, key string, into any) error {
	raw, err := e.storage.Get(ctx, key)
	if err != nil {
		return err
	}
	if err := decode(raw, into); err != nil {
		return fmt.Errorf("cert: %s: %w", key, err)
	}
	return nil
}

func (e *engine) readConfig(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	c, err := e.config(ctx)
	if err != nil {
		return nil, err
	}
	return &engines.Response{Data: map[string]any{
		"disable_binding": c.DisableBinding, "enable_identity_alias_metadata": c.AliasMetadata,
		"enable_metadata_on_failures": c.MetadataOnFailure,
		"ocsp_cache_size":             c.StatusCache, "role_cache_size": c.RoleCache,
	}}, nil
}

type configParams struct {
	DisableBinding *bool `param:"disable_binding" help:"Whether a token can be renewed without the key it was made with."`
	AliasMetadata  *bool `param:"enable_identity_alias_metadata" help:"Whether the alias carries the login's metadata."`
	OnFailure      *bool `param:"enable_metadata_on_failures" help:"Whether a refusal names the certificate."`
	StatusCache    *int  `param:"ocsp_cache_size" help:"How many answers of OCSP servers are remembered."`
	RoleCache      *int  `param:"role_cache_size" help:"How many roles are kept ready; -1 for none."`
}

func (e *engine) writeConfig(ctx context.Context, _ *engines.Request, p configParams) (*engines.Response, error) {
	return keylock.Write(ctx, e.locks, configKey, func(ctx context.Context) (*engines.Response, error) {
		c, err := e.config(ctx)
		if err != nil {
			return nil, err
		}
		if n := p.StatusCache; n != nil && (*n < 2 || *n > maxCache) {
			return nil, engines.Invalid("invalid ocsp cache size, must be >= 2 and <= %d", maxCache)
		}
		if n := p.RoleCache; n != nil && (*n < -1 || *n > maxCache) {
			return nil, engines.Invalid("invalid role cache size, must be <= %d or -1 to disable role caching", maxCache)
		}
		set(&c.DisableBinding, p.DisableBinding)
		set(&c.AliasMetadata, p.AliasMetadata)
		set(&c.MetadataOnFailure, p.OnFailure)
		set(&c.StatusCache, p.StatusCache)
		set(&c.RoleCache, p.RoleCache)
		op, err := put(configKey, c)
		if err != nil {
			return nil, err
		}
		if err := e.storage.Apply(ctx, op); err != nil {
			return nil, err
		}
		e.trust.forget()
		e.statuses.forget()
		return &engines.Response{}, nil
	})
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
