package identity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"coffer/storage"
)

// errCorrupt is returned for a record that is not one of ours.
var errCorrupt = fmt.Errorf("identity: corrupt record: %w", storage.ErrDamaged)

// recordKind is the folder of a record.
type recordKind string

const (
	entityRecord recordKind = "entity"
	groupRecord  recordKind = "group"
)

// recordRef names a record.
type recordRef struct {
	kind recordKind
	id   string
}

// recordVersion is the first byte of what the store writes; what follows is JSON.
const recordVersion = 1

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("identity: encode: %w", err)
	}
	return append([]byte{recordVersion}, b...), nil
}

func decode(ref recordRef, b []byte, into any) error {
	if len(b) == 0 || b[0] != recordVersion || !bytes.HasPrefix(b[1:], []byte("{")) {
		return fmt.Errorf("%w: %s %s", errCorrupt, ref.kind, ref.id)
	}
	if err := json.Unmarshal(b[1:], into); err != nil {
		return fmt.Errorf("%w: %s %s", errCorrupt, ref.kind, ref.id)
	}
	return nil
}

func decodeEntity(id string, b []byte) (*Entity, error) {
	ref := recordRef{entityRecord, id}
	e := &Entity{}
	if err := decode(ref, b, e); err != nil {
		return nil, err
	}
	e.ID = id
	valid := e.Name != "" && !slices.ContainsFunc(e.Aliases, func(a Alias) bool { return !a.valid() })
	if !valid || hasRoot(e.Policies) {
		return nil, fmt.Errorf("%w: %s %s", errCorrupt, ref.kind, id)
	}
	return e, nil
}

func decodeGroup(id string, b []byte) (*Group, error) {
	ref := recordRef{groupRecord, id}
	g := &Group{}
	if err := decode(ref, b, g); err != nil {
		return nil, err
	}
	g.ID = id
	if g.Name == "" || hasRoot(g.Policies) || (g.Alias != nil && !g.Alias.valid()) {
		return nil, fmt.Errorf("%w: %s %s", errCorrupt, ref.kind, id)
	}
	return g, nil
}

func (a *Alias) valid() bool { return a.ID != "" && a.Name != "" && a.MountAccessor != "" }

// hasRoot reports whether the root policy is among the names, however it is spelt. Nobody gets it through
// identity.
func hasRoot(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return folded(strings.TrimSpace(name)) == "root"
	})
}
