package token

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"coffer/auth"
	"coffer/engines"
)

// createParams are the parameters of auth/token/create and create-orphan. Durations are texts, since
// Vault refuses bad ones in other words than elsewhere.
type createParams struct {
	Role        string
	ID          string            `param:"id" help:"Text of the token; for root and sudo."`
	Policies    any               `param:"policies" as:"name" help:"Policies; those of the parent by default."`
	Meta        map[string]string `param:"meta" help:"Metadata, shown by lookups and in audit entries."`
	NoParent    bool              `param:"no_parent" help:"Make an orphan; for root and sudo."`
	NoDefault   bool              `param:"no_default_policy" help:"Leave the default policy out."`
	Renewable   *bool             `param:"renewable" help:"Whether the token can be renewed. Default true."`
	Lease       string            `param:"lease" old:"ttl" as:"duration"`
	TTL         string            `param:"ttl" as:"duration" help:"Life of the token."`
	Type        string            `param:"type" help:"service or batch."`
	ExplicitMax string            `param:"explicit_max_ttl" as:"duration" help:"Longest life, renewals included."`
	DisplayName string            `param:"display_name" help:"Name shown in audit entries."`
	NumUses     int               `param:"num_uses" help:"How often the token may be used; 0 for without limit."`
	Period      string            `param:"period" as:"duration" help:"Life that each renewal gives; for root and sudo."`
	EntityAlias string            `param:"entity_alias" as:"name" help:"Alias of the entity, if a role allows it."`
}

// createRoleParams are createParams with the role from the path.
type createRoleParams struct {
	Role        string            `path:"role_name" help:"Name of the role."`
	ID          string            `param:"id" help:"Text of the token; for root and sudo."`
	Policies    any               `param:"policies" as:"name" help:"Policies of the token; those of the role by default."`
	Meta        map[string]string `param:"meta" help:"Metadata, shown by lookups and in audit entries."`
	NoParent    bool              `param:"no_parent" help:"Without effect: the role decides."`
	NoDefault   bool              `param:"no_default_policy" help:"Leave the default policy out."`
	Renewable   *bool             `param:"renewable" help:"Whether the token can be renewed. Default true."`
	Lease       string            `param:"lease" old:"ttl" as:"duration"`
	TTL         string            `param:"ttl" as:"duration" help:"Life of the token."`
	Type        string            `param:"type" help:"service or batch, where the role leaves the choice."`
	ExplicitMax string            `param:"explicit_max_ttl" as:"duration" help:"Longest life, renewals included."`
	DisplayName string            `param:"display_name" help:"Name shown in audit entries."`
	NumUses     int               `param:"num_uses" help:"How often the token may be used; 0 for without limit."`
	Period      string            `param:"period" as:"duration" help:"Life that each renewal gives; for root and sudo."`
	EntityAlias string            `param:"entity_alias" as:"name" help:"Alias of the entity, if the role allows it."`
}

const warnCustomID = "Supplying a custom ID for the token uses the weaker SHA1 hashing instead of the more secure " +
	"SHA2-256 HMAC for token obfuscation. SHA1 hashed tokens on the wire leads to less secure lookups."

var displayNameRest = regexp.MustCompile(`[^a-zA-Z0-9-]`)

func (b *engine) create(ctx context.Context, r *engines.Request, p createParams) (*engines.Response, error) {
	return b.createToken(ctx, r, p, false)
}

func (b *engine) createOrphan(ctx context.Context, r *engines.Request, p createParams) (*engines.Response, error) {
	return b.createToken(ctx, r, p, true)
}

func (b *engine) createWithRole(
	ctx context.Context, r *engines.Request, p createRoleParams,
) (*engines.Response, error) {
	if !auth.ValidName(p.Role) {
		return nil, engines.ErrUnsupportedPath
	}
	return b.createToken(ctx, r, createParams(p), false)
}

// creation is one token on its way to be made. Its steps fill the draft.
type creation struct {
	*engine
	createParams
	req    *engines.Request
	parent *Entry
	// role is nil without a role.
	role *role
	// sudo is set when the caller may do what others may not: root, or sudo on the path.
	sudo bool
	// orphan is set by create-orphan, which asks for no more than its own capability.
	orphan bool

	draft    draft
	warnings []string
}

func (b *engine) createToken(
	ctx context.Context, r *engines.Request, p createParams, orphan bool,
) (*engines.Response, error) {
	c := &creation{engine: b, createParams: p, req: r, orphan: orphan}
	c.draft.entry = &Entry{Caller: &engines.Caller{Path: r.FullPath(), Metadata: p.Meta}}
	steps := []func(context.Context) error{
		c.caller, c.readRole, c.kind, c.basics, c.family, c.entity, c.policies, c.life, c.warnOfPolicies,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	e, identity, err := c.add(ctx)
	if err != nil {
		return nil, err
	}
	return &engines.Response{Auth: e.auth(identity), Warnings: c.warnings}, nil
}

// add makes the token, for the entity that was asked for, or for that of its parent. It returns what
// identity adds to its policies as well.
func (c *creation) add(ctx context.Context) (*Entry, []string, error) {
	if c.EntityAlias == "" {
		e, err := c.store.add(ctx, c.draft)
		if err != nil {
			return nil, nil, err
		}
		identity, err := c.store.identityPolicies(ctx, e)
		return e, identity, err
	}
	e, identity, err := c.store.addAs(ctx, c.draft, Alias{
		MountAccessor: c.req.Mount.Accessor, Name: c.EntityAlias, KeepGroups: true,
	})
	if errors.Is(err, engines.ErrDenied) {
		return nil, nil, engines.Denied("entity from given entity alias is disabled")
	}
	return e, identity, err
}

// caller finds out who asks and whether he may make tokens at all.
func (c *creation) caller(ctx context.Context) (err error) {
	c.parent, err = c.store.find(ctx, c.req.Caller.Token)
	switch {
	case errors.Is(err, ErrBadToken):
		return errNoParent
	case err != nil:
		return err
	case c.parent.Caller.Batch:
		return engines.Invalid("batch tokens cannot create more tokens")
	case c.parent.NumUses != 0:
		return engines.Invalid("restricted use token cannot generate child tokens")
	}
	c.sudo = c.parent.Caller.Root
	if !c.sudo {
		c.sudo, err = c.store.cfg.Sudo.Sudo(ctx, c.req.Caller, c.req.FullPath())
	}
	return err
}

func (c *creation) readRole(ctx context.Context) (err error) {
	if c.Role == "" {
		return nil
	}
	c.role, err = c.store.role(ctx, c.Role)
	if errors.Is(err, errNoRole) {
		return engines.Invalid("unknown role %s", c.Role)
	}
	if err == nil {
		c.draft.entry.Role = c.Role
		c.draft.entry.Caller.Path = c.role.tokenPath(c.req.FullPath())
	}
	return err
}

// kind settles whether it is a service or a batch token.
func (c *creation) kind(context.Context) error {
	kind := c.Type
	if c.role != nil {
		switch t := c.role.Token.Type; {
		case t == typeService || t == typeBatch:
			kind = t
		case kind == "" && t == typeDefaultBatch:
			kind = typeBatch
		}
	}
	switch kind {
	case "", typeService:
	case typeBatch:
		c.draft.batch = true
		switch {
		case !isZero(c.ExplicitMax):
			return errBatch("explicit_max_ttl")
		case c.NumUses != 0:
			return errBatch("num_uses")
		case !isZero(c.Period):
			return errBatch("period")
		}
	default:
		return engines.Invalid("invalid 'token_type' value")
	}
	return nil
}

// isZero reports whether a duration was not set, or set to nothing as the vault command does.
func isZero(duration string) bool {
	d, err := engines.ParseDuration(duration)
	return duration == "" || (err == nil && d == 0)
}

func errBatch(what string) error {
	return engines.Invalid("batch tokens cannot have %q set", what)
}

// basics settles the name, the uses, the networks and the token's own text.
func (c *creation) basics(context.Context) error {
	e := c.draft.entry
	e.Caller.DisplayName = "token"
	if c.DisplayName != "" {
		full := displayNameRest.ReplaceAllString("token-"+c.DisplayName, "-")
		e.Caller.DisplayName = strings.TrimSuffix(full, "-")
	}
	if c.NumUses < 0 {
		return engines.Invalid("number of uses cannot be negative")
	}
	e.NumUses, e.BoundCIDRs = c.NumUses, c.parent.BoundCIDRs
	if c.role != nil {
		if c.role.Token.NumUses > 0 {
			if c.draft.batch {
				// Vault makes such a token and never counts its uses; a limit that limits nothing is refused here.
				return errBatch("num_uses")
			}
			e.NumUses = fewer(c.NumUses, c.role.Token.NumUses)
		}
		if len(c.role.Token.CIDRs) > 0 {
			e.BoundCIDRs = c.role.Token.CIDRs
		}
	}
	if c.ID == "" {
		return nil
	}
	switch {
	case !c.sudo:
		return engines.Invalid("root or sudo privileges required to specify token id")
	case strings.HasPrefix(c.ID, servicePrefix):
		return engines.Invalid("custom token ID cannot have the '%s' prefix", servicePrefix)
	case strings.HasPrefix(c.ID, legacyPrefix):
		return engines.Invalid("custom token ID cannot have the '%s' prefix", legacyPrefix)
	case strings.Contains(c.ID, "."):
		return engines.Invalid("custom token ID cannot have a '.' in the value")
	case len(c.ID) > maxToken:
		return engines.Invalid("custom token ID is too long")
	}
	c.draft.text = engines.NewToken(c.ID)
	return nil
}

// family settles whether the token has a parent.
func (c *creation) family(context.Context) error {
	orphan := c.orphan
	switch {
	case c.role != nil:
		orphan = c.role.Orphan
	case c.NoParent && !orphan:
		if !c.sudo {
			return engines.Invalid("root or sudo privileges required to create orphan token")
		}
		orphan = true
	}
	if !orphan {
		c.draft.entry.Parent = c.parent.ID
		c.draft.entry.Caller.EntityID = c.parent.Caller.EntityID
	}
	return nil
}

// entity settles whether the token may have the entity that was asked for.
func (c *creation) entity(context.Context) error {
	if c.EntityAlias == "" {
		return nil
	}
	if c.role == nil {
		return engines.Invalid("'entity_alias' is only allowed in combination with token role")
	}
	if !auth.MatchesAny(c.role.Aliases, engines.FoldASCII(c.EntityAlias)) {
		return engines.Invalid("invalid 'entity_alias' value")
	}
	if c.store.cfg.Identity == nil {
		return engines.Invalid("entity aliases are not supported by this server")
	}
	return nil
}

// life settles how long the token lives.
func (c *creation) life(context.Context) error {
	e := c.draft.entry
	l := limits{mount: c.ttls}
	var err error
	for _, d := range []struct {
		name, text string
		to         *time.Duration
	}{
		{"explicit_max_ttl", c.ExplicitMax, &l.explicit}, {"period", c.Period, &l.period},
		{"lease", c.Lease, &l.requested}, {"ttl", c.TTL, &l.requested},
	} {
		if d.text == "" {
			continue
		}
		if *d.to, err = engines.ParseDuration(d.text); err != nil {
			return engines.Invalid("%s", err.Error())
		}
		if *d.to < 0 {
			return engines.Invalid("%s must be positive", d.name)
		}
	}
	if l.period > 0 && !c.sudo {
		return engines.Invalid("root or sudo privileges required to create periodic token")
	}
	e.Life = Life{
		Created: c.store.now(), ExplicitMax: l.explicit, Period: l.period,
		Renewable: !c.draft.batch && (c.Renewable == nil || *c.Renewable) && (c.role == nil || c.role.Renewable),
	}
	c.roleLife(&l)
	if c.eternal(l) {
		if c.parent.Caller.Root && !c.parent.Life.Expires.IsZero() {
			return engines.Invalid("expiring root tokens cannot create non-expiring root tokens")
		}
		e.Life.Renewable = false
	} else {
		g, warnings, err := l.grant(e.Life.Created)
		if err != nil {
			return err
		}
		if slices.Contains(e.Caller.Policies, rootPolicy) && l.requested == 0 && l.period == 0 {
			warnings = nil // nothing was asked for, so nothing was cut
		}
		c.warnings = append(c.warnings, warnings...)
		e.Life.CreationTTL, e.Life.TTL, e.Life.Expires = g.ttl, g.ttl, g.expires
	}
	if c.ID != "" {
		c.warnings = append(c.warnings, warnCustomID)
	}
	return nil
}

// eternal reports whether the token is a root token that nothing ends.
func (c *creation) eternal(l limits) bool {
	return slices.Equal(c.draft.entry.Caller.Policies, []string{rootPolicy}) &&
		l.requested == 0 && l.period == 0 && l.explicit == 0
}

// roleLife puts the role's limits in; where both set one, the lesser counts.
func (c *creation) roleLife(l *limits) {
	if c.role == nil {
		return
	}
	e, r := c.draft.entry, &c.role.Token
	for _, d := range []struct {
		what       string
		from       time.Duration
		to, stored *time.Duration
	}{
		{"Explicit max TTL", r.ExplicitMax, &l.explicit, &e.Life.ExplicitMax},
		{"Period", r.Period, &l.period, &e.Life.Period},
	} {
		if d.from == 0 || (c.draft.batch && d.to == &l.period) {
			continue // nothing renews a batch token, so a period means nothing to it
		}
		both := *d.to > 0
		*d.to = lesser(*d.to, d.from)
		if both {
			*d.stored = *d.to
			c.warnings = append(c.warnings, fmt.Sprintf(
				"%s specified both during creation call and in role; using the lesser value of %d seconds",
				d.what, engines.WholeSeconds(*d.to)))
		}
	}
}
