package oidc

import (
	"context"
	"maps"
	"slices"
	"time"

	"coffer/engines"
)

// defaultTokenTTL is the life of a role's tokens unless it says otherwise.
const defaultTokenTTL = 24 * time.Hour

type roleParams struct {
	Name     string         `path:"name" help:"Name of the role."`
	Key      *string        `param:"key" help:"Name of the key that signs."`
	Template *string        `param:"template" as:"encoded" help:"JSON object of further claims with {{selectors}}."`
	TTL      *time.Duration `param:"ttl" help:"Life of the tokens. Default 24h."`
	Client   *string        `param:"client_id" help:"For whom the tokens are; one is made when it is missing."`
}

func (s *Store) roleExists(ctx context.Context, _ *engines.Request, p roleParams) (found bool, err error) {
	if err := checkName(p.Name); err != nil {
		return false, err
	}
	err = s.view(ctx, func() { found = s.roles[p.Name] != nil })
	return found, err
}

func (s *Store) writeRole(ctx context.Context, _ *engines.Request, p roleParams) (*engines.Response, error) {
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	err := s.change(ctx, func(e *edit) error {
		r := &role{Name: p.Name, TTL: defaultTokenTTL}
		if old := s.roles[p.Name]; old != nil {
			clone := *old
			r = &clone
		}
		set(&r.Key, p.Key)
		set(&r.TTL, p.TTL)
		set(&r.Client, p.Client)
		if p.Template != nil {
			r.Template = templateText(*p.Template)
		}
		if r.Client == "" {
			r.Client = newClientID()
		}
		if err := s.checkRole(r); err != nil {
			return err
		}
		// The key is there before somebody asks what to verify tokens with.
		if k := s.keys[r.Key]; k.Signing == nil {
			k, err := k.filled(s.cfg.Now())
			if err != nil {
				return err
			}
			if err := s.putKey(e, k); err != nil {
				return err
			}
		}
		return s.put(e, roleFolder+r.Name, r, func() { s.roles[r.Name] = r })
	})
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, nil
}

func (s *Store) checkRole(r *role) error {
	if r.Key == "" {
		return engines.Invalid("the key parameter is required")
	}
	if err := checkTemplate(r.Template, s.cfg.Now()); err != nil {
		return err
	}
	k := s.keys[r.Key]
	switch {
	case k == nil:
		return engines.Invalid("cannot find key %q", r.Key)
	case r.TTL > k.Verification:
		return engines.Invalid("a role's token ttl cannot be longer than the verification_ttl of the key it references")
	case len(r.Client) > maxIssuer:
		return engines.Invalid("client_id is longer than %d bytes", maxIssuer)
	}
	return nil
}

func (s *Store) readRole(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	var r *role
	if err := s.view(ctx, func() { r = s.roles[p.Name] }); err != nil {
		return nil, err
	}
	if r == nil {
		return nil, s.missing(ctx, roleFolder+p.Name, engines.NotFound())
	}
	return &engines.Response{Data: map[string]any{
		"key": r.Key, "client_id": r.Client, "template": r.Template, "ttl": engines.WholeSeconds(r.TTL),
	}}, nil
}

func (s *Store) deleteRole(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	err := s.change(ctx, func(e *edit) error {
		if s.roles[p.Name] == nil {
			return nil
		}
		e.remove(roleFolder+p.Name, func() { delete(s.roles, p.Name) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, nil
}

func (s *Store) listRoles(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	var names []string
	if err := s.view(ctx, func() { names = slices.Sorted(maps.Keys(s.roles)) }); err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}
