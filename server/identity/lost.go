package identity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"coffer/engines"
	"coffer/storage"
)

// What cannot be read is lost until somebody puts it back or accepts the loss. It denies what it may have denied: the
// tokens of a lost entity are refused, as those of one that is gone; an alias that no entity has may have been the lost
// one's, and is not made anew; and everybody may have been a member of a lost group.

// errLost is the answer where what was lost may be what is asked for.
var errLost = engines.Failed("a stored entity or group cannot be read, and nobody can tell whether it is this one: " +
	"see sys/damaged")

// unnamed is the record of a kind whose name cannot be read.
func unnamed(kind recordKind) recordRef { return recordRef{kind: kind} }

// load reads all records of a kind. It lists them in one go: the barrier decrypts every name of a folder for
// each page of a list.
func (s *Store) load(ctx context.Context, kind recordKind) error {
	folder := s.cfg.Prefix + string(kind) + "/"
	ids, err := s.cfg.Storage.List(ctx, folder, "", 0)
	namesLost := errors.Is(err, storage.ErrDamaged)
	if namesLost {
		ids, err = s.cfg.Storage.List(storage.LeaveOut(ctx), folder, "", 0)
	}
	if err != nil {
		return fmt.Errorf("identity: list %s: %w", folder, err)
	}
	s.mu.Lock()
	s.index.setLost(unnamed(kind), namesLost)
	s.mu.Unlock()
	for _, id := range ids {
		if err := s.reload(ctx, recordRef{kind, id}); err != nil {
			return err
		}
	}
	return nil
}

// Reread looks again at what was lost.
func (s *Store) Reread(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.mu.RLock()
	lost := slices.Collect(maps.Keys(s.index.lost))
	s.mu.RUnlock()
	for _, ref := range lost {
		var err error
		if ref == unnamed(ref.kind) {
			err = s.load(ctx, ref.kind)
		} else {
			err = s.reload(ctx, ref)
		}
		if err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.holders)
	return nil
}

func (x *index) setLost(ref recordRef, lost bool) {
	if lost {
		x.lost[ref] = struct{}{}
	} else {
		delete(x.lost, ref)
	}
}

func (x *index) isLost(kind recordKind, id string) bool {
	_, lost := x.lost[recordRef{kind, id}]
	return lost
}

// anyLost reports whether a record of a kind cannot be read.
func (x *index) anyLost(kind recordKind) bool {
	for ref := range x.lost {
		if ref.kind == kind {
			return true
		}
	}
	return false
}

// lostGroups are the ids of the groups that cannot be read, as far as they are known.
func (x *index) lostGroups() []string {
	var ids []string
	for ref := range x.lost {
		if ref.kind == groupRecord && ref.id != "" {
			ids = append(ids, ref.id)
		}
	}
	return ids
}

// checkLost refuses a change that would give somebody a name or an alias that may belong to what was lost.
func (c *change) checkLost() error {
	if len(c.lost) == 0 {
		return nil
	}
	entities, groups := c.anyLost(entityRecord), c.anyLost(groupRecord)
	for _, ref := range c.refs {
		if c.isLost(ref.kind, ref.id) ||
			entities && ref.kind == entityRecord && c.namesEntityAnew(c.newEntity[ref.id]) ||
			groups && ref.kind == groupRecord && c.namesGroupAnew(c.newGroup[ref.id]) {
			return errLost
		}
	}
	return nil
}

// namesEntityAnew reports whether an entity has a name or an alias that none has.
func (c *change) namesEntityAnew(e *Entity) bool {
	return e != nil && (c.entityNamed(e.Name) == nil ||
		slices.ContainsFunc(e.Aliases, func(a Alias) bool { return c.entityOfLogin(a.factors()) == nil }))
}

// namesGroupAnew reports whether a group has a name or an alias that none has.
func (c *change) namesGroupAnew(g *Group) bool {
	return g != nil && (c.groupNamed(g.Name) == nil || g.Alias != nil && c.groupOfLogin(g.Alias.factors()) == nil)
}
