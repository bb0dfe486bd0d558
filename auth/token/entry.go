package token

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"coffer/engines"
)

// Entry is a token as the store knows it. It is shared by all who use the token and never changed.
type Entry struct {
	// Caller is what handlers see of the token's holder.
	Caller *engines.Caller
	// ID names a service token in storage without revealing it; "" for a batch token.
	ID string
	// Parent is the ID of the token that this one does not outlive; "" for an orphan.
	Parent string
	// Role is the token role it was made with.
	Role string
	// BoundCIDRs are the networks it may be used from; none for everywhere. Masks may have host bits.
	BoundCIDRs []netip.Prefix
	// NumUses is how often it may still be used: 0 for without limit, -1 after the last use began.
	NumUses int
	// MaxUses is what NumUses began with.
	MaxUses int
	// Unleased marks the root tokens that the server made itself.
	Unleased bool
	Life     Life
	// Internal is what the auth method gave the login.
	Internal map[string]any
}

// Life is how long a token lives. Durations are 0 where nothing is set.
type Life struct {
	Created time.Time
	// Renewed is zero before the first renewal.
	Renewed time.Time
	// Expires is zero for a token that never ends.
	Expires time.Time
	// CreationTTL is what it was made for, TTL what it was made or last renewed for.
	CreationTTL, TTL time.Duration
	// ExplicitMax bounds the life whatever the mount says; Max is the limit of the auth method.
	ExplicitMax, Max time.Duration
	// Period is what every renewal of a periodic token gives.
	Period    time.Duration
	Renewable bool
}

// spent is NumUses once the last permitted use has begun.
const spent = -1

// Limited reports whether the token's uses are counted: the pipeline must call Store.Use.
func (e *Entry) Limited() bool { return e.NumUses != 0 }

// Spent reports whether the last permitted use has begun.
func (e *Entry) Spent() bool { return e.NumUses == spent }

// Policies are the token's own policies, sorted; not to be changed.
func (e *Entry) Policies() []string { return e.Caller.Policies }

// Type is "service" or "batch".
func (e *Entry) Type() string {
	if e.Caller.Batch {
		return typeBatch
	}
	return typeService
}

// Orphan reports whether the token has no parent.
func (e *Entry) Orphan() bool { return e.Parent == "" }

// LeaseID is the id of the token's lease; "" when it has none.
func (e *Entry) LeaseID() string {
	if e.Unleased || e.ID == "" {
		return ""
	}
	return strings.TrimSuffix(e.Caller.Path, "/") + "/" + e.ID // the path of a wrapped LIST ends in "/"
}

// endBy brings the end forward to a time, unless it comes before that anyway.
func (e *Entry) endBy(t time.Time) {
	if e.Life.Expires.IsZero() || e.Life.Expires.After(t) {
		e.Life.Expires = t
		caller := *e.Caller
		caller.Expires = t
		e.Caller = &caller
	}
}

func (e *Entry) expired(now time.Time) bool {
	return !e.Life.Expires.IsZero() && !now.Before(e.Life.Expires)
}

// clockSlack is how far the clock may go back between two starts: to what was stored last.
const clockSlack = 5 * time.Minute

// ended reports whether the token is of no use at a time: its end has come, or it was made later than that, under a
// clock that was wrong.
func (e *Entry) ended(now time.Time) bool {
	return !e.Life.Expires.IsZero() && (!now.Before(e.Life.Expires) || e.Life.Created.Sub(now) > clockSlack)
}

// withToken returns the entry for the holder of the token's text.
func (e *Entry) withToken(t engines.Token) *Entry {
	entry, caller := *e, *e.Caller
	caller.Token = t
	entry.Caller = &caller
	return &entry
}

// remaining is the rest of the life in whole seconds, counted as Vault counts it.
func (e *Entry) remaining(now time.Time) time.Duration {
	if e.Life.Expires.IsZero() {
		return 0
	}
	return max(0, e.Life.Expires.Sub(now.Round(time.Second)).Truncate(time.Second))
}

// recordVersion is the first byte of what the store writes; what follows is JSON.
const recordVersion = 1

// record is an Entry in storage and in a batch token. Times are Unix nanoseconds, durations nanoseconds.
type record struct {
	Accessor string            `json:"acc,omitempty"`
	Policies []string          `json:"pol,omitempty"`
	Meta     map[string]string `json:"meta,omitzero"`
	Name     string            `json:"name,omitempty"`
	Path     string            `json:"path"`
	Entity   string            `json:"ent,omitempty"`
	Parent   string            `json:"par,omitempty"`
	Role     string            `json:"role,omitempty"`
	CIDRs    []netip.Prefix    `json:"cidr,omitempty"`
	Uses     int               `json:"uses,omitempty"`
	MaxUses  int               `json:"maxu,omitempty"`
	Unleased bool              `json:"nol,omitempty"`
	Internal map[string]any    `json:"int,omitempty"`
	life
}

type life struct {
	Created     int64         `json:"crt"`
	Renewed     int64         `json:"ren,omitempty"`
	Expires     int64         `json:"exp,omitempty"`
	CreationTTL time.Duration `json:"cttl,omitempty"`
	TTL         time.Duration `json:"ttl,omitempty"`
	ExplicitMax time.Duration `json:"emax,omitempty"`
	Max         time.Duration `json:"max,omitempty"`
	Period      time.Duration `json:"per,omitempty"`
	Renewable   bool          `json:"rnw,omitempty"`
}

func (e *Entry) encode() ([]byte, error) {
	c, l := e.Caller, &e.Life
	b, err := json.Marshal(record{
		Accessor: c.Accessor, Policies: c.Policies, Meta: c.Metadata, Name: c.DisplayName, Path: c.Path,
		Entity: c.EntityID, Parent: e.Parent, Role: e.Role, CIDRs: e.BoundCIDRs, Uses: e.NumUses,
		MaxUses: e.MaxUses, Unleased: e.Unleased, Internal: e.Internal,
		life: life{
			Created: nanos(l.Created), Renewed: nanos(l.Renewed), Expires: nanos(l.Expires),
			CreationTTL: l.CreationTTL, TTL: l.TTL, ExplicitMax: l.ExplicitMax, Max: l.Max, Period: l.Period,
			Renewable: l.Renewable,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("token: encode: %w", err)
	}
	return append([]byte{recordVersion}, b...), nil
}

// decode reads the entry of the service token called id, or of a batch token when id is "".
func decode(id string, b []byte) (*Entry, error) {
	if len(b) == 0 || b[0] != recordVersion {
		return nil, fmt.Errorf("%w: %s", ErrCorrupt, id)
	}
	var r record
	if err := json.Unmarshal(b[1:], &r); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrCorrupt, id)
	}
	valid := r.Path != "" && r.Uses >= spent && (id == "" || r.Accessor != "") &&
		!strings.Contains(r.Accessor, "/") && !strings.Contains(r.Parent, "/")
	if !valid {
		return nil, fmt.Errorf("%w: %s", ErrCorrupt, id)
	}
	e := &Entry{
		ID: id, Parent: r.Parent, Role: r.Role, BoundCIDRs: r.CIDRs, NumUses: r.Uses, MaxUses: r.MaxUses,
		Unleased: r.Unleased, Internal: r.Internal,
		Life: Life{
			Created: fromNanos(r.Created), Renewed: fromNanos(r.Renewed), Expires: fromNanos(r.Expires),
			CreationTTL: r.CreationTTL, TTL: r.TTL, ExplicitMax: r.ExplicitMax, Max: r.Max, Period: r.Period,
			Renewable: r.Renewable,
		},
	}
	e.Caller = &engines.Caller{
		Accessor: r.Accessor, Policies: r.Policies, Metadata: r.Meta, DisplayName: r.Name, Path: r.Path,
		EntityID: r.Entity,
	}
	e.complete()
	return e, nil
}

// complete sets what follows from the rest of the entry.
func (e *Entry) complete() {
	c := e.Caller
	c.Batch = e.ID == ""
	c.Root = slices.Contains(c.Policies, rootPolicy)
	c.LimitedUses = e.NumUses != 0
	c.CubbyholeID = e.ID
	c.Expires = e.Life.Expires
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
