package identity

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"unicode"

	"github.com/google/uuid"

	"coffer/engines"
)

// aliasParams are what can be set of an entity's alias.
type aliasParams struct {
	ID       string             `param:"id" help:"Id of the alias to change."`
	Name     string             `param:"name" as:"name" help:"Name of the alias at its mount."`
	Mount    string             `param:"mount_accessor" help:"Accessor of the mount."`
	Entity   string             `param:"canonical_id" help:"Id of the entity; one is made when it is missing."`
	EntityID string             `param:"entity_id" old:"canonical_id"`
	Custom   *map[string]string `param:"custom_metadata" help:"Metadata of the alias."`
	// SentCustom is set for an explicit null as well, which leaves the alias without custom metadata.
	SentCustom bool `present:"custom_metadata"`
}

type aliasIDParams struct {
	ID       string             `path:"id" help:"Id of the alias."`
	Name     string             `param:"name" as:"name" help:"Name of the alias at its mount."`
	Mount    string             `param:"mount_accessor" help:"Accessor of the mount."`
	Entity   string             `param:"canonical_id" help:"Id of the entity that the alias is moved to."`
	EntityID string             `param:"entity_id" old:"canonical_id"`
	Custom   *map[string]string `param:"custom_metadata" help:"Metadata of the alias."`
	// SentCustom is set for an explicit null as well, which leaves the alias without custom metadata.
	SentCustom bool `present:"custom_metadata"`
}

func (b *engine) writeAliasByID(ctx context.Context, r *engines.Request, p aliasIDParams) (*engines.Response, error) {
	if err := checkID(p.ID); err != nil {
		return nil, err
	}
	return b.writeAlias(ctx, r, aliasParams(p))
}

func (b *engine) writeAlias(ctx context.Context, _ *engines.Request, p aliasParams) (*engines.Response, error) {
	if p.Entity == "" {
		p.Entity = p.EntityID
	}
	switch {
	case p.Custom == nil && p.SentCustom:
		p.Custom = new(map[string]string)
	case p.Custom != nil:
		if err := checkCustom(*p.Custom); err != nil {
			return nil, err
		}
	}
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	resp := &engines.Response{}
	err := b.change(ctx, func(c *change) (err error) {
		resp.Data, err = b.aliasChange(c, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// aliasChange makes or changes the alias and returns its ids; nil when there is nothing to change.
func (b *engine) aliasChange(c *change, p aliasParams) (map[string]any, error) {
	if p.ID != "" {
		owner := c.entityOfAlias(p.ID)
		if owner == nil {
			return nil, engines.Invalid("invalid alias ID provided")
		}
		old := &owner.Aliases[owner.aliasIndex(p.ID)]
		if p.Name == "" {
			p.Name = old.Name
		}
		if p.Mount == "" {
			p.Mount = old.MountAccessor
		}
		if p.Custom == nil {
			p.Custom = &old.Custom
		}
		return b.updateAlias(c, owner, old, p)
	}
	if p.Mount == "" || p.Name == "" {
		return nil, engines.Invalid("'id' or 'mount_accessor' and 'name' must be provided")
	}
	if err := b.checkMount(p.Mount); err != nil {
		return nil, err
	}
	if p.Custom == nil {
		p.Custom = &map[string]string{}
	}
	f := factors{p.Mount, folded(p.Name)}
	if owner := c.entityOfLogin(f); owner != nil {
		return b.updateAlias(c, owner, owner.aliasAt(p.Mount), p)
	}
	return createAlias(c, p)
}

func (b *engine) checkMount(accessor string) error {
	if _, ok := b.cfg.Mounts.ByAccessor(accessor); !ok {
		return engines.Invalid("invalid mount accessor %q", accessor)
	}
	return nil
}

func createAlias(c *change, p aliasParams) (map[string]any, error) {
	var e *Entity
	if p.Entity != "" {
		if e = c.editEntity(p.Entity); e == nil {
			return nil, engines.Invalid("invalid canonical ID")
		}
	} else {
		e = &Entity{ID: uuid.NewString(), Name: c.freeName("entity")}
	}
	if e.aliasAt(p.Mount) != nil {
		return nil, engines.Invalid("Alias already exists for requested entity and mount accessor")
	}
	a := Alias{
		ID: uuid.NewString(), Name: p.Name, MountAccessor: p.Mount, Custom: *p.Custom, Created: c.now, Updated: c.now,
	}
	e.Aliases = append(e.Aliases, a)
	c.putEntity(e)
	return map[string]any{"id": a.ID, "canonical_id": e.ID}, nil
}

// updateAlias changes an alias of owner to what p says in full, and moves it when p names another entity.
func (b *engine) updateAlias(c *change, owner *Entity, old *Alias, p aliasParams) (map[string]any, error) {
	moves := p.Entity != "" && p.Entity != owner.ID
	renamed := p.Name != old.Name || p.Mount != old.MountAccessor
	if !moves && !renamed && maps.Equal(*p.Custom, old.Custom) {
		return nil, nil //nolint:nilnil // nothing to change
	}
	if p.Mount != old.MountAccessor && !moves && owner.aliasAt(p.Mount) != nil {
		return nil, engines.Invalid(
			"Alias cannot be updated as the entity already has an alias for the given 'mount_accessor' ")
	}
	if err := b.checkMount(p.Mount); err != nil {
		return nil, err
	}
	a := *old
	if holder := c.entityOfLogin(factors{p.Mount, folded(p.Name)}); holder != nil && holder.aliasAt(p.Mount).ID != a.ID {
		return nil, engines.Invalid("alias with combination of mount accessor and name already exists")
	}
	a.Name, a.MountAccessor, a.Custom, a.Updated = p.Name, p.Mount, *p.Custom, c.now
	from := c.editEntity(owner.ID)
	at := from.aliasIndex(a.ID)
	if !moves {
		from.Aliases[at] = a
		c.putEntity(from)
		return map[string]any{"id": a.ID, "canonical_id": from.ID}, nil
	}
	to := c.editEntity(p.Entity)
	if to == nil {
		return nil, engines.Invalid("given 'canonical_id' is not associated with an entity")
	}
	if to.aliasAt(p.Mount) != nil {
		return nil, engines.Invalid("Alias cannot be updated as the given entity already has an alias for this mount ")
	}
	from.Aliases = slices.Delete(from.Aliases, at, at+1)
	to.Aliases = append(to.Aliases, a)
	c.putEntity(from)
	c.putEntity(to)
	return map[string]any{"id": a.ID, "canonical_id": to.ID}, nil
}

func (b *engine) readAlias(ctx context.Context, _ *engines.Request, p idParams) (*engines.Response, error) {
	if err := checkID(p.ID); err != nil {
		return nil, err
	}
	var data map[string]any
	err := b.view(ctx, func(x *index) {
		if e := x.entityOfAlias(p.ID); e != nil {
			data = b.describeAlias(&e.Aliases[e.aliasIndex(p.ID)], e.ID)
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

// describeAlias is what clients see of an alias.
func (b *engine) describeAlias(a *Alias, canonical string) map[string]any {
	about := b.listedAlias(a, canonical)
	about["id"], about["namespace_id"], about["merged_from_canonical_ids"] = a.ID, "root", a.MergedFrom
	about["creation_time"], about["last_update_time"] = stamp(a.Created), stamp(a.Updated)
	return about
}

// briefAlias is what lists show of an alias.
func (b *engine) briefAlias(a *Alias) map[string]any {
	about := map[string]any{"id": a.ID, "name": a.Name, "mount_accessor": a.MountAccessor}
	if mount, ok := b.cfg.Mounts.ByAccessor(a.MountAccessor); ok {
		about["mount_path"], about["mount_type"] = mount.Path, mount.Type
	}
	return about
}

// listedAlias is what a list of aliases shows of one.
func (b *engine) listedAlias(a *Alias, canonical string) map[string]any {
	about := b.briefAlias(a)
	delete(about, "id")
	about["canonical_id"], about["local"] = canonical, false
	about["metadata"], about["custom_metadata"] = orNull(a.Metadata), orNull(a.Custom)
	return about
}

func (b *engine) listAliases(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	if err := b.spend(ctx); err != nil {
		return nil, err
	}
	info := make(map[string]any)
	err := b.view(ctx, func(x *index) {
		for _, e := range x.entities {
			for i := range e.Aliases {
				info[e.Aliases[i].ID] = b.listedAlias(&e.Aliases[i], e.ID)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return listWithInfo(info)
}

// deleteAlias removes an alias. Its entity and the entity's tokens stay; the next login by that name is
// somebody new.
func (b *engine) deleteAlias(ctx context.Context, _ *engines.Request, p idParams) (*engines.Response, error) {
	if err := checkID(p.ID); err != nil {
		return nil, err
	}
	err := b.change(ctx, func(c *change) error {
		owner := c.entityOfAlias(p.ID)
		if owner == nil {
			return nil
		}
		e := c.editEntity(owner.ID)
		at := e.aliasIndex(p.ID)
		e.Aliases = slices.Delete(e.Aliases, at, at+1)
		c.putEntity(e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, nil
}

// checkCustom refuses custom metadata beyond the bounds, in the words of Vault.
func checkCustom(metadata map[string]string) error {
	refuse := func(format string, args ...any) error {
		return engines.Failed("%s", engines.Numbered("custom_metadata validation failed: "+fmt.Sprintf(format, args...)))
	}
	if len(metadata) > maxPairs {
		return refuse("payload must contain at most %d keys, provided %d", maxPairs, len(metadata))
	}
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		value := metadata[key]
		switch {
		case key == "" || len(key) > maxKey:
			return refuse("length of key %q is %d but must be 0 < len(key) <= %d", key, len(key), maxKey)
		case value == "" || len(value) > maxValue:
			return refuse("length of value for key %q is %d but must be 0 < len(value) <= %d", key, len(value), maxValue)
		case containsFunc(key, unprintable):
			return refuse("key %q contains unprintable characters", key)
		case containsFunc(value, unprintable):
			return refuse("value for key %q contains unprintable characters", key)
		}
	}
	return nil
}

func containsFunc(s string, f func(rune) bool) bool { return slices.ContainsFunc([]rune(s), f) }
