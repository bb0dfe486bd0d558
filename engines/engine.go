// Package engines defines what a secrets engine or auth method is: the routes it serves, their typed
// parameters, and the requests, responses and errors that pass between it and the server.
//
// Routes are declared once and everything follows from them: dispatch, parameter decoding, help, the
// create-or-update distinction, sudo and unauthenticated paths, and warnings for unknown parameters.
// An engine sees its own mount's storage and nothing of the server.
package engines

import (
	"context"
	"log/slog"
	"time"

	"coffer/storage"
)

// Engine serves the paths below one mount. Its handlers run concurrently.
type Engine interface {
	// Routes returns the engine's routes. It is called once, when the engine is mounted. Engines of which there may be
	// thousands share those of their type: see RoutesOf.
	Routes() *Routes
}

// LoginRenewer is an auth method whose tokens can be renewed.
type LoginRenewer interface {
	// RenewLogin returns what the method grants the holder of a token now, or an error that refuses the
	// renewal. Identity, policies and metadata of the token stay what they were.
	RenewLogin(ctx context.Context, r *Renewal) (*Login, error)
}

// Renewal is the token of a login that somebody wants to renew.
type Renewal struct {
	// Holder is whose token it is; he need not be the one who asks.
	Holder *Caller
	// Internal is what the method gave the login.
	Internal map[string]any
	// Client is where the request for the renewal came from.
	Client Client
}

// Factory makes the engine of one mount: when the mount is created, and again at every unseal and when
// its options change. It may read and write cfg.Storage. The context ends when the server seals or the
// engine is unmounted. What the engine does beside requests it starts with cfg.Background, and in no other way.
type Factory func(ctx context.Context, cfg Config) (Engine, error)

// Config is what the server hands to a Factory.
type Config struct {
	Mount   Mount
	Storage storage.Storage
	Logger  *slog.Logger
	// Now is the server's time, which never goes back: what the engine lets end is compared with it.
	Now func() time.Time
	// Wall is what the machine's clock says, for times that others have set: in signed tokens and certificates.
	Wall func() time.Time
	// TTLs tells the mount's limits as they are now.
	TTLs TTLs
	// Passwords makes passwords by the password policies of the server.
	Passwords Passwords
	// Background runs work in a goroutine of its own, in the factory or at any time later. The context of work ends when
	// the server seals or the engine is unmounted; both wait for work to return before keys are zeroed or the storage is
	// cleared. Once they have begun to wait, work is not run.
	Background func(work func(ctx context.Context))
}

// Passwords makes passwords by the password policies of the server (sys/policies/password).
type Passwords interface {
	// Password returns a new password by the policy of that name as it is now. The error tells the client which policy
	// is meant when there is none (ErrInvalid), or when none of its passwords is found (ErrFailed).
	Password(ctx context.Context, policy string) (string, error)
}

// TTLs tells how long the tokens and leases that a mount issues may live.
type TTLs interface {
	// DefaultTTL is the life of what is issued without one, above zero and at most MaxTTL.
	DefaultTTL() time.Duration
	// MaxTTL is the longest life, renewals included.
	MaxTTL() time.Duration
}

// Mount describes a mounted engine or auth method to itself.
type Mount struct {
	// Path is where it is mounted, ending in "/": "secret/", or "auth/token/" for an auth method.
	Path string
	// Type is what it was enabled as: "kv", "token".
	Type string
	// UUID names the mount for as long as it lives; remounting keeps it.
	UUID string
	// Accessor is the public handle of the mount: "kv_1a2b3c4d".
	Accessor string
	// Options are the type's own settings, for example {"version": "2"}; never changed in place.
	Options map[string]string
}
