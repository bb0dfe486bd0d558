package identity

import (
	"context"
	"errors"
	"slices"
	"strings"

	"coffer/policy"
)

// Errors that refuse the tokens of an entity.
var (
	// ErrNoEntity is returned for an entity that does not exist, or no more.
	ErrNoEntity = errors.New("identity: no such entity")
	// ErrDisabled is returned for an entity that is disabled.
	ErrDisabled = errors.New("identity: the entity is disabled")
)

// Holder is an entity with its groups as they are at one moment, and what they add to its tokens. It is
// immutable.
type Holder struct {
	entity   *Entity
	groups   []*Group
	policies []string
	revision uint64
	// uncertain is set while a group cannot be read, of which the entity may be a member.
	uncertain bool
}

// EntityID is the id of the entity: not the token's own when that entity was merged into another.
func (h *Holder) EntityID() string { return h.entity.ID }

// Policies are those of the entity, then those of its groups; never root. Not to be changed.
func (h *Holder) Policies() []string { return h.policies }

// Nobody is a holder without anything, for trying templates.
func Nobody() *Holder { return &Holder{entity: &Entity{}} }

// Refused reports whether an error of Holder means that the tokens of the entity must be refused.
func Refused(err error) bool { return errors.Is(err, ErrNoEntity) || errors.Is(err, ErrDisabled) }

// GroupNames are the names of the holder's groups, GroupIDs their ids in the same order.
func (h *Holder) GroupNames() []string {
	names := make([]string, 0, len(h.groups))
	for _, g := range h.groups {
		names = append(names, g.Name)
	}
	return names
}

// GroupIDs are the ids of the holder's groups.
func (h *Holder) GroupIDs() []string {
	ids := make([]string, 0, len(h.groups))
	for _, g := range h.groups {
		ids = append(ids, g.ID)
	}
	return ids
}

// Metadata answers the selectors of a whole map: "identity.entity.metadata", and metadata or
// custom_metadata of an alias. It reports false for any other selector; the map may be nil and must not be
// changed.
func (h *Holder) Metadata(selector string) (map[string]string, bool) {
	rest, ok := strings.CutPrefix(selector, "identity.entity.")
	if !ok {
		return nil, false
	}
	if rest == "metadata" {
		return h.entity.Metadata, true
	}
	rest, ok = strings.CutPrefix(rest, "aliases.")
	accessor, what, _ := strings.Cut(rest, ".")
	if !ok || (what != "metadata" && what != "custom_metadata") {
		return nil, false
	}
	a := h.entity.aliasAt(accessor)
	switch {
	case a == nil:
		return nil, true
	case what == "metadata":
		return a.Metadata, true
	default:
		return a.Custom, true
	}
}

// Uncertain reports whether there is a group that cannot be read: nobody knows whether the holder is a member.
func (h *Holder) Uncertain() bool { return h.uncertain }

// Revision is a number that no other Holder of the session has.
func (h *Holder) Revision() uint64 { return h.revision }

// Holder returns the entity with that id, or the one it was merged into. It returns ErrNoEntity or
// ErrDisabled: its tokens must be refused. A change of the entity or its groups shows in the next call.
func (s *Store) Holder(ctx context.Context, id string) (*Holder, error) {
	h, err := s.find(ctx, id)
	if err == nil && h.entity.Disabled {
		return nil, ErrDisabled
	}
	return h, err
}

// find is Holder for entities that may be disabled.
func (s *Store) find(ctx context.Context, id string) (*Holder, error) {
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	s.mu.RLock()
	h := s.holders[id]
	s.mu.RUnlock()
	if h == nil {
		if h = s.makeHolder(id); h == nil {
			return nil, ErrNoEntity
		}
	}
	return h, nil
}

func (s *Store) makeHolder(id string) *Holder {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.index.entity(id)
	if e == nil {
		return nil
	}
	h := s.holders[e.ID]
	if h == nil {
		s.revisions++
		h = &Holder{entity: e, groups: s.index.groupsOf(e.ID), revision: s.revisions,
			uncertain: s.index.anyLost(groupRecord)}
		h.policies = s.index.policiesOf(e, s.index.directOf(e.ID))
		s.holders[e.ID] = h
	}
	return h
}

// Value implements policy.Lookup for the selectors that begin with "identity.".
func (h *Holder) Value(selector string) (string, error) {
	if rest, ok := strings.CutPrefix(selector, "identity.entity."); ok {
		return h.entityValue(rest)
	}
	if rest, ok := strings.CutPrefix(selector, "identity.groups.ids."); ok {
		id, rest, _ := strings.Cut(rest, ".")
		return groupValue(h.group(func(g *Group) bool { return g.ID == id }), rest)
	}
	if rest, ok := strings.CutPrefix(selector, "identity.groups.names."); ok {
		// A group's name may hold dots. The shortest name of a group counts, so that nobody changes what a selector
		// means by making a group with a longer one.
		for i := 0; i < len(rest); i++ {
			if rest[i] != '.' {
				continue
			}
			if g := h.groupNamed(rest[:i]); g != nil {
				return groupValue(g, rest[i+1:])
			}
		}
	}
	return "", policy.ErrNoValue
}

func (h *Holder) group(is func(*Group) bool) *Group {
	if i := slices.IndexFunc(h.groups, is); i >= 0 {
		return h.groups[i]
	}
	return nil
}

func (h *Holder) groupNamed(name string) *Group {
	return h.group(func(g *Group) bool { return folded(g.Name) == folded(name) })
}

func groupValue(g *Group, what string) (string, error) {
	if g == nil {
		return "", policy.ErrNoValue
	}
	switch what {
	case "id":
		return g.ID, nil
	case "name":
		return g.Name, nil
	}
	return metadataValue(g.Metadata, what, "metadata.")
}

func metadataValue(metadata map[string]string, what, prefix string) (string, error) {
	if key, ok := strings.CutPrefix(what, prefix); ok {
		if value, ok := metadata[key]; ok {
			return value, nil
		}
	}
	return "", policy.ErrNoValue
}

func (h *Holder) entityValue(what string) (string, error) {
	switch what {
	case "id":
		return h.entity.ID, nil
	case "name":
		return h.entity.Name, nil
	}
	rest, ok := strings.CutPrefix(what, "aliases.")
	if !ok {
		return metadataValue(h.entity.Metadata, what, "metadata.")
	}
	accessor, what, _ := strings.Cut(rest, ".")
	a := h.entity.aliasAt(accessor)
	if a == nil {
		return "", policy.ErrNoValue
	}
	switch what {
	case "id":
		return a.ID, nil
	case "name":
		return a.Name, nil
	}
	if strings.HasPrefix(what, "custom_metadata.") {
		return metadataValue(a.Custom, what, "custom_metadata.")
	}
	return metadataValue(a.Metadata, what, "metadata.")
}
