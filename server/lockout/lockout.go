// Package lockout counts failed logins and locks users out after too many, as Vault's user lockout does. See
// DESIGN.md.
package lockout

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// folder is where locked users are kept behind the barrier: …/<mount accessor>/<name in base64>.
const folder = "core/lockout/"

// maxCounters bounds how many users of each kind are remembered; those whose last failure is longest ago go
// first. It is far above what can fail within a lockout's time at the speed of bcrypt.
const maxCounters = 10_000

// Policy says when a user is locked out.
type Policy struct {
	// Disabled turns counting off.
	Disabled bool
	// Forced is set when the tuning of a mount must not turn counting off.
	Forced bool
	// Threshold is how many failures in a row lock a user out.
	Threshold uint64
	// Duration is how long a lock lasts after the last failure.
	Duration time.Duration
	// CounterReset is how long after a failure it no longer counts.
	CounterReset time.Duration
}

// User is somebody who logs in at a mount.
type User struct {
	// Accessor is the mount's.
	Accessor string
	// Name is canonical.
	Name string
}

// maxName bounds the names that are kept as they are.
const maxName = 256

// NewUser makes a User. Spellings that a method could take for one user are one here, so that no spelling has a
// counter of its own. A method that takes more for one than case and white space passes on one spelling.
func NewUser(accessor, name string) User {
	name = engines.FoldASCII(strings.TrimSpace(name))
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(name))
		name = "sha256:" + hex.EncodeToString(sum[:])
	}
	return User{Accessor: accessor, Name: name}
}

// Outcome is how a login ended.
type Outcome uint8

// The outcomes of logins.
const (
	// Succeeded is a login with the right credentials.
	Succeeded Outcome = iota + 1
	// Failed is a login with wrong credentials of a user there is.
	Failed
	// FailedUnknown is a login of a user there is not. It is counted all the same, so that a lock does not tell
	// who exists, but apart, so that made-up names do not drive out counters that protect somebody.
	FailedUnknown
)

// Keeper keeps the counters of one session in memory, and the locks of users there are in storage as well. It is
// safe for concurrent use.
type Keeper struct {
	storage storage.Storage
	now     func() time.Time

	// mu guards what follows.
	mu      sync.Mutex
	known   *counters
	unknown *counters
	stored  map[User]time.Time // when the locks in storage end
	// soonest is no later than the first of these ends.
	soonest time.Time
}

// record is a stored lock.
type record struct {
	Failed time.Time `json:"failed"`
	Until  time.Time `json:"until"`
}

// New reads the locks in s, the barrier from its root, and forgets those that are over. A lock that cannot be read
// counts as one that began now; its user is in its key.
func New(ctx context.Context, s storage.Storage, now func() time.Time) (*Keeper, error) {
	k := &Keeper{storage: s, now: now, known: newCounters(maxCounters), unknown: newCounters(maxCounters),
		stored: make(map[User]time.Time)}
	readable := storage.LeaveOut(ctx)
	accessors, err := s.List(readable, folder, "", 0)
	if err != nil {
		return nil, fmt.Errorf("lockout: %w", err)
	}
	for _, accessor := range accessors {
		names, err := s.List(readable, folder+accessor, "", 0)
		if err != nil {
			return nil, fmt.Errorf("lockout: %w", err)
		}
		for _, encoded := range names {
			if err := k.load(ctx, strings.TrimSuffix(accessor, "/"), encoded); err != nil {
				return nil, err
			}
		}
	}
	return k, k.apply(ctx, k.overdueLocked())
}

func (k *Keeper) load(ctx context.Context, accessor, encoded string) error {
	at := folder + accessor + "/" + encoded
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		storage.SetAside(k.storage, at, fmt.Errorf("lockout: %w: %w", storage.ErrDamaged, err))
		return nil
	}
	name := string(text)
	b, err := k.storage.Get(ctx, at)
	var r record
	if err == nil {
		if r, err = decode(b); err != nil {
			storage.SetAside(k.storage, at, err)
		}
	}
	switch {
	case errors.Is(err, storage.ErrDamaged):
		r = record{Failed: k.now().UTC(), Until: k.now().Add(lostLock).UTC()}
	case err != nil:
		return fmt.Errorf("lockout: %w", err)
	}
	u := User{Accessor: accessor, Name: name}
	if now := k.now().UTC(); r.Failed.After(now) {
		// No login fails later than now: the clock was wrong, and the lock counts from now.
		r = record{Failed: now, Until: now.Add(r.Until.Sub(r.Failed))}
	}
	k.stored[u] = r.Until
	c := k.known.make(u)
	c.last, c.locked = r.Failed, true
	return nil
}

// lostLock is how long a lock that cannot be read is kept; in memory it lasts as long as the policy says.
const lostLock = 15 * time.Minute

// decode reads a lock. Its error is a storage.ErrDamaged.
func decode(b []byte) (r record, err error) {
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("lockout: %w: %w", storage.ErrDamaged, err)
	}
	return r, nil
}

func key(u User) string {
	return folder + u.Accessor + "/" + base64.RawURLEncoding.EncodeToString([]byte(u.Name))
}

// Locked reports whether the user is locked out.
func (k *Keeper) Locked(u User, p Policy) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lockedLocked(u, p)
}

func (k *Keeper) lockedLocked(u User, p Policy) bool {
	now := k.now()
	return k.known.get(u).locks(p, now) || k.unknown.get(u).locks(p, now)
}

// Settle notes how a login ended and reports whether it counts at all: of logins that are under way at once
// those that end after the user was locked out do not, even with the right credentials. An error is one of the
// storage; the lock counts in memory all the same.
func (k *Keeper) Settle(ctx context.Context, u User, p Policy, how Outcome) (locked bool, err error) {
	k.mu.Lock()
	if k.lockedLocked(u, p) {
		k.mu.Unlock()
		return true, nil
	}
	var batch []storage.Op
	switch how {
	case Succeeded:
		k.known.drop(u)
		k.unknown.drop(u)
	case FailedUnknown:
		k.unknown.make(u).fail(p, k.now())
	default:
		c := k.known.make(u)
		c.fail(p, k.now())
		if c.locks(p, k.now()) {
			batch = k.lockLocked(u, p, c.last)
		}
	}
	k.mu.Unlock()
	return false, k.apply(ctx, batch)
}

// lockLocked is the change that stores a lock, with those that remove locks that are over. When many are stored
// already, by guesses at many names, a further lock is kept in memory alone.
func (k *Keeper) lockLocked(u User, p Policy, failed time.Time) []storage.Op {
	r := record{Failed: failed.UTC(), Until: failed.Add(p.Duration).UTC()}
	b, err := json.Marshal(r)
	if err != nil {
		return nil // two times are always JSON
	}
	batch := k.overdueLocked()
	if _, stored := k.stored[u]; !stored && len(k.stored) >= maxCounters {
		return batch
	}
	k.stored[u] = r.Until
	if r.Until.Before(k.soonest) {
		k.soonest = r.Until
	}
	return append(batch, storage.Put(key(u), b))
}

// maxOverdue bounds how many locks that are over one change removes.
const maxOverdue = 256

// overdueLocked is the change that removes locks that are over. It looks for them when there can be one.
func (k *Keeper) overdueLocked() (batch []storage.Op) {
	now := k.now()
	if now.Before(k.soonest) {
		return nil
	}
	var soonest time.Time
	for u, until := range k.stored {
		switch {
		case now.Before(until):
			if soonest.IsZero() || until.Before(soonest) {
				soonest = until
			}
		case len(batch) == maxOverdue:
			k.soonest = now // for the others, next time
			return batch
		default:
			delete(k.stored, u)
			batch = append(batch, storage.Delete(key(u)))
		}
	}
	k.soonest = soonest
	return batch
}

func (k *Keeper) apply(ctx context.Context, batch []storage.Op) error {
	if len(batch) == 0 {
		return nil
	}
	if err := k.storage.Apply(ctx, batch...); err != nil {
		return fmt.Errorf("lockout: %w", err)
	}
	return nil
}

// Unlock lets a user log in again.
func (k *Keeper) Unlock(ctx context.Context, u User) error {
	if err := k.apply(ctx, []storage.Op{storage.Delete(key(u))}); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known.drop(u)
	k.unknown.drop(u)
	delete(k.stored, u)
	return nil
}

// Users returns the users there are that are locked out now, sorted; those at one mount, or with accessor "" all.
func (k *Keeper) Users(accessor string) []User {
	k.mu.Lock()
	defer k.mu.Unlock()
	var users []User
	for u, until := range k.stored {
		if k.now().Before(until) && (accessor == "" || u.Accessor == accessor) {
			users = append(users, u)
		}
	}
	slices.SortFunc(users, func(a, b User) int {
		if c := strings.Compare(a.Accessor, b.Accessor); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return users
}
