package identity

import (
	"context"
	"slices"
	"time"

	"coffer/storage"
)

// change is what one request changes: one commit. While it lives its store's lock is held, so what it reads
// from the index stays as it is.
type change struct {
	store *Store
	*index
	now time.Time
	// refs are the records to be written, in order; entities and groups hold them, nil for a removal.
	refs      []recordRef
	noted     map[recordRef]struct{} // what is in refs
	newEntity map[string]*Entity
	newGroup  map[string]*Group
	// gone are the members that leave a group of newGroup: stage takes them out at once, since each costs the whole list.
	gone map[string]idSet
}

func (s *Store) begin(ctx context.Context) (*change, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	return &change{
		store: s, index: s.index, now: s.cfg.Now(),
		noted:     make(map[recordRef]struct{}),
		newEntity: make(map[string]*Entity), newGroup: make(map[string]*Group), gone: make(map[string]idSet),
	}, nil
}

// change runs f and commits what it put into the change. When f fails nothing is changed.
func (s *Store) change(ctx context.Context, f func(*change) error) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	if err := f(c); err != nil {
		s.unlock()
		return err
	}
	ops, err := c.stage()
	if err != nil {
		s.unlock()
		return err
	}
	if len(ops) > 0 {
		err = s.cfg.Storage.Apply(ctx, ops...)
	}
	c.finish(ctx, err)
	return err
}

func (c *change) note(ref recordRef) {
	if _, ok := c.noted[ref]; !ok {
		c.refs = append(c.refs, ref)
		c.noted[ref] = struct{}{}
	}
}

func (c *change) putEntity(e *Entity) {
	e.Updated = c.now
	if e.Created.IsZero() {
		e.Created = c.now
	}
	c.note(recordRef{entityRecord, e.ID})
	c.newEntity[e.ID] = e
}

func (c *change) putGroup(g *Group) {
	g.Updated = c.now
	if g.Created.IsZero() {
		g.Created = c.now
	}
	g.Revision++
	c.note(recordRef{groupRecord, g.ID})
	c.newGroup[g.ID] = g
}

// dropEntity removes an entity, and with it its aliases and its place in groups.
func (c *change) dropEntity(id string) {
	c.note(recordRef{entityRecord, id})
	c.newEntity[id] = nil
	for _, groupID := range c.directOf(id) {
		addTo(c.gone, []string{groupID}, id)
		c.putGroup(c.editGroup(groupID))
	}
}

// takeOut removes from groups the members that were dropped.
func (c *change) takeOut() {
	for groupID, gone := range c.gone {
		g := c.newGroup[groupID]
		if g == nil {
			continue
		}
		g.Entities = slices.DeleteFunc(g.Entities, func(id string) bool {
			_, ok := gone[id]
			return ok
		})
	}
}

// dropGroup removes a group and its place in its parents.
func (c *change) dropGroup(id string) {
	c.note(recordRef{groupRecord, id})
	c.newGroup[id] = nil
	for _, parent := range c.parentsOf(id) {
		if g := c.editGroup(parent); g != nil {
			g.Groups = without(g.Groups, id)
			c.putGroup(g)
		}
	}
}

// editEntity is a copy of an entity as this change leaves it so far; nil when there is none.
func (c *change) editEntity(id string) *Entity {
	if e, ok := c.newEntity[id]; ok {
		return e
	}
	if e := c.entities[id]; e != nil {
		return e.clone()
	}
	return nil
}

// editGroup is a copy of a group as this change leaves it so far; nil when there is none.
func (c *change) editGroup(id string) *Group {
	if g, ok := c.newGroup[id]; ok {
		return g
	}
	if g := c.groups[id]; g != nil {
		return g.clone()
	}
	return nil
}

// stage returns what has to be written.
func (c *change) stage() ([]storage.Op, error) {
	c.takeOut()
	if err := c.checkLost(); err != nil {
		return nil, err
	}
	ops := make([]storage.Op, 0, len(c.refs))
	for _, ref := range c.refs {
		var record any
		if ref.kind == entityRecord {
			if e := c.newEntity[ref.id]; e != nil {
				record = e
			}
		} else if g := c.newGroup[ref.id]; g != nil {
			record = g
		}
		if record == nil {
			ops = append(ops, storage.Delete(c.store.key(ref)))
			continue
		}
		b, err := encode(record)
		if err != nil {
			return nil, err
		}
		ops = append(ops, storage.Put(c.store.key(ref), b))
	}
	return ops, nil
}

// finish puts the change into the index, or, after a failed commit, whatever of it storage has; and gives
// up the lock.
func (c *change) finish(ctx context.Context, err error) {
	s := c.store
	defer s.unlock()
	if err != nil {
		// Nobody knows whether it was written.
		s.unsettled.Store(true)
		s.doubtful = append(s.doubtful, c.refs...)
		if err := s.settleLocked(context.WithoutCancel(ctx)); err != nil {
			s.cfg.Logger.Error("identity cannot be read after a failed write", "error", err)
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ref := range c.refs {
		if ref.kind == entityRecord {
			s.index.setEntity(ref.id, c.newEntity[ref.id])
			delete(s.holders, ref.id)
		} else {
			s.index.setGroup(ref.id, c.newGroup[ref.id])
			clear(s.holders) // a group is behind any number of entities
		}
	}
}
