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
func (*method) Routes() *engines.Routes { return engines.RoutesOf[*method](routes) }

func routes() []engines.Route {
	return []engines.Route{
		engines.Path("config", "Read or replace the configuration.",
			engines.OnRead(engines.Method((*method).readConfig)), engines.OnUpdate(engines.Method((*method).writeConfig))),
		engines.Path("role", "List the roles.", engines.OnList(engines.Method((*method).listRoles))),
		engines.Path("role/{name}", "Read, write or delete a role.",
			engines.CaseInsensitive("name"), engines.Exists(engines.Method((*method).roleExists)),
			engines.OnRead(engines.Method((*method).readRole)), engines.OnWrite(engines.Method((*method).writeRole)),
			engines.OnDelete(engines.Method((*method).deleteRole))),
		engines.Path("login", "Log in with a signed token.", engines.Unauthenticated(),
			engines.OnUpdate(engines.Method((*method).login))),
		engines.Path("oidc/auth_url", "Begin a login in the browser.", engines.Unauthenticated(),
			engines.OnUpdate(engines.Method((*method).authURL))),
		engines.Path("oidc/callback", "End a login in the browser.", engines.Unauthenticated(),
			engines.OnRead(engines.Method((*method).callback)), engines.OnUpdate(engines.Method((*method).callbackPost))),
		engines.Path("oidc/poll", "Ask for the token of a login that ends elsewhere.", engines.Unauthenticated(),
			engines.OnUpdate(engines.Method((*method).poll))),
	}
}

// isMissing reports whether err says that there is nothing under the key, or could not be.
func isMissing(err error) bool {
	return errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey)
}
