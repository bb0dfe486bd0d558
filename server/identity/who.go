package identity

import (
	"context"
	"maps"
	"slices"

	"coffer/auth/token"
)

// Someone is whom an alias names, as a login with it would find him.
type Someone struct {
	// ID is his entity's, "" for an alias that is new.
	ID string
	// Merged are the ids of entities that were merged into his.
	Merged []string
	// Groups are the ids of the groups he would be in after the login, directly or not, and of those that cannot be read:
	// he may be in them.
	Groups []string
}

// Who tells whose login an alias names, without changing anything. It refuses the login of a disabled entity, and one
// that may be of an entity that cannot be read.
func (s *Store) Who(ctx context.Context, a token.Alias) (who Someone, err error) {
	disabled, lost := false, false
	err = s.view(ctx, func(x *index) {
		if e := x.entityOfLogin(factors{a.MountAccessor, folded(a.Name)}); e != nil {
			who.ID, who.Merged, disabled = e.ID, slices.Clone(e.Merged), e.Disabled
		} else {
			lost = x.anyLost(entityRecord)
		}
		direct := maps.Clone(x.memberships[who.ID])
		if direct == nil {
			direct = make(idSet)
		}
		for _, group := range x.groupMoves(who.ID, a) {
			if _, in := direct[group]; in {
				delete(direct, group)
			} else {
				direct[group] = struct{}{}
			}
		}
		for _, group := range x.lostGroups() {
			direct[group] = struct{}{}
		}
		who.Groups = slices.Sorted(maps.Keys(x.above(slices.Sorted(maps.Keys(direct)))))
	})
	switch {
	case err != nil:
	case disabled:
		err = errDisabledLogin
	case lost:
		err = errLost
	}
	return who, err
}

// HasEntity reports whether there is an entity with that id itself; one that was merged into another is none.
func (s *Store) HasEntity(ctx context.Context, id string) (known bool, err error) {
	err = s.view(ctx, func(x *index) { known = x.entities[id] != nil })
	return known, err
}

// HasGroup reports whether there is a group with that id.
func (s *Store) HasGroup(ctx context.Context, id string) (known bool, err error) {
	err = s.view(ctx, func(x *index) { known = x.groups[id] != nil })
	return known, err
}
