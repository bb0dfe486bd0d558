package approle

import (
	"context"
	"errors"
	"time"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage/keylock"
)

// property is a setting of a role that has a path of its own.
type property struct {
	path, synopsis string
	show           func(*role) map[string]any
	// warning goes with every read.
	warning string
	// set puts in what was sent; it returns an error for the client. nil for a setting that only is read.
	set func(*engine, *role, roleParams) error
	// clear puts back the default.
	clear func(*role)
}

var localSecretIDs = property{show: func(r *role) map[string]any { return map[string]any{"local_secret_ids": r.Local} }}

// missing is the answer to a write that does not name the setting.
func missing(name string) error { return engines.Invalid("missing %s", name) }

func properties() []property {
	return append(secretProperties(), tokenProperties()...)
}

func secretProperties() []property {
	return []property{{
		path: "bind-secret-id", synopsis: "Whether a login needs a secret id.",
		show: func(r *role) map[string]any { return map[string]any{"bind_secret_id": r.BindSecretID} },
		set: func(_ *engine, r *role, p roleParams) error {
			if p.BindSecretID == nil {
				return missing("bind_secret_id")
			}
			r.BindSecretID = *p.BindSecretID
			return nil
		},
		clear: func(r *role) { r.BindSecretID = true },
	}, {
		path: "secret-id-num-uses", synopsis: "How often a secret id can be used.",
		show: func(r *role) map[string]any { return map[string]any{"secret_id_num_uses": r.Secret.NumUses} },
		set: func(_ *engine, r *role, p roleParams) error {
			switch {
			case p.NumUses == nil:
				return missing("secret_id_num_uses")
			case *p.NumUses < 0:
				return engines.Invalid("secret_id_num_uses cannot be negative")
			}
			r.Secret.NumUses = *p.NumUses
			return nil
		},
		clear: func(r *role) { r.Secret.NumUses = 0 },
	}, {
		path: "secret-id-ttl", synopsis: "How long a secret id lives.",
		show: func(r *role) map[string]any {
			return map[string]any{"secret_id_ttl": engines.WholeSeconds(r.Secret.TTL)}
		},
		set: func(_ *engine, r *role, p roleParams) error {
			if p.TTL == nil {
				return missing("secret_id_ttl")
			}
			r.Secret.TTL = *p.TTL
			return nil
		},
		clear: func(r *role) { r.Secret.TTL = 0 },
	}, {
		path: "secret-id-bound-cidrs", synopsis: "Networks to log in from.",
		show:  func(r *role) map[string]any { return map[string]any{"secret_id_bound_cidrs": r.Secret.CIDRs} },
		set:   func(_ *engine, r *role, p roleParams) error { return r.bindTo(p.CIDRs) },
		clear: func(r *role) { r.Secret.CIDRs = nil },
	}, {
		path: "bound-cidr-list", synopsis: "Older name of secret-id-bound-cidrs.",
		// What is set by this name is read by the newer one, in Vault too.
		show: func(*role) map[string]any { return map[string]any{"bound_cidr_list": nil} },
		warning: `The "bound_cidr_list" field is deprecated and will be removed. ` +
			`Please use "secret_id_bound_cidrs" instead.`,
		set:   func(_ *engine, r *role, p roleParams) error { return r.bindTo(p.OldCIDRs) },
		clear: func(*role) {},
	}}
}

// bindTo sets the networks to log in from, if any were sent.
func (r *role) bindTo(cidrs *[]string) error {
	if cidrs == nil {
		return nil
	}
	if len(*cidrs) == 0 {
		return missing("bound_cidr_list")
	}
	if _, err := parseCIDRs(*cidrs); err != nil {
		return engines.Invalid("failed to validate CIDR blocks: %v", err)
	}
	r.Secret.CIDRs = *cidrs
	return nil
}

func tokenProperties() []property {
	return []property{{
		path: "policies", synopsis: "Policies of the tokens.",
		show: shown("token_policies", "policies"), set: setPolicies,
		clear: func(r *role) { r.Token.Policies = nil },
	}, {
		path: "period", synopsis: "Life that each renewal of a token gives.",
		show: shown("token_period", "period"), set: setPeriod,
		clear: func(r *role) { r.Token.Period = 0 },
	}, {
		path: "token-bound-cidrs", synopsis: "Networks that tokens may be used from.",
		show: func(r *role) map[string]any {
			if len(r.Token.BoundCIDRs) == 0 {
				return map[string]any{"token_bound_cidrs": nil}
			}
			return map[string]any{"token_bound_cidrs": auth.CIDRTexts(r.Token.BoundCIDRs)}
		},
		set: func(_ *engine, r *role, p roleParams) error {
			if err := r.Token.Set(auth.TokenParams{BoundCIDRs: p.BoundCIDRs}, auth.OldTokenParams{}); err != nil {
				return engines.Invalid("failed to parse token_bound_cidrs: %v", err)
			}
			return nil
		},
		clear: func(r *role) { r.Token.BoundCIDRs = nil },
	}, {
		path: "token-num-uses", synopsis: "How often a token may be used.",
		show: shown("token_num_uses"),
		set: func(_ *engine, r *role, p roleParams) error {
			if p.TokenParams.NumUses == nil {
				return missing("token_num_uses")
			}
			return r.Token.Set(auth.TokenParams{NumUses: p.TokenParams.NumUses}, auth.OldTokenParams{})
		},
		clear: func(r *role) { r.Token.NumUses = 0 },
	}, {
		path: "token-ttl", synopsis: "First life of tokens.",
		show: shown("token_ttl"),
		set: func(_ *engine, r *role, p roleParams) error {
			ttl := p.TokenParams.TTL
			if ttl == nil {
				return missing("token_ttl")
			}
			if exceeds(*ttl, r.Token.MaxTTL) {
				return engines.Invalid("token_ttl should not be greater than token_max_ttl")
			}
			r.Token.TTL = *ttl
			return nil
		},
		clear: func(r *role) { r.Token.TTL = 0 },
	}, {
		path: "token-max-ttl", synopsis: "Longest life of tokens.",
		show: shown("token_max_ttl"),
		set: func(_ *engine, r *role, p roleParams) error {
			if p.MaxTTL == nil {
				return missing("token_max_ttl")
			}
			if exceeds(r.Token.TTL, *p.MaxTTL) {
				return engines.Invalid("token_max_ttl should be greater than or equal to token_ttl")
			}
			r.Token.MaxTTL = *p.MaxTTL
			return nil
		},
		clear: func(r *role) { r.Token.MaxTTL = 0 },
	}}
}

// exceeds reports whether a life is above a limit, if there is one.
func exceeds(ttl, limit time.Duration) bool { return limit > 0 && ttl > limit }

// shown picks settings of the tokens by their names.
func shown(names ...string) func(*role) map[string]any {
	return func(r *role) map[string]any {
		all, picked := make(map[string]any), make(map[string]any, len(names))
		r.Token.Show(all)
		for _, name := range names {
			if value, ok := all[name]; ok {
				picked[name] = value
			}
		}
		return picked
	}
}

func setPolicies(_ *engine, r *role, p roleParams) error {
	if p.Policies == nil && p.OldPolicies == nil {
		return missing("token_policies")
	}
	if p.Policies != nil {
		clean := auth.CleanPolicies(*p.Policies)
		p.Policies = &clean
	}
	return r.Token.Set(auth.TokenParams{Policies: p.Policies}, auth.OldTokenParams{Policies: p.OldPolicies})
}

func setPeriod(e *engine, r *role, p roleParams) error {
	period := first(p.Period, p.OldPeriod)
	if period == nil {
		return missing("period")
	}
	if limit := e.ttls.MaxTTL(); *period > limit {
		return errPeriod(*period, limit)
	}
	return r.Token.Set(auth.TokenParams{Period: p.Period}, auth.OldTokenParams{Period: p.OldPeriod})
}

func propertyRoutes() []engines.Route {
	list := properties()
	routes := make([]engines.Route, 0, len(list))
	for _, p := range list {
		routes = append(routes, engines.Path("role/{role_name}/"+p.path, p.synopsis, engines.CaseInsensitive("role_name"),
			engines.OnRead(readProperty(p)), engines.OnUpdate(writeProperty(p)), engines.OnDelete(clearProperty(p))))
	}
	return routes
}

func readProperty(p property) engines.HandlerFunc[roleName] {
	return engines.Method(func(
		e *engine, ctx context.Context, _ *engines.Request, params roleName,
	) (*engines.Response, error) {
		r, err := e.role(ctx, params.Name)
		if err != nil {
			return nil, readable(err)
		}
		resp := &engines.Response{Data: p.show(r)}
		if p.warning != "" {
			resp.Warnings = []string{p.warning}
		}
		return resp, nil
	})
}

func writeProperty(p property) engines.HandlerFunc[roleParams] {
	return engines.Method(func(
		e *engine, ctx context.Context, _ *engines.Request, params roleParams,
	) (*engines.Response, error) {
		return e.change(ctx, params.Name, func(r *role) error { return p.set(e, r, params) })
	})
}

func clearProperty(p property) engines.HandlerFunc[roleName] {
	return engines.Method(func(
		e *engine, ctx context.Context, _ *engines.Request, params roleName,
	) (*engines.Response, error) {
		resp, err := e.change(ctx, params.Name, func(r *role) error { p.clear(r); return nil })
		if errors.Is(err, engines.ErrUnsupportedPath) && auth.ValidName(params.Name) {
			return &engines.Response{}, nil
		}
		return resp, err
	})
}

// change changes a role that is there; for one that is not the path is unsupported.
func (e *engine) change(ctx context.Context, name string, f func(*role) error) (*engines.Response, error) {
	return keylock.Write(ctx, e.roles, engines.FoldASCII(name), func(ctx context.Context) (*engines.Response, error) {
		return e.changeLocked(ctx, name, f)
	})
}

func (e *engine) changeLocked(ctx context.Context, name string, f func(*role) error) (*engines.Response, error) {
	r, err := e.role(ctx, name)
	if errors.Is(err, errNoRole) {
		return nil, engines.ErrUnsupportedPath
	}
	if err != nil {
		return nil, err
	}
	before := r.RoleID
	if err := f(r); err != nil {
		return nil, err
	}
	return &engines.Response{}, e.put(ctx, r, before)
}

func (e *engine) readRoleID(ctx context.Context, _ *engines.Request, p roleName) (*engines.Response, error) {
	r, err := e.role(ctx, p.Name)
	if err != nil {
		return nil, readable(err)
	}
	return &engines.Response{Data: map[string]any{"role_id": r.RoleID}}, nil
}

type roleIDParams struct {
	roleName
	RoleID string `param:"role_id" help:"What names the role at login."`
}

func (e *engine) writeRoleID(ctx context.Context, _ *engines.Request, p roleIDParams) (*engines.Response, error) {
	return e.change(ctx, p.Name, func(r *role) error {
		r.RoleID = p.RoleID
		switch {
		case p.RoleID == "":
			return missing("role_id")
		case len(p.RoleID) > maxID:
			return engines.Invalid("role_id is longer than maximum of %d bytes", maxID)
		}
		return nil
	})
}
