package token

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// Types of token.
const (
	typeService = "service"
	typeBatch   = "batch"
)

var (
	errNoParent  = engines.Invalid("parent token lookup failed: no parent found")
	errDuplicate = engines.Invalid("cannot create a token with a duplicate ID")
)

// draft is a token that is about to be made. Its entry needs neither ID nor accessor.
type draft struct {
	entry *Entry
	batch bool
	// text is the token's text when the client chose it.
	text engines.Token
	// more are changes to be applied with the token's, given its ID ("" for a batch token).
	more func(id string) []storage.Op
}

// add makes the token and returns its entry, with Caller.Token set. Nothing is stored of a batch token; a
// service token and its place below its parent are one commit.
func (s *Store) add(ctx context.Context, d draft) (*Entry, error) {
	if d.batch {
		return s.addBatch(ctx, d)
	}
	if parent := d.entry.Parent; parent != "" {
		// While the lock is held the parent's revocation cannot begin, so it will see this child.
		return keylock.Read(ctx, s.locks, parent, func(ctx context.Context) (*Entry, error) {
			p, err := s.readLocked(ctx, parent)
			if errors.Is(err, ErrBadToken) || (err == nil && p.ended(s.now())) {
				return nil, errNoParent
			}
			if err != nil {
				return nil, err
			}
			return s.addService(ctx, d)
		})
	}
	return s.addService(ctx, d)
}

func (s *Store) addService(ctx context.Context, d draft) (*Entry, error) {
	chosen := !d.text.IsZero()
	if chosen {
		s.customID.Lock()
		defer s.customID.Unlock()
	}
	e := s.name(d.entry, d.text)
	if chosen {
		_, err := s.cfg.Storage.Get(storage.Unbudgeted(ctx), entryKey(e.ID))
		if err == nil {
			return nil, errDuplicate
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
	}
	var done func()
	e.Life.Created, done = s.cfg.Leases.Issue(e.Caller.Path, e.Life.Created)
	defer done()
	ops, err := stage(e)
	if err != nil {
		return nil, err
	}
	if d.more != nil {
		ops = append(ops, d.more(e.ID)...)
	}
	if err := s.cfg.Storage.Apply(ctx, ops...); err != nil {
		return nil, err
	}
	s.watch(e)
	return e, nil
}

func (s *Store) addBatch(ctx context.Context, d draft) (*Entry, error) {
	e := d.entry.withToken(engines.Token{})
	// Seconds are enough, and keep the token short.
	e.Life.Created = e.Life.Created.Truncate(time.Second)
	e.Life.Expires = e.Life.Expires.Truncate(time.Second)
	e.complete()
	t, err := s.keys.sealBatch(e)
	if err != nil {
		return nil, err
	}
	if d.more != nil {
		if ops := d.more(""); len(ops) > 0 {
			if err := s.cfg.Storage.Apply(ctx, ops...); err != nil {
				return nil, err
			}
		}
	}
	return e.withToken(t), nil
}

// errUnfinished settles a login whose token was not made.
var errUnfinished = errors.New("token: not made")

// addAs makes the token of whom an alias names. What is new to identity is part of the token's commit. It
// returns the policies that identity adds as well.
func (s *Store) addAs(ctx context.Context, d draft, a Alias) (e *Entry, identity []string, err error) {
	who, err := s.cfg.Identity.Login(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	outcome := errUnfinished
	defer func() { who.Settle(outcome) }()
	d.entry.Caller.EntityID = who.ID
	own := d.more
	d.more = func(id string) []storage.Op {
		if own == nil {
			return who.Changes
		}
		return slices.Concat(who.Changes, own(id))
	}
	e, outcome = s.add(ctx, d)
	return e, who.Policies, outcome
}

// identityPolicies are what identity adds to a token now.
func (s *Store) identityPolicies(ctx context.Context, e *Entry) ([]string, error) {
	if s.cfg.Identity == nil || e.Caller.EntityID == "" {
		return nil, nil
	}
	return s.cfg.Identity.Policies(ctx, e.Caller.EntityID)
}

// name gives a draft's entry its text, a new one unless one is given, and with it ID and accessor.
func (s *Store) name(e *Entry, t engines.Token) *Entry {
	if t.IsZero() {
		t = newServiceToken(slices.Equal(e.Caller.Policies, []string{rootPolicy}))
	}
	e = e.withToken(t)
	e.Caller.Accessor = s.keys.accessorOf(t)
	e.ID = s.keys.idOfAccessor(e.Caller.Accessor)
	e.MaxUses = e.NumUses
	e.complete()
	return e
}

// stage returns the changes that store a new service token.
func stage(e *Entry) (ops []storage.Op, err error) {
	value, err := e.encode()
	if err != nil {
		return nil, err
	}
	ops = append(make([]storage.Op, 0, 4), storage.Put(entryKey(e.ID), value))
	if e.Parent != "" {
		ops = append(ops, storage.Put(parentKey(e.Parent, e.ID), nil))
	}
	if e.endless() {
		ops = append(ops, storage.Put(endlessKey(e.ID), nil))
	}
	return ops, nil
}

// watch tells the lease manager when a stored token ends.
func (s *Store) watch(e *Entry) {
	if id := e.LeaseID(); id != "" {
		s.cfg.Leases.SetToken(id, e.Life.Expires)
	}
}

// CreateRoot makes a root token that never ends and has no lease, for sys/init and sys/generate-root.
func (s *Store) CreateRoot(ctx context.Context) (engines.Token, error) {
	return s.createRoot(ctx, engines.Token{}, "auth/token/root", "root", true)
}

// CreateRootAs makes a root token with a text of the operator's choice, for the -dev server. When there is
// a token with that text already, it stays as it is.
func (s *Store) CreateRootAs(ctx context.Context, t engines.Token) error {
	_, err := s.createRoot(ctx, t, "auth/token/create", "token", false)
	if errors.Is(err, errDuplicate) {
		return nil
	}
	return err
}

func (s *Store) createRoot(
	ctx context.Context, t engines.Token, path, name string, unleased bool,
) (engines.Token, error) {
	e, err := s.add(ctx, draft{text: t, entry: &Entry{
		Caller:   &engines.Caller{Policies: []string{rootPolicy}, Path: path, DisplayName: name},
		Unleased: unleased, Life: Life{Created: s.now()},
	}})
	if err != nil {
		return engines.Token{}, err
	}
	return e.Caller.Token, nil
}

// IssueAt is where and within which limits a login happened.
type IssueAt struct {
	// Mount is the auth method's path: "auth/approle/". Accessor is its mount accessor.
	Mount, Accessor string
	// Path is the path of the request: "auth/approle/login".
	Path string
	// TTLs are the mount's limits.
	TTLs engines.TTLs
	// Storage is the folder of the method's storage, ending in "/", below which Login.Spend counts.
	Storage string
	// TokenType is the type of token that the mount is tuned to; "" for engines.DefaultServiceToken.
	TokenType string
}

// batchAt tells whether a login yields a batch token: a mount that is tuned to one type has its way, one that
// only has a default leaves it to the method.
func batchAt(mount, method string) bool {
	switch mount {
	case engines.ServiceToken, engines.BatchToken:
		return mount == engines.BatchToken
	}
	switch method {
	case "":
		return mount == engines.DefaultBatchToken
	default:
		return method == engines.BatchToken || method == engines.DefaultBatchToken
	}
}

// Issue makes the token of a successful login. It returns what the client is told, with warnings.
func (s *Store) Issue(ctx context.Context, l *engines.Login, at IssueAt) (*engines.Auth, []string, error) {
	policies := withDefault(auth.CleanPolicies(l.Policies), !l.NoDefaultPolicy)
	if slices.Contains(policies, rootPolicy) {
		return nil, nil, engines.Invalid("auth methods cannot create root tokens")
	}
	for _, name := range []string{wrappingPolicy, controlPolicy} {
		if slices.Contains(policies, name) {
			return nil, nil, engines.Invalid("cannot assign policy %q", name)
		}
	}
	batch := batchAt(at.TokenType, l.Type)
	now := s.now()
	g, warnings, err := loginLimits(l, at.TTLs, time.Time{}).grant(now)
	if err != nil {
		return nil, nil, err
	}
	e := &Entry{
		Caller: &engines.Caller{
			Policies: policies, Metadata: l.Metadata, DisplayName: loginName(at.Mount, l.DisplayName), Path: at.Path,
		},
		BoundCIDRs: l.BoundCIDRs, NumUses: l.NumUses, Internal: l.Internal,
		Life: Life{
			Created: now, Expires: g.expires, CreationTTL: g.ttl, TTL: g.ttl, ExplicitMax: l.ExplicitMaxTTL,
			Max: l.MaxTTL, Period: l.Period, Renewable: !l.NotRenewable && !batch,
		},
	}
	if batch && l.NumUses > 0 {
		// Vault makes such a token and never counts its uses; a limit that limits nothing is refused here.
		return nil, nil, errBatch("num_uses")
	}
	if batch {
		// Nothing renews it: the period is its life, and what the method keeps for a renewal stays out of the token,
		// which travels.
		e.Life.Period, e.Internal = 0, nil
	}
	d, identity := draft{entry: e, batch: batch, more: spend(l.Spend, at.Storage)}, []string(nil)
	if s.cfg.Identity != nil && l.Alias != "" {
		e, identity, err = s.addAs(ctx, d, Alias{
			MountAccessor: at.Accessor, Name: l.Alias, Metadata: l.AliasMetadata, Groups: l.GroupAliases,
		})
	} else {
		e, err = s.add(ctx, d)
	}
	if err != nil {
		return nil, nil, err
	}
	return e.auth(identity), warnings, nil
}

// spend are the changes of a login in the storage's own names.
func spend(ops []storage.Op, folder string) func(string) []storage.Op {
	return func(string) []storage.Op {
		moved := slices.Clone(ops)
		for i := range moved {
			moved[i].Key = folder + moved[i].Key
		}
		return moved
	}
}

func loginLimits(l *engines.Login, mount engines.TTLs, start time.Time) limits {
	return limits{
		mount: mount, requested: l.TTL, period: l.Period, explicit: l.ExplicitMaxTTL, login: l.MaxTTL, start: start,
	}
}

// loginName is the token's display name: the mount's path and the name that the method gave.
func loginName(mount, name string) string {
	source := strings.ReplaceAll(strings.Trim(strings.TrimPrefix(mount, "auth/"), "/"), "/", "-")
	if name == "" {
		return source
	}
	return source + "-" + name
}

// auth is what the holder is told of a token that was made or renewed. identity are the policies of its
// entity.
func (e *Entry) auth(identity []string) *engines.Auth {
	c := e.Caller
	all := c.Policies
	if len(identity) > 0 {
		identity = slices.Compact(slices.Sorted(slices.Values(identity)))
		all = auth.CleanPolicies(slices.Concat(c.Policies, identity))
	}
	return &engines.Auth{
		Token: c.Token, Accessor: c.Accessor, Policies: all, TokenPolicies: c.Policies, IdentityPolicies: identity,
		Metadata: c.Metadata, LeaseDuration: e.Life.TTL, Renewable: e.Life.Renewable, EntityID: c.EntityID,
		TokenType: e.Type(), Orphan: e.Orphan(), NumUses: e.MaxUses,
	}
}

// withDefault adds the default policy to sanitized names, or takes it away. Root stays alone.
func withDefault(names []string, add bool) []string {
	if slices.Equal(names, []string{rootPolicy}) {
		return names
	}
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == defaultPolicy })
	if add {
		names = append(names, defaultPolicy)
		slices.Sort(names)
	}
	return names
}
