package identity

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"coffer/engines"
)

// groupParams are what can be set of a group; what is not sent stays as it is.
type groupParams struct {
	ID   string `param:"id" help:"Id of the group to change."`
	Name string `param:"name" as:"name" help:"Name of the group; one is made when it is missing."`
	Type string `param:"type" help:"internal, the default, or external."`
	groupContent
}

// groupContent is what the ways to a group have in common. What is sent as null is emptied.
type groupContent struct {
	Metadata     *map[string]string `param:"metadata" help:"Metadata of the group."`
	Policies     *[]string          `param:"policies" as:"name" help:"Policies of the members' tokens."`
	Entities     *[]string          `param:"member_entity_ids" help:"Ids of the entities that are members."`
	Groups       *[]string          `param:"member_group_ids" help:"Ids of the groups whose members are members."`
	PoliciesSent bool               `present:"policies"`
	MetadataSent bool               `present:"metadata"`
	EntitiesSent bool               `present:"member_entity_ids"`
	GroupsSent   bool               `present:"member_group_ids"`
}

// emptied is a list that was sent, if only as null.
func emptied(list *[]string, sent bool) *[]string {
	if list == nil && sent {
		return &[]string{}
	}
	return list
}

type groupIDParams struct {
	ID   string `path:"id" help:"Id of the group."`
	Name string `param:"name" as:"name" help:"New name of the group."`
	Type string `param:"type" help:"internal or external; cannot be changed."`
	groupContent
}

type groupNameParams struct {
	ID   string `param:"id" help:"Id of the group to change."`
	Name string `path:"name" help:"Name of the group."`
	Type string `param:"type" help:"internal, the default, or external."`
	groupContent
}

func (b *engine) writeGroupByID(ctx context.Context, r *engines.Request, p groupIDParams) (*engines.Response, error) {
	if err := checkID(p.ID); err != nil {
		return nil, err
	}
	return b.writeGroup(ctx, r, groupParams(p))
}

func (b *engine) writeGroupByName(
	ctx context.Context, r *engines.Request, p groupNameParams,
) (*engines.Response, error) {
	p.ID = ""
	return b.writeGroup(ctx, r, groupParams(p))
}

func (b *engine) writeGroup(ctx context.Context, _ *engines.Request, p groupParams) (*engines.Response, error) {
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	p.Policies = emptied(p.Policies, p.PoliciesSent)
	p.Entities = emptied(p.Entities, p.EntitiesSent)
	p.Groups = emptied(p.Groups, p.GroupsSent)
	if p.Metadata == nil && p.MetadataSent {
		p.Metadata = new(map[string]string)
	}
	resp := &engines.Response{}
	err := b.change(ctx, func(c *change) error {
		g, err := c.groupToWrite(p)
		if err != nil {
			return err
		}
		isNew := g == nil
		if isNew {
			g = &Group{ID: uuid.NewString(), Name: p.Name, External: p.Type == external}
			if g.Name == "" {
				g.Name = c.freeName("group")
			}
		}
		if err := c.applyGroup(g, p, isNew); err != nil {
			return err
		}
		c.putGroup(g)
		if isNew {
			resp.Data = map[string]any{"id": g.ID, "name": g.Name}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// groupToWrite is a copy of the group that the parameters name; nil when one has to be made.
func (c *change) groupToWrite(p groupParams) (*Group, error) {
	if p.ID != "" {
		g := c.editGroup(p.ID)
		if g == nil {
			return nil, engines.Invalid("invalid group ID")
		}
		return g, nil
	}
	if p.Name != "" {
		if g := c.groupNamed(p.Name); g != nil {
			return g.clone(), nil
		}
	}
	return nil, nil //nolint:nilnil // none yet
}

func (c *change) applyGroup(g *Group, p groupParams, isNew bool) error {
	if p.Policies != nil {
		if hasRoot(*p.Policies) {
			return errRootPolicy
		}
		g.Policies = cleaned(*p.Policies, folded)
	}
	switch {
	case p.Type != "" && p.Type != internal && p.Type != external:
		return engines.Invalid("invalid group type %q", p.Type)
	case !isNew && p.Type != "" && p.Type != g.kind():
		return engines.Invalid("group type cannot be changed")
	}
	if p.Name != "" {
		if other := c.groupNamed(p.Name); other != nil && other.ID != g.ID {
			return engines.Invalid("group name is already in use")
		}
		g.Name = p.Name
	}
	if p.Metadata != nil {
		if err := checkMetadata("group", *p.Metadata); err != nil {
			return err
		}
		g.Metadata = *p.Metadata
	}
	if err := c.setMembers(g, p); err != nil {
		return err
	}
	return c.setMemberGroups(g, p)
}

func (c *change) setMembers(g *Group, p groupParams) error {
	if p.Entities == nil {
		return nil
	}
	if g.External {
		return engines.Invalid("member entities can't be set manually for external groups")
	}
	members := cleaned(*p.Entities, exactly)
	for _, id := range members {
		if c.entities[id] == nil {
			return engines.Failed("%s", engines.Numbered(fmt.Sprintf("invalid entity ID %q", id)))
		}
	}
	g.Entities = members
	return nil
}

// setMemberGroups changes which groups are members. The members are written too, since clients see when
// their parents changed.
func (c *change) setMemberGroups(g *Group, p groupParams) error {
	if p.Groups == nil {
		return nil
	}
	if g.External {
		return engines.Invalid("member groups can't be set for external groups")
	}
	members := cleaned(*p.Groups, exactly)
	above := c.above([]string{g.ID})
	for _, id := range members {
		_, cyclic := above[id]
		switch {
		case id == g.ID:
			return engines.Failed("%s", engines.Numbered(fmt.Sprintf("member group ID %q is same as the ID of the group", id)))
		case c.groups[id] == nil:
			return engines.Failed("%s", engines.Numbered(fmt.Sprintf("invalid member group ID %q", id)))
		case cyclic:
			return engines.Invalid("cyclic relationship detected for member group ID %q", id)
		}
	}
	now, before := setOf(members), setOf(g.Groups)
	for _, id := range slices.Concat(members, g.Groups) {
		_, is := now[id]
		if _, was := before[id]; is == was {
			continue
		}
		if child := c.editGroup(id); child != nil {
			c.putGroup(child)
		}
	}
	g.Groups = members
	return nil
}

func (b *engine) readGroupByID(ctx context.Context, _ *engines.Request, p idParams) (*engines.Response, error) {
	if err := checkID(p.ID); err != nil {
		return nil, err
	}
	return b.groupAnswer(ctx, func(x *index) (*Group, bool) { return x.groups[p.ID], x.isLost(groupRecord, p.ID) })
}

func (b *engine) readGroupByName(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	return b.groupAnswer(ctx, func(x *index) (*Group, bool) { return x.groupNamed(p.Name), x.anyLost(groupRecord) })
}

// groupAnswer is entityAnswer for groups.
func (b *engine) groupAnswer(ctx context.Context, find func(*index) (*Group, bool)) (*engines.Response, error) {
	var data map[string]any
	lost := false
	err := b.view(ctx, func(x *index) {
		var g *Group
		if g, lost = find(x); g != nil {
			data = b.describeGroup(x, g)
		}
	})
	return answerOf(data, lost, err)
}

// describeGroup is what clients see of a group.
func (b *engine) describeGroup(x *index, g *Group) map[string]any {
	alias := map[string]any{}
	if g.Alias != nil {
		alias = b.describeAlias(g.Alias, g.ID)
		for _, key := range []string{"namespace_id", "custom_metadata", "local"} {
			delete(alias, key)
		}
	}
	var members any
	if len(g.Groups) > 0 {
		members = g.Groups
	}
	return map[string]any{
		"id": g.ID, "name": g.Name, "type": g.kind(), "metadata": orNull(g.Metadata), "policies": g.Policies,
		"member_entity_ids": g.Entities, "member_group_ids": members, "parent_group_ids": x.parentsOf(g.ID),
		"alias": alias, "modify_index": g.Revision, "namespace_id": "root",
		"creation_time": stamp(g.Created), "last_update_time": stamp(g.Updated),
	}
}

func (b *engine) deleteGroupByID(ctx context.Context, _ *engines.Request, p idParams) (*engines.Response, error) {
	if err := checkID(p.ID); err != nil {
		return nil, err
	}
	return b.removeGroup(ctx, func(c *change) *Group { return c.groups[p.ID] })
}

func (b *engine) deleteGroupByName(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	return b.removeGroup(ctx, func(c *change) *Group { return c.groupNamed(p.Name) })
}

func (b *engine) removeGroup(ctx context.Context, find func(*change) *Group) (*engines.Response, error) {
	err := b.change(ctx, func(c *change) error {
		if g := find(c); g != nil {
			c.dropGroup(g.ID)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, nil
}

func (b *engine) listGroupNames(
	ctx context.Context, _ *engines.Request, _ engines.NoParams,
) (*engines.Response, error) {
	if err := b.spend(ctx); err != nil {
		return nil, err
	}
	var names []string
	err := b.view(ctx, func(x *index) {
		for _, g := range x.groups {
			names = append(names, g.Name)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return engines.ListResponse(names)
}

func (b *engine) listGroupIDs(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	if err := b.spend(ctx); err != nil {
		return nil, err
	}
	info := make(map[string]any)
	err := b.view(ctx, func(x *index) {
		for id, g := range x.groups {
			about := map[string]any{
				"name": g.Name, "num_member_entities": len(g.Entities), "num_parent_groups": len(x.parents[id]),
			}
			if g.Alias != nil {
				about["alias"] = b.briefAlias(g.Alias)
			}
			info[id] = about
		}
	})
	if err != nil {
		return nil, err
	}
	return listWithInfo(info)
}
