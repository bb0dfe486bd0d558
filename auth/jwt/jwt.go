// Package jwt is the auth method of tokens that others have signed: JWTs checked against static keys, a JWKS
// or an OpenID provider's keys, and the browser's login at an OpenID provider. It is mounted as type "jwt" or
// "oidc", which are the same. DESIGN.md tells how a login goes.
package jwt

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// Factory is the engines.Factory of the types "jwt" and "oidc".
func Factory(ctx context.Context, cfg engines.Config) (engines.Engine, error) {
	flows, err := newFlows(cfg.Now)
	if err != nil {
		return nil, err
	}
	return &method{
		ctx: ctx, storage: cfg.Storage, logger: cfg.Logger, now: cfg.Now, wall: cfg.Wall, ttls: cfg.TTLs,
		locks: keylock.New(), flows: flows, google: defaultGoogle(),
	}, nil
}

// method is one mount.
type method struct {
	// ctx ends with the mount.
	ctx     context.Context
	storage storage.Storage
	logger  *slog.Logger
	// now is the time of what is kept here, wall that of tokens.
	now, wall func() time.Time
	ttls      engines.TTLs
	locks     *keylock.Set
	flows     *flows
	google    googleAPI

	mu sync.Mutex
	// ready is the stored configuration put to work; nil until it is needed. Guarded by mu.
	ready *setup
}

// Routes implements engines.Engine.
func (m *method) Routes() []engines.Route {
	return []engines.Route{
		engines.Path("config", "Read or replace the configuration.",
			engines.OnRead(m.readConfig), engines.OnUpdate(m.writeConfig)),
		engines.Path("role", "List the roles.", engines.OnList(m.listRoles)),
		engines.Path("role/{name}", "Read, write or delete a role.",
			engines.CaseInsensitive("name"), engines.Exists(m.roleExists),
			engines.OnRead(m.readRole), engines.OnWrite(m.writeRole), engines.OnDelete(m.deleteRole)),
		engines.Path("login", "Log in with a signed token.", engines.Unauthenticated(), engines.OnUpdate(m.login)),
		engines.Path("oidc/auth_url", "Begin a login in the browser.", engines.Unauthenticated(),
			engines.OnUpdate(m.authURL)),
		engines.Path("oidc/callback", "End a login in the browser.", engines.Unauthenticated(),
			engines.OnRead(m.callback), engines.OnUpdate(m.callbackPost)),
		engines.Path("oidc/poll", "Ask for the token of a login that ends elsewhere.", engines.Unauthenticated(),
			engines.OnUpdate(m.poll)),
	}
}

// isMissing reports whether err says that there is nothing under the key, or could not be.
func isMissing(err error) bool {
	return errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey)
}
