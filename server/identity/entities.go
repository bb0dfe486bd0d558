package identity

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"coffer/engines"
)

// entityParams are what can be set of an entity; what is not sent stays as it is.
type entityParams struct {
	ID   string `param:"id" help:"Id of the entity to change."`
	Name string `param:"name" as:"name" help:"Name of the entity; one is made when it is missing."`
	entityContent
}

// entityContent is what the ways to an entity have in common. What is sent as null is emptied.
type entityContent struct {
	Metadata     *map[string]string `param:"metadata" help:"Metadata of the entity."`
	Policies     *[]string          `param:"policies" as:"name" help:"Policies of the entity's tokens."`
	Disabled     *bool              `param:"disabled" help:"Whether the entity's tokens are refused."`
	PoliciesSent bool               `present:"policies"`
	MetadataSent bool               `present:"metadata"`
}

type entityIDParams struct {
	ID   string `path:"id" help:"Id of the entity."`
	Name string `param:"name" as:"name" help:"New name of the entity."`
	entityContent
}

type entityNameParams struct {
	ID   string `param:"id" help:"Id of the entity to change."`
	Name string `path:"name" help:"Name of the entity."`
	entityContent
}

func (b *engine) writeEntityByID(ctx context.Context, r *engines.Request, p entityIDParams) (*engines.Response, error) {
	if err := checkID(p.ID); err != nil {
		return nil, err
	}
	return b.writeEntity(ctx, r, entityParams(p))
}

func (b *engine) writeEntityByName(
	ctx context.Context, r *engines.Request, p entityNameParams,
) (*engines.Response, error) {
	p.ID = ""
	return b.writeEntity(ctx, r, entityParams(p))
}

func (b *engine) writeEntity(ctx context.Context, _ *engines.Request, p entityParams) (*engines.Response, error) {
	p.Policies = emptied(p.Policies, p.PoliciesSent)
	if p.Metadata == nil && p.MetadataSent {
		p.Metadata = new(map[string]string)
	}
	resp := &engines.Response{}
	err := b.change(ctx, func(c *change) error {
		e, err := c.entityToWrite(p)
		if err != nil {
			return err
		}
		isNew := e == nil
		if isNew {
			e = &Entity{ID: uuid.NewString(), Name: p.Name}
			if e.Name == "" {
				e.Name = c.freeName("entity")
			}
		}
		if err := c.applyEntity(e, p); err != nil {
			return err
		}
		c.putEntity(e)
		if isNew {
			resp.Data = map[string]any{"id": e.ID, "name": e.Name, "aliases": nil}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// personaParams are those of an entity. Clients of that name send those of an alias along, which have no use.
type personaParams struct {
	entityParams

	EntityID string `param:"entity_id" help:"Not used."`
	Mount    string `param:"mount_accessor" help:"Not used."`
}

func (b *engine) writePersona(ctx context.Context, r *engines.Request, p personaParams) (*engines.Response, error) {
	return b.writeEntity(ctx, r, p.entityParams)
}

// entityToWrite is a copy of the entity that the parameters name; nil when one has to be made.
func (c *change) entityToWrite(p entityParams) (*Entity, error) {
	if p.ID != "" {
		e := c.editEntity(p.ID)
		if e == nil {
			return nil, engines.Invalid("entity not found from id")
		}
		return e, nil
	}
	if p.Name != "" {
		if e := c.entityNamed(p.Name); e != nil {
			return e.clone(), nil
		}
	}
	return nil, nil //nolint:nilnil // none yet
}

func (c *change) applyEntity(e *Entity, p entityParams) error {
	if p.Policies != nil {
		if hasRoot(*p.Policies) {
			return errRootPolicy
		}
		e.Policies = cleaned(*p.Policies, exactly)
	}
	if p.Name != "" {
		if err := checkName(p.Name); err != nil {
			return err
		}
		if other := c.entityNamed(p.Name); other != nil && other.ID != e.ID {
			return engines.Invalid("entity name is already in use")
		}
		e.Name = p.Name
	}
	if p.Disabled != nil {
		e.Disabled = *p.Disabled
	}
	if p.Metadata != nil {
		if err := checkMetadata("entity", *p.Metadata); err != nil {
			return err
		}
		e.Metadata = *p.Metadata
	}
	return nil
}

func (b *engine) readEntityByID(ctx context.Context, _ *engines.Request, p idParams) (*engines.Response, error) {
	if err := checkID(p.ID); err != nil {
		return nil, err
	}
	return b.entityAnswer(ctx, func(x *index) (*Entity, bool) { return x.entities[p.ID], x.isLost(entityRecord, p.ID) })
}

func (b *engine) readEntityByName(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	return b.entityAnswer(ctx, func(x *index) (*Entity, bool) { return x.entityNamed(p.Name), x.anyLost(entityRecord) })
}

// entityAnswer shows the entity that find finds. When it finds none, it also tells whether that may be lost.
func (b *engine) entityAnswer(ctx context.Context, find func(*index) (*Entity, bool)) (*engines.Response, error) {
	var data map[string]any
	lost := false
	err := b.view(ctx, func(x *index) {
		var e *Entity
		if e, lost = find(x); e != nil {
			data = b.describeEntity(x, e)
		}
	})
	return answerOf(data, lost, err)
}

// answerOf is the answer with what there is to tell of one thing, if it is there.
func answerOf(data map[string]any, lost bool, err error) (*engines.Response, error) {
	switch {
	case err != nil:
		return nil, err
	case data == nil && lost:
		return nil, errLost
	case data == nil:
		return nil, engines.NotFound()
	}
	return &engines.Response{Data: data}, nil
}

// describeEntity is what clients see of an entity.
func (b *engine) describeEntity(x *index, e *Entity) map[string]any {
	aliases := make([]map[string]any, 0, len(e.Aliases))
	for i := range e.Aliases {
		a := b.describeAlias(&e.Aliases[i], e.ID)
		delete(a, "namespace_id")
		aliases = append(aliases, a)
	}
	direct, inherited := x.directOf(e.ID), x.inheritedOf(e.ID)
	return map[string]any{
		"id": e.ID, "name": e.Name, "metadata": orNull(e.Metadata), "policies": append([]string{}, e.Policies...),
		"disabled": e.Disabled, "aliases": aliases, "merged_entity_ids": e.Merged,
		"creation_time": stamp(e.Created), "last_update_time": stamp(e.Updated), "namespace_id": "root",
		"direct_group_ids": append([]string{}, direct...), "inherited_group_ids": append([]string{}, inherited...),
		"group_ids": append([]string{}, slices.Concat(direct, inherited)...),
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// orNull tells no metadata from empty metadata.
func orNull(m map[string]string) any {
	if m == nil {
		return nil
	}
	return m
}

func (b *engine) deleteEntityByID(ctx context.Context, _ *engines.Request, p idParams) (*engines.Response, error) {
	if err := checkID(p.ID); err != nil {
		return nil, err
	}
	return b.dropEntities(ctx, func(*change) []string { return []string{p.ID} })
}

func (b *engine) deleteEntityByName(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	return b.dropEntities(ctx, func(c *change) []string {
		if e := c.entityNamed(p.Name); e != nil {
			return []string{e.ID}
		}
		return nil
	})
}

type entityIDsParams struct {
	IDs []string `param:"entity_ids" help:"Ids of the entities to delete."`
}

func (b *engine) deleteEntities(ctx context.Context, _ *engines.Request, p entityIDsParams) (*engines.Response, error) {
	if len(p.IDs) == 0 {
		return nil, engines.Invalid("missing entity ids to delete")
	}
	return b.dropEntities(ctx, func(*change) []string { return p.IDs })
}

// dropEntities removes entities in one commit. Those that do not exist are none.
func (b *engine) dropEntities(ctx context.Context, which func(*change) []string) (*engines.Response, error) {
	err := b.change(ctx, func(c *change) error {
		for _, id := range which(c) {
			switch {
			case c.entities[id] != nil:
				c.dropEntity(id)
			case c.isLost(entityRecord, id):
				return errLost
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, nil
}

func (b *engine) listEntityNames(
	ctx context.Context, _ *engines.Request, _ engines.NoParams,
) (*engines.Response, error) {
	if err := b.spend(ctx); err != nil {
		return nil, err
	}
	var names []string
	err := b.view(ctx, func(x *index) {
		for _, e := range x.entities {
			names = append(names, e.Name)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return engines.ListResponse(names)
}

func (b *engine) listEntityIDs(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	if err := b.spend(ctx); err != nil {
		return nil, err
	}
	info := make(map[string]any)
	err := b.view(ctx, func(x *index) {
		for id, e := range x.entities {
			about := map[string]any{"name": e.Name}
			if len(e.Aliases) > 0 {
				aliases := make([]map[string]any, 0, len(e.Aliases))
				for i := range e.Aliases {
					aliases = append(aliases, b.briefAlias(&e.Aliases[i]))
				}
				about["aliases"] = aliases
			}
			info[id] = about
		}
	})
	if err != nil {
		return nil, err
	}
	return listWithInfo(info)
}

// listWithInfo answers a list whose keys are told more of.
func listWithInfo(info map[string]any) (*engines.Response, error) {
	if len(info) == 0 {
		return nil, engines.NotFound()
	}
	return &engines.Response{Data: map[string]any{"keys": slices.Sorted(maps.Keys(info)), "key_info": info}}, nil
}
