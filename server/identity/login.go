package identity

import (
	"context"
	"errors"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/google/uuid"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/policy"
)

// Login finds the entity with an alias, making both when the alias is new, and puts the entity into the
// external groups that the login names. It implements token.Identity. A login that changes nothing, which
// is nearly every one, takes no lock but for reading and writes nothing.
func (s *Store) Login(ctx context.Context, a token.Alias) (token.Entity, error) {
	found, known, err := s.knownLogin(ctx, a)
	if err != nil || known {
		return found, err
	}
	if !isText(a) {
		return token.Entity{}, errNotText
	}
	c, err := s.begin(ctx)
	if err != nil {
		return token.Entity{}, err
	}
	e := c.login(a)
	if e.Disabled {
		s.unlock()
		return token.Entity{}, errDisabledLogin
	}
	ops, err := c.stage()
	if err != nil {
		s.unlock()
		return token.Entity{}, err
	}
	return token.Entity{
		ID: e.ID, Policies: c.policiesAfter(e), Changes: ops, Settle: func(err error) { c.finish(ctx, err) },
	}, nil
}

// errNotText refuses a login whose alias could not be stored as it is. Two names that are no UTF-8 could become one
// name, and two people one entity.
var errNotText = engines.Invalid("the name or the metadata of the login is not UTF-8")

func isText(a token.Alias) bool {
	for key, value := range a.Metadata {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return false
		}
	}
	return utf8.ValidString(a.Name)
}

// errDisabledLogin refuses the login of a disabled entity.
var errDisabledLogin = &engines.Error{Kind: engines.ErrDenied, Message: engines.ErrDenied.Error()}

// knownLogin serves a login that changes nothing; false when there is something to change.
func (s *Store) knownLogin(ctx context.Context, a token.Alias) (found token.Entity, known bool, err error) {
	id := ""
	err = s.view(ctx, func(x *index) {
		e := x.entityOfLogin(factors{a.MountAccessor, folded(a.Name)})
		if e == nil {
			return
		}
		alias := e.aliasAt(a.MountAccessor)
		if (a.Metadata == nil || maps.Equal(alias.Metadata, a.Metadata)) && len(x.groupMoves(e.ID, a)) == 0 {
			id = e.ID
		}
	})
	if err != nil || id == "" {
		return token.Entity{}, false, err
	}
	h, err := s.Holder(ctx, id)
	switch {
	case errors.Is(err, ErrNoEntity):
		return token.Entity{}, false, nil // deleted at this moment: the alias is new again
	case errors.Is(err, ErrDisabled):
		return token.Entity{}, false, errDisabledLogin
	case err != nil:
		return token.Entity{}, false, err
	}
	return token.Entity{ID: h.EntityID(), Policies: h.Policies(), Settle: func(error) {}}, true, nil
}

// login puts what a login changes into the change and returns the entity as it will be.
func (c *change) login(a token.Alias) *Entity {
	old := c.entityOfLogin(factors{a.MountAccessor, folded(a.Name)})
	var e *Entity
	switch old {
	case nil:
		e = &Entity{ID: uuid.NewString(), Name: c.freeName("entity")}
		e.Aliases = []Alias{{
			ID: uuid.NewString(), Name: a.Name, MountAccessor: a.MountAccessor, Metadata: a.Metadata,
			Created: c.now, Updated: c.now,
		}}
		c.putEntity(e)
	default:
		e = old.clone()
		alias := e.aliasAt(a.MountAccessor)
		if a.Metadata != nil && !maps.Equal(alias.Metadata, a.Metadata) {
			alias.Metadata, alias.Updated = a.Metadata, c.now
			c.putEntity(e)
		}
	}
	c.regroup(e.ID, a)
	return e
}

// regroup makes the moves that groupMoves tells.
func (c *change) regroup(entity string, a token.Alias) {
	for _, id := range c.groupMoves(entity, a) {
		g := c.editGroup(id)
		if slices.Contains(g.Entities, entity) {
			g.Entities = without(g.Entities, entity)
		} else {
			g.Entities = append(g.Entities, entity)
		}
		c.putGroup(g)
	}
}

// Regroup puts an entity into the external groups that a renewal of its login at a mount names, and out of
// that mount's others. An entity that is gone is nobody's member.
func (s *Store) Regroup(ctx context.Context, entityID, accessor string, groups []string) error {
	a := token.Alias{MountAccessor: accessor, Groups: groups}
	moves := false
	err := s.view(ctx, func(x *index) {
		if e := x.entity(entityID); e != nil {
			moves = len(x.groupMoves(e.ID, a)) > 0
		}
	})
	if err != nil || !moves {
		return err
	}
	return s.change(ctx, func(c *change) error {
		if e := c.entity(entityID); e != nil {
			c.regroup(e.ID, a)
		}
		return nil
	})
}

// groupMoves are the external groups that the entity has to enter or to leave: those at the login's mount, and those
// that no login names any more.
func (x *index) groupMoves(entity string, a token.Alias) []string {
	if a.KeepGroups || len(x.groupLogins) == 0 && len(x.memberships[entity]) == 0 {
		return nil
	}
	named := make(idSet)
	for _, name := range a.Groups {
		if g := x.groupOfLogin(factors{a.MountAccessor, folded(name)}); g != nil && g.External {
			named[g.ID] = struct{}{}
		}
	}
	var moves []string
	for id := range x.memberships[entity] {
		g := x.groups[id]
		if g == nil || !g.External || x.namedElsewhere(g, a.MountAccessor) {
			continue
		}
		if _, stays := named[id]; !stays {
			moves = append(moves, id)
		}
		delete(named, id)
	}
	moves = slices.AppendSeq(moves, maps.Keys(named))
	slices.Sort(moves)
	return moves
}

// namedElsewhere reports whether the logins at another mount say who is in the group. Whoever is
// left in a group without an alias, or whose alias is of a mount that was disabled, leaves it with
// the next login wherever that is: no other login could take him out.
func (x *index) namedElsewhere(g *Group, accessor string) bool {
	if g.Alias == nil || g.Alias.MountAccessor == accessor {
		return false
	}
	_, mounted := x.mounts.ByAccessor(g.Alias.MountAccessor)
	return mounted
}

// policiesAfter are the policies that the entity and its groups add once the change is made.
func (c *change) policiesAfter(e *Entity) []string {
	direct := make(idSet)
	for id := range c.memberships[e.ID] {
		direct[id] = struct{}{}
	}
	for id, g := range c.newGroup {
		delete(direct, id)
		if g != nil && slices.Contains(g.Entities, e.ID) {
			direct[id] = struct{}{}
		}
	}
	return c.policiesOf(e, slices.Sorted(maps.Keys(direct)))
}

// policiesOf are the policies of an entity and of the groups it is a member of, directly or not: its own
// first, in lower case, never root. One that comes from several comes several times.
func (x *index) policiesOf(e *Entity, direct []string) []string {
	names := cleaned(e.Policies, folded) // they keep their case there, which does not count
	above := x.above(direct)
	for _, id := range direct {
		delete(above, id)
	}
	for _, id := range slices.Concat(direct, slices.Sorted(maps.Keys(above))) {
		if g := x.groups[id]; g != nil {
			names = append(names, g.Policies...)
		}
	}
	for i := range names {
		names[i] = folded(names[i])
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == policy.RootName })
}

// freeName makes a name that no entity or group has.
func (c *change) freeName(kind string) string {
	for {
		name := newName(kind)
		if c.entityNamed(name) == nil && c.groupNamed(name) == nil {
			return name
		}
	}
}

// Policies returns what the entity of a token adds to it, also while the entity is disabled: nothing when
// there is no such entity. It implements token.Identity.
func (s *Store) Policies(ctx context.Context, entityID string) ([]string, error) {
	h, err := s.find(ctx, entityID)
	if errors.Is(err, ErrNoEntity) {
		return []string{}, nil
	}
	if err != nil {
		return nil, err
	}
	return h.Policies(), nil
}
