package identity

import (
	"context"
	"maps"
	"slices"

	"coffer/auth/token"
)

// Who tells whose login an alias names and which groups he would be in after it, directly or not, without changing
// anything. The id is "" for an alias that is new. It refuses the login of a disabled entity.
func (s *Store) Who(ctx context.Context, a token.Alias) (id string, groups []string, err error) {
	disabled := false
	err = s.view(ctx, func(x *index) {
		if e := x.entityOfLogin(factors{a.MountAccessor, folded(a.Name)}); e != nil {
			id, disabled = e.ID, e.Disabled
		}
		direct := maps.Clone(x.memberships[id])
		if direct == nil {
			direct = make(idSet)
		}
		for _, group := range x.groupMoves(id, a) {
			if _, in := direct[group]; in {
				delete(direct, group)
			} else {
				direct[group] = struct{}{}
			}
		}
		groups = slices.Sorted(maps.Keys(x.above(slices.Sorted(maps.Keys(direct)))))
	})
	if err == nil && disabled {
		err = errDisabledLogin
	}
	return id, groups, err
}

// HasEntity reports whether there is an entity with that id.
func (s *Store) HasEntity(ctx context.Context, id string) (known bool, err error) {
	err = s.view(ctx, func(x *index) { known = x.entity(id) != nil })
	return known, err
}

// HasGroup reports whether there is a group with that id.
func (s *Store) HasGroup(ctx context.Context, id string) (known bool, err error) {
	err = s.view(ctx, func(x *index) { known = x.groups[id] != nil })
	return known, err
}
