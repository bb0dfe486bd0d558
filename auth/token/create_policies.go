package token

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"coffer/auth"
	"coffer/engines"
)

// policies settles the token's policies.
func (c *creation) policies(context.Context) error {
	asked, err := policyNames(c.Policies)
	if err != nil {
		return err
	}
	asked = auth.CleanPolicies(asked)
	if c.role != nil && (c.role.Policies.restricts() || c.role.Policies.forbids()) {
		asked, err = c.rolePolicies(asked)
	} else {
		asked, err = c.parentPolicies(asked)
	}
	if err != nil {
		return err
	}
	for _, name := range []string{wrappingPolicy, controlPolicy} {
		if slices.Contains(asked, name) {
			return engines.Invalid("cannot assign policy %q", name)
		}
	}
	if slices.Contains(asked, rootPolicy) {
		if !c.parent.Caller.Root {
			return engines.Invalid("root tokens may not be created without parent token being root")
		}
		if c.draft.batch {
			return engines.Invalid("batch tokens cannot be root tokens")
		}
	}
	c.draft.entry.Caller.Policies = asked
	return nil
}

// parentPolicies are the policies without a role that has a say: any of the parent's, or any at all with
// sudo.
func (c *creation) parentPolicies(asked []string) ([]string, error) {
	had := c.parent.Policies()
	inherited := len(asked) == 0
	if inherited {
		asked = had
	}
	parentHasDefault := slices.Contains(had, defaultPolicy)
	if !c.sudo {
		for _, name := range asked {
			if !slices.Contains(had, name) {
				return nil, engines.Invalid("child policies must be subset of parent")
			}
		}
	}
	add := !c.NoDefault && !c.roleWithoutDefault() && (parentHasDefault || (c.sudo && !inherited))
	remove := c.NoDefault
	if !add && !remove {
		return asked, nil
	}
	return withDefault(asked, add), nil
}

func (c *creation) roleWithoutDefault() bool { return c.role != nil && c.role.Token.NoDefaultPolicy }

// rolePolicies are the policies with a role that allows or forbids some.
func (c *creation) rolePolicies(asked []string) ([]string, error) {
	p := &c.role.Policies
	addDefault := !c.NoDefault && !c.roleWithoutDefault() && !p.forbidden(defaultPolicy)
	final := asked
	if p.restricts() {
		allowed := p.Allowed
		if addDefault {
			allowed = withDefault(allowed, true)
		}
		if len(asked) == 0 {
			final = allowed
		} else if addDefault {
			final = withDefault(asked, true)
		}
		for _, name := range final {
			if !slices.Contains(allowed, name) && !auth.MatchesAny(p.AllowedGlobs, name) {
				return nil, engines.Invalid("token policies (%q) must be subset of the role's allowed policies (%q) or "+
					"glob policies (%q)", final, allowed, p.AllowedGlobs)
			}
		}
	} else {
		if len(asked) == 0 {
			final = c.parent.Policies()
		}
		if addDefault {
			final = withDefault(final, true)
		}
	}
	for _, name := range final {
		if p.forbidden(name) {
			return nil, engines.Invalid("token policy %q is disallowed by this role", name)
		}
	}
	if c.NoDefault {
		final = withDefault(final, false)
	}
	if final == nil {
		final = []string{} // as in Vault, where it shows
	}
	return final, nil
}

// policyNames reads the parameter, which unlike other lists is not split at commas: a text is one name.
func policyNames(raw any) ([]string, error) {
	list, isList := raw.([]any)
	if !isList {
		if raw == nil {
			return nil, nil
		}
		list = []any{raw}
	}
	names := make([]string, 0, len(list))
	for i, item := range list {
		switch v := item.(type) {
		case string:
			names = append(names, v)
		case json.Number:
			names = append(names, v.String())
		case bool:
			names = append(names, map[bool]string{true: "1", false: "0"}[v])
		default:
			return nil, engines.Invalid("Field validation failed: error converting input for field \"policies\": "+
				"'[%d]' expected type 'string'", i)
		}
	}
	return names, nil
}

// warnOfPolicies tells which policies do not exist.
func (c *creation) warnOfPolicies(ctx context.Context) error {
	for _, name := range c.draft.entry.Caller.Policies {
		ok, err := c.store.cfg.Policies.Exists(ctx, name)
		if err != nil {
			return err
		}
		if !ok {
			c.warnings = append(c.warnings, fmt.Sprintf("Policy %q does not exist", name))
		}
	}
	return nil
}
