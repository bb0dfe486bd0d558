package token

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"coffer/auth"
	"coffer/engines"
)

// engine serves auth/token/.
type engine struct {
	store *Store
	ttls  engines.TTLs
}

// Engine returns the engine that serves the store's tokens at auth/token/; it uses cfg.TTLs.
func (s *Store) Engine(cfg engines.Config) engines.Engine { return &engine{store: s, ttls: cfg.TTLs} }

// Routes implements engines.Engine.
func (b *engine) Routes() *engines.Routes {
	return engines.Compile(
		engines.Path("create", "Make a token.", engines.OnUpdate(b.create)),
		engines.Path("create-orphan", "Make a token without a parent.", engines.OnUpdate(b.createOrphan)),
		engines.Path("create/{role_name}", "Make a token as a role says.", engines.OnUpdate(b.createWithRole)),
		engines.Path("lookup", "Look up a token.", engines.OnRead(b.lookup), engines.OnUpdate(b.lookup)),
		engines.Path("lookup-self", "Look up the caller's token.",
			engines.OnRead(b.lookupSelf), engines.OnUpdate(b.lookupSelf)),
		engines.Path("lookup-accessor", "Look up a token by its accessor.", engines.OnUpdate(b.lookupAccessor)),
		engines.Path("renew", "Renew a token.", engines.OnUpdate(b.renewToken)),
		engines.Path("renew-self", "Renew the caller's token.", engines.OnUpdate(b.renewSelf)),
		engines.Path("renew-accessor", "Renew a token by its accessor.", engines.OnUpdate(b.renewAccessor)),
		engines.Path("revoke", "Revoke a token and its children.", engines.OnUpdate(b.revoke)),
		engines.Path("revoke-self", "Revoke the caller's token and its children.", engines.OnUpdate(b.revokeSelf)),
		engines.Path("revoke-accessor", "Revoke a token by its accessor.", engines.OnUpdate(b.revokeAccessor)),
		engines.Path("revoke-orphan", "Revoke a token but not its children.",
			engines.OnUpdate(b.revokeOrphan), engines.Sudo()),
		engines.Path("accessors", "List the accessors of all tokens.", engines.OnList(b.listAccessors), engines.Sudo()),
		engines.Path("roles", "List the token roles.", engines.OnList(b.listRoles)),
		engines.Path("roles/{role_name}", "Read, write or delete a token role.",
			engines.Exists(b.roleExists), engines.OnRead(b.readRole), engines.OnWrite(b.writeRole),
			engines.OnDelete(b.deleteRole)),
		engines.Path("tidy", "Put right what faults may have left of tokens.", engines.OnUpdate(b.tidy)),
	)
}

var (
	errMissingID       = engines.Invalid("missing token ID")
	errMissingAccessor = engines.Invalid("%s", engines.Numbered("missing accessor"))
	errBadAccessor     = engines.Invalid("%s", engines.Numbered("invalid accessor"))
)

type tokenParams struct {
	Token string `param:"token" help:"The token."`
}

type accessorParams struct {
	Accessor string `param:"accessor" help:"The accessor of the token."`
}

func (b *engine) lookup(ctx context.Context, r *engines.Request, p tokenParams) (*engines.Response, error) {
	if p.Token == "" || r.Caller.Token.Equal(engines.NewToken(p.Token)) {
		return b.lookupSelf(ctx, r, p)
	}
	e, err := b.store.Authenticate(ctx, engines.NewToken(p.Token))
	if err != nil {
		return nil, err
	}
	return b.describe(ctx, e)
}

// errEnded is told a caller whose token ended since it was let in, in the words of the server's own refusal.
var errEnded = engines.Denied("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")

// lookupSelf takes the parameter "token" and has no use for it, as Vault does.
func (b *engine) lookupSelf(ctx context.Context, r *engines.Request, _ tokenParams) (*engines.Response, error) {
	e, err := b.store.find(ctx, r.Caller.Token)
	if errors.Is(err, ErrBadToken) {
		return nil, errEnded
	}
	if err != nil {
		return nil, err
	}
	return b.describe(ctx, e)
}

func (b *engine) lookupAccessor(ctx context.Context, _ *engines.Request, p accessorParams) (*engines.Response, error) {
	e, err := b.byAccessor(ctx, p.Accessor)
	if err != nil {
		return nil, err
	}
	return b.describe(ctx, e)
}

func (b *engine) byAccessor(ctx context.Context, accessor string) (*Entry, error) {
	if accessor == "" {
		return nil, errMissingAccessor
	}
	e, err := b.store.ByAccessor(ctx, accessor)
	if errors.Is(err, ErrBadToken) {
		return nil, errBadAccessor
	}
	return e, err
}

// describe is what a lookup tells of a token.
func (b *engine) describe(ctx context.Context, e *Entry) (*engines.Response, error) {
	identity, err := b.store.identityPolicies(ctx, e)
	if err != nil {
		return nil, err
	}
	c, l := e.Caller, &e.Life
	var meta any
	if c.Metadata != nil {
		meta = c.Metadata
	}
	data := map[string]any{
		"id": c.Token.Reveal(), "accessor": c.Accessor, "policies": append([]string{}, c.Policies...),
		"path": c.Path, "meta": meta, "display_name": c.DisplayName, "num_uses": e.NumUses,
		"orphan": e.Orphan(), "entity_id": c.EntityID, "type": e.Type(),
		"creation_time": l.Created.Unix(), "creation_ttl": engines.WholeSeconds(l.CreationTTL),
		"explicit_max_ttl": engines.WholeSeconds(l.ExplicitMax), "ttl": engines.WholeSeconds(e.remaining(b.store.now())),
		"expire_time": nil,
	}
	if !e.Unleased {
		data["issue_time"] = stamp(l.Created)
		data["renewable"] = l.Renewable
	}
	if !l.Expires.IsZero() {
		data["expire_time"] = stamp(l.Expires)
	}
	if !l.Renewed.IsZero() {
		data["last_renewal"] = stamp(l.Renewed)
		data["last_renewal_time"] = l.Renewed.Unix()
	}
	if l.Period > 0 {
		data["period"] = engines.WholeSeconds(l.Period)
	}
	if e.Role != "" {
		data["role"] = e.Role
	}
	if len(e.BoundCIDRs) > 0 {
		data["bound_cidrs"] = auth.CIDRTexts(e.BoundCIDRs)
	}
	if len(identity) > 0 {
		data["identity_policies"] = identity
		data["external_namespace_policies"] = map[string]any{}
	}
	return &engines.Response{Data: data}, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

type renewParams struct {
	Token     string        `param:"token" help:"The token to renew."`
	Increment time.Duration `param:"increment" help:"The wished life from now on."`
}

func (b *engine) renewToken(ctx context.Context, r *engines.Request, p renewParams) (*engines.Response, error) {
	if p.Token == "" {
		return nil, errMissingID
	}
	return b.renewOf(ctx, r, engines.NewToken(p.Token), p.Increment)
}

func (b *engine) renewSelf(ctx context.Context, r *engines.Request, p renewParams) (*engines.Response, error) {
	return b.renewOf(ctx, r, r.Caller.Token, p.Increment)
}

func (b *engine) renewOf(
	ctx context.Context, r *engines.Request, t engines.Token, increment time.Duration,
) (*engines.Response, error) {
	e, err := b.store.Authenticate(ctx, t)
	if errors.Is(err, ErrBadToken) {
		return nil, errNoToken
	}
	if err != nil {
		return nil, err
	}
	return b.renewed(ctx, r, e, increment)
}

func (b *engine) renewed(
	ctx context.Context, r *engines.Request, e *Entry, increment time.Duration,
) (*engines.Response, error) {
	e, warnings, err := b.store.renew(ctx, e, increment, b.ttls, r.Client)
	if errors.Is(err, engines.ErrNoRenewal) {
		return &engines.Response{}, nil
	}
	if err != nil {
		return nil, err
	}
	identity, err := b.store.identityPolicies(ctx, e)
	if err != nil {
		return nil, err
	}
	return &engines.Response{Auth: e.auth(identity), Warnings: warnings}, nil
}

type renewAccessorParams struct {
	Accessor  string        `param:"accessor" help:"The accessor of the token to renew."`
	Increment time.Duration `param:"increment" help:"The wished life from now on."`
}

func (b *engine) renewAccessor(
	ctx context.Context, r *engines.Request, p renewAccessorParams,
) (*engines.Response, error) {
	e, err := b.byAccessor(ctx, p.Accessor)
	if err != nil {
		return nil, err
	}
	if !e.Life.Renewable || e.Life.Expires.IsZero() {
		return nil, engines.ErrInvalid
	}
	return b.renewed(ctx, r, e, p.Increment)
}

func (b *engine) revoke(ctx context.Context, _ *engines.Request, p tokenParams) (*engines.Response, error) {
	if p.Token == "" {
		return nil, errMissingID
	}
	return &engines.Response{}, b.store.Revoke(ctx, engines.NewToken(p.Token))
}

func (b *engine) revokeSelf(ctx context.Context, r *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	return &engines.Response{}, b.store.Revoke(ctx, r.Caller.Token)
}

func (b *engine) revokeAccessor(ctx context.Context, _ *engines.Request, p accessorParams) (*engines.Response, error) {
	if p.Accessor == "" {
		return nil, errMissingAccessor
	}
	id := b.store.keys.idOfAccessor(p.Accessor)
	gone, err := b.store.gone(ctx, id)
	if err != nil {
		return nil, err
	}
	if gone {
		return &engines.Response{Warnings: []string{"No token found with this accessor"}}, nil
	}
	return &engines.Response{}, b.store.RevokeID(ctx, id)
}

func (b *engine) revokeOrphan(ctx context.Context, _ *engines.Request, p tokenParams) (*engines.Response, error) {
	if p.Token == "" {
		return nil, errMissingID
	}
	err := b.store.RevokeOrphan(ctx, engines.NewToken(p.Token))
	if errors.Is(err, ErrBadToken) {
		return nil, engines.Invalid("token to revoke not found")
	}
	return &engines.Response{}, err
}

func (b *engine) listAccessors(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	var accessors []string
	err := b.store.each(ctx, entryFolder, func(id string) error {
		e, err := b.store.read(ctx, id)
		switch {
		case err == nil:
			accessors = append(accessors, e.Caller.Accessor)
		case errors.Is(err, ErrCorrupt):
			b.store.log.Error("token record is unreadable", "id", id)
		case !errors.Is(err, ErrBadToken): // it may have been revoked meanwhile
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(accessors)
	return engines.ListResponse(accessors)
}

func (b *engine) tidy(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	if !b.store.Tidy() {
		return &engines.Response{Warnings: []string{"Tidy operation already in progress."}}, nil
	}
	return &engines.Response{Status: 202, NoMountType: true, Warnings: []string{"Tidy operation successfully started. " +
		"Any information from the operation will be printed to Vault's server logs."}}, nil
}

// madeHere reports whether a token was made by this engine and not by an auth method's login.
func madeHere(path string) bool {
	return strings.HasPrefix(path, "auth/token/") || !strings.HasPrefix(path, "auth/")
}
