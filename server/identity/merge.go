package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"coffer/engines"
)

// mergeParams say which entities become part of which.
type mergeParams struct {
	From []string `param:"from_entity_ids" help:"Ids of the entities that end."`
	To   string   `param:"to_entity_id" help:"Id of the entity that stays."`
	Keep []string `param:"conflicting_alias_ids_to_keep" help:"Of two aliases at one mount, which to keep."`
	// Force is about MFA secrets in Vault.
	Force bool `param:"force" help:"Without effect."`
}

// mergeEntities moves the aliases and group memberships of some entities to one, whose tokens theirs
// become. Policies and metadata are not taken over.
func (b *engine) mergeEntities(ctx context.Context, _ *engines.Request, p mergeParams) (*engines.Response, error) {
	switch {
	case p.To == "":
		return nil, engines.Invalid("missing entity id to merge to")
	case len(p.From) == 0:
		return nil, engines.Invalid("missing entity ids to merge from")
	}
	err := b.change(ctx, func(c *change) error {
		to := c.editEntity(p.To)
		if to == nil {
			return engines.Invalid("entity id to merge to is invalid")
		}
		sources := unique(p.From)
		if slices.Contains(sources, p.To) {
			return engines.Invalid("to_entity_id should not be present in from_entity_ids")
		}
		var from []*Entity
		for _, id := range sources {
			e := c.entities[id]
			if e == nil {
				return engines.Invalid("entity id to merge from is invalid")
			}
			from = append(from, e)
		}
		if err := checkClashes(to, from, p.Keep); err != nil {
			return err
		}
		joined := make(idSet)
		for _, e := range from {
			c.merge(to, e, p.Keep, joined)
		}
		c.putEntity(to)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, nil
}

// checkClashes refuses a merge that would leave the entity with two aliases at a mount, unless it is told
// which of each two to keep.
func checkClashes(to *Entity, from []*Entity, keep []string) error {
	at := make(map[string]*Entity)
	for i := range to.Aliases {
		at[to.Aliases[i].MountAccessor] = to
	}
	var clashes strings.Builder
	for _, e := range from {
		for i := range e.Aliases {
			a := &e.Aliases[i]
			other := at[a.MountAccessor]
			if other == nil {
				at[a.MountAccessor] = e
				continue
			}
			b := other.aliasAt(a.MountAccessor)
			if len(keep) > 0 && len(from) == 1 {
				if err := checkChoice(a.ID, b.ID, keep); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(&clashes, "\n\t* mountAccessor: %s, toEntity ID: %s, fromEntity ID: %s, "+
				"conflicting toEntity alias ID: %s, conflicting fromEntity alias ID: %s",
				a.MountAccessor, other.ID, e.ID, b.ID, a.ID)
		}
	}
	if clashes.Len() == 0 {
		return nil
	}
	return engines.Invalid("2 errors occurred:\n\t* toEntity and at least one fromEntity have aliases with the same "+
		"mount accessor, repeat the merge request specifying exactly one fromEntity, clashes: %s\n\n", clashes.String())
}

// checkChoice wants exactly one of two aliases to be kept.
func checkChoice(from, to string, keep []string) error {
	var which string
	switch {
	case slices.Contains(keep, from) && slices.Contains(keep, to):
		which = "both"
	case !slices.Contains(keep, from) && !slices.Contains(keep, to):
		which = "neither"
	default:
		return nil
	}
	return engines.Invalid("conflicting mount accessors in following alias IDs and %s were present in "+
		"conflicting_alias_ids_to_keep: %s, %s", which, from, to)
}

// merge makes one entity part of another, in a change that does nothing else. joined are the groups that the other has
// joined in it.
func (c *change) merge(to, from *Entity, keep []string, joined idSet) {
	for _, a := range from.Aliases {
		if old := to.aliasAt(a.MountAccessor); old != nil {
			if slices.Contains(keep, old.ID) {
				continue
			}
			to.Aliases = slices.Delete(to.Aliases, to.aliasIndex(old.ID), to.aliasIndex(old.ID)+1)
		}
		a.MergedFrom = append(slices.Clone(a.MergedFrom), from.ID)
		a.Updated, a.Custom = c.now, filled(a.Custom)
		to.Aliases = append(to.Aliases, a)
	}
	to.Merged = append(to.Merged, from.ID)
	to.Merged = append(to.Merged, from.Merged...)
	groups := c.directOf(from.ID)
	c.dropEntity(from.ID)
	for _, id := range groups {
		g := c.editGroup(id)
		_, member := c.memberships[to.ID][id]
		if _, joins := joined[id]; !member && !joins {
			g.Entities = append(g.Entities, to.ID)
			joined[id] = struct{}{}
			c.putGroup(g)
		}
	}
}

// unique keeps the first of equal elements.
func unique(list []string) []string {
	kept := make([]string, 0, len(list))
	seen := make(idSet, len(list))
	for _, s := range list {
		if _, again := seen[s]; !again {
			kept = append(kept, s)
			seen[s] = struct{}{}
		}
	}
	return kept
}
