package identity

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"coffer/engines"
)

// Entity is one person or service, whichever way it logs in. Entities in the index are never changed in
// place.
type Entity struct {
	ID       string            `json:"-"`
	Name     string            `json:"name"`
	Metadata map[string]string `json:"meta,omitempty"`
	Policies []string          `json:"pol,omitempty"`
	Disabled bool              `json:"dis,omitempty"`
	Aliases  []Alias           `json:"aliases,omitempty"`
	// Merged are the ids of entities that were merged into this one: their tokens are this entity's.
	Merged  []string  `json:"merged,omitempty"`
	Created time.Time `json:"crt"`
	Updated time.Time `json:"upd"`
}

// Alias is the name by which an auth mount knows an entity or a group.
type Alias struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	MountAccessor string `json:"mount"`
	// Metadata is what the auth method says of the alias, Custom what operators say.
	Metadata map[string]string `json:"meta,omitempty"`
	Custom   map[string]string `json:"cust,omitempty"`
	// MergedFrom are the ids of the entities it belonged to before they were merged into its own.
	MergedFrom []string  `json:"merged,omitempty"`
	Created    time.Time `json:"crt"`
	Updated    time.Time `json:"upd"`
}

// Group is a number of entities and groups. The members of an external group are those whose logins name
// its alias. Groups in the index are never changed in place.
type Group struct {
	ID       string            `json:"-"`
	Name     string            `json:"name"`
	External bool              `json:"ext,omitempty"`
	Metadata map[string]string `json:"meta,omitempty"`
	Policies []string          `json:"pol,omitempty"`
	Entities []string          `json:"ents,omitempty"`
	Groups   []string          `json:"groups,omitempty"`
	Alias    *Alias            `json:"alias,omitempty"`
	// Revision counts the changes; clients see it as modify_index.
	Revision uint64    `json:"rev"`
	Created  time.Time `json:"crt"`
	Updated  time.Time `json:"upd"`
}

// clone copies the entity for a change. As in Vault, what is empty becomes null to clients then.
func (e *Entity) clone() *Entity {
	c := *e
	c.Aliases, c.Merged, c.Metadata = slices.Clone(e.Aliases), slices.Clone(e.Merged), filled(e.Metadata)
	for i := range c.Aliases {
		c.Aliases[i].Custom, c.Aliases[i].Metadata = filled(c.Aliases[i].Custom), filled(c.Aliases[i].Metadata)
	}
	return &c
}

func (g *Group) clone() *Group {
	c := *g
	c.Metadata = filled(g.Metadata)
	c.Entities, c.Groups = slices.Clone(g.Entities), slices.Clone(g.Groups)
	if len(c.Entities) == 0 {
		c.Entities = nil
	}
	if len(c.Policies) == 0 {
		c.Policies = nil
	}
	return &c
}

// filled is m, or nil when it is empty. Maps are replaced, never changed in place.
func filled(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// Groups' types as clients name them.
const (
	internal = "internal"
	external = "external"
)

func (g *Group) kind() string {
	if g.External {
		return external
	}
	return internal
}

// aliasIndex finds an alias of the entity; -1 for none.
func (e *Entity) aliasIndex(id string) int {
	return slices.IndexFunc(e.Aliases, func(a Alias) bool { return a.ID == id })
}

// aliasAt is the entity's alias at a mount; nil for none.
func (e *Entity) aliasAt(accessor string) *Alias {
	for i := range e.Aliases {
		if e.Aliases[i].MountAccessor == accessor {
			return &e.Aliases[i]
		}
	}
	return nil
}

// factors are what makes an alias one: its name, whatever the case, at its mount.
type factors struct{ mount, name string }

func (a *Alias) factors() factors { return factors{a.MountAccessor, folded(a.Name)} }

// folded is the form of a name in which two names of one thing are equal. Only ASCII is folded: directories and
// providers tell other letters apart, and two of their users must not share an entity.
func folded(name string) string { return engines.FoldASCII(name) }

// cleaned are the texts of a list as Vault keeps it: trimmed, without empty ones, each once, sorted. Of two with
// the same key the first is kept.
func cleaned(list []string, key func(string) string) []string {
	clean := make([]string, 0, len(list))
	seen := make(idSet, len(list))
	for _, text := range list {
		text = strings.TrimSpace(text)
		k := key(text)
		if _, again := seen[k]; text != "" && !again {
			clean = append(clean, text)
			seen[k] = struct{}{}
		}
	}
	slices.Sort(clean)
	return clean
}

// exactly is the key of texts that differ in every letter.
func exactly(text string) string { return text }

func without(list []string, item string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == item })
}

// newName makes the name of something that was given none.
func newName(kind string) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return fmt.Sprintf("%s_%x", kind, b)
}
