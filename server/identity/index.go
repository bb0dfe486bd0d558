package identity

import (
	"maps"
	"slices"
)

// index finds entities and groups by everything that names them. It holds what is stored, or what a change
// that is being made would store.
type index struct {
	mounts Mounts

	entities map[string]*Entity
	names    map[string]string  // folded name → entity id
	merged   map[string]string  // id that was merged → entity id
	aliases  map[string]string  // alias id → entity id
	logins   map[factors]string // alias → entity id

	groups       map[string]*Group
	groupNames   map[string]string  // folded name → group id
	groupAliases map[string]string  // alias id → group id
	groupLogins  map[factors]string // alias → group id
	memberships  map[string]idSet   // entity id → groups it is a direct member of
	parents      map[string]idSet   // group id → groups it is a member of

	lost map[recordRef]struct{} // what is stored and cannot be read; see lost.go
}

type idSet map[string]struct{}

func setOf(ids []string) idSet {
	set := make(idSet, len(ids))
	for _, id := range ids {
		set[id] = struct{}{}
	}
	return set
}

func newIndex(mounts Mounts) *index {
	return &index{
		mounts:   mounts,
		entities: make(map[string]*Entity), names: make(map[string]string), merged: make(map[string]string),
		aliases: make(map[string]string), logins: make(map[factors]string),
		groups: make(map[string]*Group), groupNames: make(map[string]string),
		groupAliases: make(map[string]string), groupLogins: make(map[factors]string),
		memberships: make(map[string]idSet), parents: make(map[string]idSet), lost: make(map[recordRef]struct{}),
	}
}

// setEntity replaces an entity; nil removes it.
func (x *index) setEntity(id string, e *Entity) {
	if old := x.entities[id]; old != nil {
		drop(x.names, folded(old.Name), id)
		for _, m := range old.Merged {
			drop(x.merged, m, id)
		}
		for i := range old.Aliases {
			drop(x.aliases, old.Aliases[i].ID, id)
			drop(x.logins, old.Aliases[i].factors(), id)
		}
		delete(x.entities, id)
	}
	if e == nil {
		return
	}
	x.entities[id] = e
	x.names[folded(e.Name)] = id
	for _, m := range e.Merged {
		x.merged[m] = id
	}
	for i := range e.Aliases {
		x.aliases[e.Aliases[i].ID] = id
		x.logins[e.Aliases[i].factors()] = id
	}
}

// drop removes a key that leads to id; another change may have led it elsewhere already.
func drop[K comparable](m map[K]string, key K, id string) {
	if m[key] == id {
		delete(m, key)
	}
}

// setGroup replaces a group; nil removes it.
func (x *index) setGroup(id string, g *Group) {
	if old := x.groups[id]; old != nil {
		drop(x.groupNames, folded(old.Name), id)
		if old.Alias != nil {
			drop(x.groupAliases, old.Alias.ID, id)
			drop(x.groupLogins, old.Alias.factors(), id)
		}
		removeFrom(x.memberships, old.Entities, id)
		removeFrom(x.parents, old.Groups, id)
		delete(x.groups, id)
	}
	if g == nil {
		return
	}
	x.groups[id] = g
	x.groupNames[folded(g.Name)] = id
	if g.Alias != nil {
		x.groupAliases[g.Alias.ID] = id
		x.groupLogins[g.Alias.factors()] = id
	}
	addTo(x.memberships, g.Entities, id)
	addTo(x.parents, g.Groups, id)
}

func addTo(sets map[string]idSet, members []string, id string) {
	for _, m := range members {
		if sets[m] == nil {
			sets[m] = make(idSet)
		}
		sets[m][id] = struct{}{}
	}
}

func removeFrom(sets map[string]idSet, members []string, id string) {
	for _, m := range members {
		delete(sets[m], id)
		if len(sets[m]) == 0 {
			delete(sets, m)
		}
	}
}

// entity finds an entity by its id, or by that of one that was merged into it; nil for none.
func (x *index) entity(id string) *Entity {
	if e := x.entities[id]; e != nil {
		return e
	}
	return x.entities[x.merged[id]]
}

func (x *index) entityNamed(name string) *Entity { return x.entities[x.names[folded(name)]] }
func (x *index) entityOfAlias(id string) *Entity { return x.entities[x.aliases[id]] }
func (x *index) entityOfLogin(f factors) *Entity { return x.entities[x.logins[f]] }
func (x *index) groupNamed(name string) *Group   { return x.groups[x.groupNames[folded(name)]] }
func (x *index) groupOfAlias(id string) *Group   { return x.groups[x.groupAliases[id]] }
func (x *index) groupOfLogin(f factors) *Group   { return x.groups[x.groupLogins[f]] }
func (x *index) parentsOf(group string) []string { return slices.Sorted(maps.Keys(x.parents[group])) }
func (x *index) directOf(entity string) []string {
	return slices.Sorted(maps.Keys(x.memberships[entity]))
}

// inheritedOf are the groups that an entity is a member of only because its groups are.
func (x *index) inheritedOf(entity string) []string {
	direct := x.memberships[entity]
	all := x.above(slices.Collect(maps.Keys(direct)))
	for id := range direct {
		delete(all, id)
	}
	return slices.Sorted(maps.Keys(all))
}

// above are the groups and all that they are members of, however far up.
func (x *index) above(groups []string) idSet {
	seen := make(idSet)
	for queue := groups; len(queue) > 0; {
		id := queue[0]
		queue = queue[1:]
		if _, ok := seen[id]; ok {
			continue
		}
		seen[id] = struct{}{}
		for parent := range x.parents[id] {
			queue = append(queue, parent)
		}
	}
	return seen
}

// groupsOf are all groups of an entity, in the order of their ids.
func (x *index) groupsOf(entity string) []*Group {
	var groups []*Group
	for _, id := range slices.Sorted(maps.Keys(x.above(slices.Collect(maps.Keys(x.memberships[entity]))))) {
		if g := x.groups[id]; g != nil {
			groups = append(groups, g)
		}
	}
	return groups
}
