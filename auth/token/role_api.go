package token

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

var pathSuffix = regexp.MustCompile(`^\w[\w.-]+\w$`)

// roleParams are the settings of a role. What is not sent stays as it is.
type roleParams struct {
	Name              string         `path:"role_name" help:"Name of the role."`
	AllowedPolicies   *[]string      `param:"allowed_policies" as:"name" help:"Policies that tokens may have."`
	Disallowed        *[]string      `param:"disallowed_policies" as:"name" help:"Policies that tokens must not have."`
	AllowedGlobs      *[]string      `param:"allowed_policies_glob" as:"name" help:"Globs of allowed policies."`
	DisallowedGlobs   *[]string      `param:"disallowed_policies_glob" as:"name" help:"Globs of disallowed policies."`
	Orphan            *bool          `param:"orphan" help:"Whether tokens have no parent."`
	Renewable         *bool          `param:"renewable" help:"Whether tokens can be renewed. Default true."`
	PathSuffix        *string        `param:"path_suffix" help:"Appended to the path of tokens, for revoking by prefix."`
	Aliases           *[]string      `param:"allowed_entity_aliases" as:"name" help:"Entity aliases, or globs of them."`
	CIDRs             *[]string      `param:"token_bound_cidrs" as:"network" help:"Networks that tokens may be used from."`
	ExplicitMax       *time.Duration `param:"token_explicit_max_ttl" help:"Longest life of tokens, renewals included."`
	Period            *time.Duration `param:"token_period" help:"Life that each renewal of a token gives."`
	NoDefaultPolicy   *bool          `param:"token_no_default_policy" help:"Whether tokens go without the default policy."`
	NumUses           *int           `param:"token_num_uses" help:"How often a token may be used; 0 for without limit."`
	Type              *string        `param:"token_type" help:"service, batch, default-service or default-batch."`
	LegacyCIDRs       *[]string      `param:"bound_cidrs" old:"token_bound_cidrs" as:"network"`
	LegacyExplicitMax *time.Duration `param:"explicit_max_ttl" old:"token_explicit_max_ttl"`
	LegacyPeriod      *time.Duration `param:"period" old:"token_period"`
}

type roleNameParams struct {
	Name string `path:"role_name" help:"Name of the role."`
}

func (b *engine) roleExists(ctx context.Context, _ *engines.Request, p roleParams) (bool, error) {
	if !auth.ValidName(p.Name) {
		return false, engines.ErrUnsupportedPath
	}
	_, err := b.store.role(ctx, p.Name)
	if errors.Is(err, errNoRole) {
		return false, nil
	}
	return err == nil, err
}

func (b *engine) listRoles(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	names, err := b.store.cfg.Storage.List(ctx, roleFolder, "", 0)
	if err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}

func (b *engine) deleteRole(ctx context.Context, _ *engines.Request, p roleNameParams) (*engines.Response, error) {
	if !auth.ValidName(p.Name) {
		return nil, engines.ErrUnsupportedPath
	}
	return &engines.Response{}, b.store.cfg.Storage.Apply(ctx, storage.Delete(roleFolder+p.Name))
}

func (b *engine) readRole(ctx context.Context, _ *engines.Request, p roleNameParams) (*engines.Response, error) {
	if !auth.ValidName(p.Name) {
		return nil, engines.ErrUnsupportedPath
	}
	r, err := b.store.role(ctx, p.Name)
	if errors.Is(err, errNoRole) {
		return nil, engines.NotFound()
	}
	if err != nil {
		return nil, err
	}
	list := func(l []string) []string { return append([]string{}, l...) }
	data := map[string]any{
		"name":                     r.Name,
		"allowed_policies":         list(r.Policies.Allowed),
		"disallowed_policies":      list(r.Policies.Disallowed),
		"allowed_policies_glob":    list(r.Policies.AllowedGlobs),
		"disallowed_policies_glob": list(r.Policies.DisallowedGlobs),
		"allowed_entity_aliases":   r.Aliases,
		"orphan":                   r.Orphan,
		"renewable":                r.Renewable,
		"path_suffix":              r.PathSuffix,
		"token_explicit_max_ttl":   engines.WholeSeconds(r.Token.ExplicitMax),
		"token_period":             engines.WholeSeconds(r.Token.Period),
		"token_no_default_policy":  r.Token.NoDefaultPolicy,
		"token_type":               r.Token.Type,
		"explicit_max_ttl":         engines.WholeSeconds(r.Old.ExplicitMax),
		"period":                   engines.WholeSeconds(r.Old.Period),
	}
	if len(r.Token.CIDRs) > 0 {
		data["token_bound_cidrs"] = auth.CIDRTexts(r.Token.CIDRs)
	}
	if len(r.Old.CIDRs) > 0 {
		data["bound_cidrs"] = auth.CIDRTexts(r.Old.CIDRs)
	}
	if r.Token.NumUses > 0 {
		data["token_num_uses"] = r.Token.NumUses
	}
	return &engines.Response{Data: data}, nil
}

func (b *engine) writeRole(ctx context.Context, _ *engines.Request, p roleParams) (*engines.Response, error) {
	if !auth.ValidName(p.Name) {
		return nil, engines.ErrUnsupportedPath
	}
	return keylock.Write(ctx, b.store.locks, roleFolder+p.Name, func(ctx context.Context) (*engines.Response, error) {
		r, err := b.store.role(ctx, p.Name)
		if errors.Is(err, errNoRole) {
			r, err = &role{Name: p.Name, Renewable: true, Token: roleToken{Type: typeDefaultService}}, nil
		}
		if err != nil {
			return nil, err
		}
		if err := p.apply(r); err != nil {
			return nil, err
		}
		warnings, err := p.applyRenamed(r)
		if err != nil {
			return nil, err
		}
		if err := r.check(); err != nil {
			return nil, err
		}
		if limit := b.ttls.MaxTTL(); r.Token.ExplicitMax > limit {
			warnings = append(warnings, fmt.Sprintf("Given explicit max TTL of %d is greater than system/mount allowed value "+
				"of %d seconds; until this is fixed attempting to create tokens against this role will result in an error",
				engines.WholeSeconds(r.Token.ExplicitMax), engines.WholeSeconds(limit)))
		}
		return &engines.Response{Warnings: warnings}, b.store.putRole(ctx, r)
	})
}

// apply puts what was sent into the role, but for the settings that have two names.
func (p *roleParams) apply(r *role) error {
	set(&r.Orphan, p.Orphan)
	set(&r.Renewable, p.Renewable)
	set(&r.Token.NoDefaultPolicy, p.NoDefaultPolicy)
	set(&r.Token.NumUses, p.NumUses)
	if r.Token.NumUses < 0 {
		return engines.Invalid("error parsing role fields: 'token_num_uses' cannot be negative")
	}
	if p.PathSuffix != nil {
		if *p.PathSuffix != "" && !pathSuffix.MatchString(*p.PathSuffix) {
			return engines.Invalid(`given role path suffix contains invalid characters; must match \w[\w-.]+\w`)
		}
		r.PathSuffix = *p.PathSuffix
	}
	if p.AllowedPolicies != nil {
		r.Policies.Allowed = auth.CleanPolicies(*p.AllowedPolicies)
	}
	for _, l := range []struct {
		to   *[]string
		from *[]string
	}{
		{&r.Policies.Disallowed, p.Disallowed},
		{&r.Policies.AllowedGlobs, p.AllowedGlobs},
		{&r.Policies.DisallowedGlobs, p.DisallowedGlobs},
		{&r.Aliases, p.Aliases},
	} {
		if l.from != nil {
			*l.to = lowered(*l.from)
		}
	}
	if p.Type != nil {
		switch *p.Type {
		case typeService, typeBatch, typeDefaultService, typeDefaultBatch:
			r.Token.Type = *p.Type
		default:
			return engines.Invalid("invalid 'token_type' value %q", *p.Type)
		}
	}
	return nil
}

// applyRenamed puts in the settings that have an older name as well. The newer name wins.
func (p *roleParams) applyRenamed(r *role) (warnings []string, err error) {
	both := func(name, old string) {
		warnings = append(warnings, fmt.Sprintf(
			"Both '%s' and deprecated '%s' value supplied, ignoring the deprecated value", name, old))
	}
	for _, d := range []struct {
		name, old   string
		now, then   *time.Duration // where they are kept
		sent, sent2 *time.Duration // what was sent by the newer and the older name
	}{
		{"token_period", "period", &r.Token.Period, &r.Old.Period, p.Period, p.LegacyPeriod},
		{"token_explicit_max_ttl", "explicit_max_ttl", &r.Token.ExplicitMax, &r.Old.ExplicitMax,
			p.ExplicitMax, p.LegacyExplicitMax},
	} {
		switch {
		case d.sent != nil:
			*d.now, *d.then = *d.sent, 0
			if d.sent2 != nil {
				both(d.name, d.old)
			}
		case d.sent2 != nil:
			*d.now, *d.then = *d.sent2, *d.sent2
		}
	}
	switch {
	case p.CIDRs != nil:
		if p.LegacyCIDRs != nil {
			both("token_bound_cidrs", "bound_cidrs")
		}
		r.Token.CIDRs, err = auth.ParseCIDRs(*p.CIDRs)
		r.Old.CIDRs = nil
	case p.LegacyCIDRs != nil:
		r.Token.CIDRs, err = auth.ParseCIDRs(*p.LegacyCIDRs)
		r.Old.CIDRs = r.Token.CIDRs
	}
	if err != nil {
		return nil, engines.Invalid("error parsing role fields: %s", err.Error())
	}
	return warnings, nil
}

// check refuses a role whose tokens could not be made.
func (r *role) check() error {
	if r.Token.Type != typeBatch {
		return nil
	}
	var what string
	switch {
	case !r.Orphan:
		what = "non-orphan tokens"
	case r.Token.Period > 0:
		what = "periodic tokens"
	case r.Renewable:
		what = "renewable tokens"
	case r.Token.ExplicitMax > 0:
		what = "tokens with an explicit max TTL"
	default:
		return nil
	}
	return engines.Invalid("'token_type' cannot be 'batch' when role is set to generate %s", what)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
