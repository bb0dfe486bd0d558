// Package leases keeps every lease of the server, of tokens and of engines' secrets: it knows when each
// ends, ends it on time across restarts, and renews, revokes and lists it.
//
// A lease is one record in storage, a token's own or one kept here, and a few dozen bytes in a heap ordered
// by expiry. The record is the truth; the heap only says when to look at it. See DESIGN.md.
package leases

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/server/workers"
	"coffer/storage"
	"coffer/storage/jobs"
)

// Errors with the texts that clients see. Each is also an engines.ErrInvalid (400).
var (
	// ErrNotFound is returned for a lease that does not exist.
	ErrNotFound error = &engines.Error{Kind: engines.ErrInvalid, Message: "lease not found"}
	// ErrToken is returned by Renew for the lease of a token; auth/token/renew is the way.
	ErrToken error = &engines.Error{Kind: engines.ErrInvalid, Message: "tokens cannot be renewed through this endpoint"}
	// ErrNotRenewable is returned by Renew for a lease that was issued as not renewable.
	ErrNotRenewable error = &engines.Error{Kind: engines.ErrInvalid, Message: "lease is not renewable"}
	// ErrExpired is returned by Renew for a lease whose time is over.
	ErrExpired error = &engines.Error{Kind: engines.ErrInvalid, Message: "lease expired"}
	// ErrPastMax is returned by Renew for a lease that has reached its maximal life.
	ErrPastMax error = &engines.Error{Kind: engines.ErrInvalid, Message: "past the max TTL, cannot renew"}
)

var (
	// errCorrupt is returned for a record that is not one of ours.
	errCorrupt = fmt.Errorf("leases: corrupt lease record: %w", storage.ErrDamaged)
	// errNotStarted is returned for a token's lease before Start.
	errNotStarted = errors.New("leases: not started, so the leases of tokens are not known")
	// errNotLoaded is returned where all leases must be known and could not be loaded.
	errNotLoaded = errors.New("leases: the stored leases could not be loaded")
)

// Where the records live in the barrier.
const (
	recordFolder = "sys/expire/id/"
	// tokenFolder holds, for each token with leased secrets, one key per lease; its value is the lease id.
	tokenFolder = "sys/expire/token/" //nolint:gosec // a path, no credential
)

// Tokens keeps the leases of tokens, whose records are in the tokens' own, and ends the tokens;
// *token.Store is one.
type Tokens interface {
	// Lease returns token.ErrBadToken for a lease that no token has.
	Lease(ctx context.Context, leaseID string) (token.Lease, error)
	// EachLease visits the leases of all stored tokens.
	EachLease(ctx context.Context, visit func(token.Lease)) error
	// RevokeLease revokes the token of a lease with all that hangs on it. Once the token can be neither used
	// nor renewed it calls due, unless that is nil; when due reports false the token was renewed meanwhile
	// and must stay. A token that is gone already is not an error, but its lease may still be known here.
	RevokeLease(ctx context.Context, leaseID string, due func(context.Context) (bool, error)) error
	// RevokeLeases revokes the tokens of some leases, those that were issued up to a time, in as few commits as it can,
	// with all that hangs on them. It returns the leases that no token has now.
	RevokeLeases(ctx context.Context, leaseIDs []string, until time.Time) (gone []string, err error)
	// WhileAlive runs f while the token with that id (Secret.Token) lives: its revocation waits for f. It returns
	// token.ErrBadToken without calling f when the revocation has begun.
	WhileAlive(ctx context.Context, tokenID string, f func() error) error
	// ExpireLease moves the end of a lease to now, durably, and calls SetToken. A token that is gone already
	// is not an error.
	ExpireLease(ctx context.Context, leaseID string) error
	// Alive reports whether the token with that id (Secret.Token) lives.
	Alive(ctx context.Context, tokenID string) (bool, error)
}

// Secrets revokes and renews the secrets of engines. Calls for different leases run concurrently.
type Secrets interface {
	// RevokeSecret takes the secret back. It may be called again for the same lease, after a crash or an
	// error, and must then succeed if there is nothing left to do.
	RevokeSecret(ctx context.Context, l Lease) error
	// RenewSecret asks the engine for more time; the increment is what the client wishes, 0 for the default.
	// The answer's TTL is above zero.
	RenewSecret(ctx context.Context, l Lease, increment time.Duration) (engines.LeaseGrant, error)
}

// Config is what a Manager works with.
type Config struct {
	// Storage is the barrier's root; the manager's keys live below "sys/expire/".
	Storage storage.Storage
	Logger  *slog.Logger
	// Now is the clock, which never goes back; nil for time.Now. Where it jumps ahead of the timers of package time,
	// Wake tells the manager; without that it looks every minute.
	Now func() time.Time
	// TrustClock ends the leases that were issued later than now, when they are loaded.
	TrustClock bool
	// Concurrency bounds the revocations of expired leases that run at once; 0 for 32. Storage gathers
	// their commits, so more of them at once costs little.
	Concurrency int
}

// Manager keeps the leases of one session. It is safe for concurrent use.
type Manager struct {
	store       storage.Storage
	log         *slog.Logger
	now         func() time.Time
	trustClock  bool
	concurrency int

	// tokens and secrets are set by Start, before anything expires.
	tokens  Tokens
	secrets Secrets

	queue queue
	// loaded is closed when all stored leases are known, tried when that was done, or failed once, or was given up.
	loaded, tried chan struct{}
	// revocations are the prefixes that are being revoked, ending in "/". The map is replaced, never changed, by who holds
	// issuing. A lease is issued by who holds issuing for reading.
	revocations atomic.Pointer[map[string]revocation]
	issuing     sync.RWMutex
	// sweeps take back what is below these prefixes, in the background; set by Start.
	sweeps *jobs.Set
	// writing is held from reading the record of a secret's lease until it is changed, where no claim keeps others off.
	writing sync.Mutex
	tidying atomic.Bool
	workers workers.Group
}

// New returns a Manager that can take leases in but knows no tokens' leases and ends none before Start.
func New(cfg Config) *Manager {
	m := &Manager{
		store: cfg.Storage, log: cfg.Logger, now: cfg.Now, trustClock: cfg.TrustClock,
		concurrency: cfg.Concurrency,
		loaded:      make(chan struct{}), tried: make(chan struct{}),
	}
	if m.now == nil {
		m.now = time.Now
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.concurrency <= 0 {
		m.concurrency = 32
	}
	m.queue.init()
	m.revocations.Store(&map[string]revocation{})
	return m
}

// Start loads the stored leases in the background and ends each when its time has come, until ctx is
// done. It returns at once and is called once. secrets may be nil while no engine issues leases.
func (m *Manager) Start(ctx context.Context, tokens Tokens, secrets Secrets) {
	m.tokens, m.secrets = tokens, secrets
	m.sweeps = jobs.New(func(f func(context.Context)) { m.workers.Go(func() { f(ctx) }) }, m.log)
	m.finishRevocations()
	m.workers.Go(func() { m.load(ctx) })
	m.workers.Go(func() { m.expireLoop(ctx) })
}

// Wake has the manager look at its leases again, since the clock has jumped. It does not wait.
func (m *Manager) Wake() { m.queue.wakeUp() }

// Wait returns when everything that Start began has ended; its context must be done.
func (m *Manager) Wait() { m.workers.Wait() }

// Loaded is closed when all stored leases are known. Nothing needs to wait for it but tests and metrics.
func (m *Manager) Loaded() <-chan struct{} { return m.loaded }
