package identity

import (
	"context"

	"github.com/google/uuid"

	"coffer/engines"
)

// groupAliasParams are what is said of an external group's alias; name and mount are always needed.
type groupAliasParams struct {
	ID    string `param:"id" help:"Id of the alias to change."`
	Name  string `param:"name" as:"name" help:"What the auth method calls the group."`
	Mount string `param:"mount_accessor" help:"Accessor of the mount."`
	Group string `param:"canonical_id" help:"Id of the group; one is made when it is missing."`
}

type groupAliasIDParams struct {
	ID    string `path:"id" help:"Id of the alias."`
	Name  string `param:"name" as:"name" help:"What the auth method calls the group."`
	Mount string `param:"mount_accessor" help:"Accessor of the mount."`
	Group string `param:"canonical_id" help:"Id of the group that the alias is moved to."`
}

func (b *engine) writeGroupAliasByID(
	ctx context.Context, r *engines.Request, p groupAliasIDParams,
) (*engines.Response, error) {
	if err := checkID(p.ID); err != nil {
		return nil, err
	}
	return b.writeGroupAlias(ctx, r, groupAliasParams(p))
}

func (b *engine) writeGroupAlias(
	ctx context.Context, _ *engines.Request, p groupAliasParams,
) (*engines.Response, error) {
	resp := &engines.Response{}
	err := b.change(ctx, func(c *change) (err error) {
		resp.Data, err = b.groupAliasChange(c, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// groupAliasChange makes or changes the alias and returns its ids; nil when there is nothing to change.
func (b *engine) groupAliasChange(c *change, p groupAliasParams) (map[string]any, error) {
	a := Alias{ID: uuid.NewString(), Created: c.now}
	var owner *Group
	if p.ID != "" {
		if owner = c.groupOfAlias(p.ID); owner == nil {
			return nil, engines.Invalid("invalid group alias ID")
		}
		a = *owner.Alias
	}
	switch {
	case p.Name == "":
		return nil, engines.Invalid("missing alias name")
	case p.Mount == "":
		return nil, engines.Invalid("missing mount_accessor")
	}
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	if owner != nil && a.Name == p.Name && a.MountAccessor == p.Mount && (p.Group == "" || p.Group == owner.ID) {
		return nil, nil //nolint:nilnil // nothing to change
	}
	to, err := c.groupForAlias(owner, p)
	if err != nil {
		return nil, err
	}
	if err := b.checkMount(p.Mount); err != nil {
		return nil, err
	}
	if holder := c.groupOfLogin(factors{p.Mount, folded(p.Name)}); holder != nil && holder.Alias.ID != a.ID {
		return nil, engines.Invalid("combination of mount and group alias name is already in use")
	}
	if to.Alias == nil || to.Alias.MountAccessor != p.Mount {
		to.Entities = nil // logins at the former mount made them members, and cannot take them out any more
	}
	a.Name, a.MountAccessor, a.Updated = p.Name, p.Mount, c.now
	if owner != nil && owner.ID != to.ID {
		from := c.editGroup(owner.ID)
		from.Alias = nil
		c.putGroup(from)
	}
	to.Alias = &a
	c.putGroup(to)
	return map[string]any{"id": a.ID, "canonical_id": to.ID}, nil
}

// groupForAlias is a copy of the group that gets the alias: the one that was named, the one that has it, or
// a new one.
func (c *change) groupForAlias(owner *Group, p groupAliasParams) (*Group, error) {
	switch {
	case p.Group != "":
		g := c.editGroup(p.Group)
		if g == nil {
			return nil, engines.Invalid("invalid group ID given in 'canonical_id'")
		}
		if !g.External {
			return nil, engines.Invalid("alias can't be set on an internal group")
		}
		return g, nil
	case owner != nil:
		return owner.clone(), nil
	default:
		return &Group{ID: uuid.NewString(), Name: c.freeName("group"), External: true}, nil
	}
}

func (b *engine) readGroupAlias(ctx context.Context, _ *engines.Request, p idParams) (*engines.Response, error) {
	if err := checkID(p.ID); err != nil {
		return nil, err
	}
	var data map[string]any
	err := b.view(ctx, func(x *index) {
		if g := x.groupOfAlias(p.ID); g != nil {
			data = b.describeAlias(g.Alias, g.ID)
		}
	})
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, engines.NotFound()
	}
	return &engines.Response{Data: data}, nil
}

func (b *engine) deleteGroupAlias(ctx context.Context, _ *engines.Request, p idParams) (*engines.Response, error) {
	if err := checkID(p.ID); err != nil {
		return nil, err
	}
	err := b.change(ctx, func(c *change) error {
		owner := c.groupOfAlias(p.ID)
		if owner == nil {
			return nil
		}
		g := c.editGroup(owner.ID)
		g.Alias = nil
		c.putGroup(g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, nil
}

func (b *engine) listGroupAliases(
	ctx context.Context, _ *engines.Request, _ engines.NoParams,
) (*engines.Response, error) {
	if err := b.spend(ctx); err != nil {
		return nil, err
	}
	info := make(map[string]any)
	err := b.view(ctx, func(x *index) {
		for id, g := range x.groups {
			if g.Alias != nil {
				info[g.Alias.ID] = b.listedAlias(g.Alias, id)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return listWithInfo(info)
}
