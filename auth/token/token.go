// Package token keeps the tokens by which clients are known, and is the engine at auth/token/ through
// which they make, look up, renew and revoke them.
//
// A service token ("hvs.") is a record in storage under a keyed hash of its text; the text itself is
// never stored. A batch token ("hvb.") is its own record, encrypted, and is stored nowhere. See DESIGN.md.
package token

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

var (
	// ErrBadToken is returned for a token that is unknown, malformed, expired, revoked or used up.
	ErrBadToken error = &engines.Error{Kind: engines.ErrDenied, Message: "bad token"}
	// ErrCorrupt is returned for a record that is not one of ours.
	ErrCorrupt = fmt.Errorf("token: corrupt record: %w", storage.ErrDamaged)
)

// Names of policies that are treated apart.
const (
	rootPolicy     = "root"
	defaultPolicy  = "default"
	wrappingPolicy = "response-wrapping"
	controlPolicy  = "control-group"
)

// Leases keeps the clock by which tokens end, and knows which are being revoked with the path that issued them. A
// token's record is its lease: nothing else is stored of it.
type Leases interface {
	// Issue begins to issue a lease at a path. Until the caller, having stored the token and called SetToken, calls done,
	// no revocation of a path begins. The token is made at the time that is returned: the one given, or one just after
	// a revocation that began since.
	Issue(path string, at time.Time) (issued time.Time, done func())
	// Revoking returns what tells whether a token, by the path that issued it and the time, is being revoked with that
	// path; nil while no path is.
	Revoking() func(path string, issued time.Time) bool
	// SetToken says when a token's lease ends, zero for never, once that is durable.
	SetToken(leaseID string, ends time.Time)
	// RemoveToken returns the changes that end the secrets leased with the token whose Entry.ID is tokenID,
	// to be applied together with the token's removal. done forgets the token's lease (leaseID "" when it
	// has none) and is called once they are durable.
	RemoveToken(ctx context.Context, leaseID, tokenID string) (ops []storage.Op, done func(), err error)
}

// Policies tells which policies exist, for warnings.
type Policies interface {
	Exists(ctx context.Context, name string) (bool, error)
}

// Sudoer decides whether a caller holds the sudo capability on a path.
type Sudoer interface {
	Sudo(ctx context.Context, caller *engines.Caller, path string) (bool, error)
}

// Identity knows entities by their aliases: by who logs in at a mount, or whom a role lets a token name.
type Identity interface {
	// Login returns the entity with an alias, making both when the alias is new; an ErrDenied for one that
	// is disabled. Nothing is written: the caller applies Entity.Changes together with the token's own and
	// calls Settle once, soon, with the outcome. Between the two no other login changes anything.
	Login(ctx context.Context, alias Alias) (Entity, error)
	// Policies returns what an entity adds to its tokens, also while it is disabled; nothing for one that is
	// unknown.
	Policies(ctx context.Context, entityID string) ([]string, error)
}

// Alias is the name by which an auth mount knows somebody.
type Alias struct {
	MountAccessor, Name string
	// Metadata is what the method says of the alias; nil changes nothing.
	Metadata map[string]string
	// Groups are the mount's own names of the groups he is in; external groups follow them unless
	// KeepGroups is set.
	Groups     []string
	KeepGroups bool
}

// Entity is who identity says somebody is.
type Entity struct {
	ID string
	// Policies are what the entity and its groups add to its tokens.
	Policies []string
	// Changes are to be applied with the token's; none where the alias was known.
	Changes []storage.Op
	// Settle is told what became of Changes: nil, or why they may not have been written.
	Settle func(error)
}

// Methods asks the auth method at which a token was made what it grants at renewal.
type Methods interface {
	// RenewLogin returns what the method grants now, and the limits of its mount. Its error refuses the
	// renewal. The path of r.Holder leads to the method.
	RenewLogin(ctx context.Context, r *engines.Renewal) (*engines.Login, engines.TTLs, error)
}

// Config is what a Store works with. Identity, Methods and Logger may be nil.
type Config struct {
	// Storage is the barrier's root; the store's keys live below "sys/token/".
	Storage  storage.Storage
	Leases   Leases
	Policies Policies
	Sudo     Sudoer
	Identity Identity
	Methods  Methods
	Logger   *slog.Logger
	// Now is the clock, which never goes back; nil for time.Now.
	Now func() time.Time
	// Ended is called when a token is refused because its time is over and nothing is stored of it; it must not wait.
	// Nil for nobody who wants to know.
	Ended func()
	// CubbyholePrefix is the folder, ending in "/", in which each token's cubbyhole is the folder named by
	// its Caller.CubbyholeID. It is removed with the token.
	CubbyholePrefix string
	// Background runs work that outlives its request until the session ends; nil runs it at once.
	Background func(work func(context.Context))
}

// Store keeps the tokens of one session. It is safe for concurrent use.
type Store struct {
	cfg   Config
	log   *slog.Logger
	now   func() time.Time
	keys  keys
	cache cache

	// locks order the changes of one token among each other: a change holds its token's lock, what only
	// relies on the token's being alive holds it for reading. Nobody takes a second one while holding one.
	locks *keylock.Set

	// customID is held while a token with a name of the client's choice is made, so that it is unique.
	customID sync.Mutex
	tidying  atomic.Bool
	ending   endings
	trees    trees
	underway uses
}

// NewStore opens the tokens in cfg.Storage; in an empty storage it makes the keys they are kept with.
func NewStore(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, log: cfg.Logger, now: cfg.Now, locks: keylock.New()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.cfg.Background == nil {
		s.cfg.Background = func(work func(context.Context)) { work(context.Background()) }
	}
	if s.cfg.Ended == nil {
		s.cfg.Ended = func() {}
	}
	s.cache.init(cacheSize)
	s.ending.counts = make(map[string]int)
	s.trees.init(cfg.Background, s.log)
	s.underway.tokens = make(map[string]underway)
	var err error
	if s.keys, err = openKeys(ctx, cfg.Storage); err == nil {
		err = s.markEndless(ctx)
	}
	if err == nil {
		err = s.loadTrees(ctx)
	}
	return s, err
}

// endings are the tokens whose revocation has begun: nothing can be done with them any more, though their
// records are still there while their children go first.
type endings struct {
	mu sync.Mutex
	// counts is guarded by mu. It counts, since two revocations may run at once.
	counts map[string]int
}

func (e *endings) has(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts[id] > 0
}

// add reports whether nobody else was ending the token.
func (e *endings) add(id string) (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts[id]++
	return e.counts[id] == 1
}

func (e *endings) remove(ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range ids {
		if e.counts[id]--; e.counts[id] <= 0 {
			delete(e.counts, id)
		}
	}
}
