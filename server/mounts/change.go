package mounts

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"strings"

	"github.com/google/uuid"

	"coffer/engines"
)

// Enable mounts a new engine: it fills in UUID and accessor, stores the row and starts the engine.
// It returns an engines.ErrInvalid for an unknown type or a path that is taken or reserved.
func (t *Table) Enable(ctx context.Context, e Entry) error {
	t.changing.Lock()
	defer t.changing.Unlock()
	e = canonicalType(e.Clone())
	factory, ok := t.cfg.Types[e.Kind][e.Type]
	if !ok {
		return engines.Invalid("plugin not found in the catalog: %s", e.Type)
	}
	if err := t.checkFree(e.Path, ""); err != nil {
		return err
	}
	e.UUID = uuid.NewString()
	e.Accessor = newAccessor(e)
	m, err := t.build(e, factory)
	if err != nil {
		return err
	}
	if err := t.store(ctx, m); err != nil {
		m.life.end()
		return err
	}
	t.put(m)
	return nil
}

// canonicalType turns the short names of versioned types into a type and an option.
func canonicalType(e Entry) Entry {
	if name, version, ok := strings.Cut(e.Type, "-v"); ok && name == "kv" && (version == "1" || version == "2") {
		e.Type = name
		options := maps.Clone(e.Options)
		if options == nil {
			options = make(map[string]string, 1)
		}
		options["version"] = version
		e.Options = options
	}
	return e
}

// checkFree refuses a path that is, contains or lies below an existing mount other than except, and every path while
// there is a mount whose path is not known.
func (t *Table) checkFree(path, except string) error {
	if t.Lost() {
		return ErrLost
	}
	for taken := range *t.leaving.Load() {
		if strings.HasPrefix(path, taken) || strings.HasPrefix(taken, path) {
			return engines.Invalid("path is already in use at %s", taken)
		}
	}
	for taken := range *t.rows.Load() {
		if taken == except {
			continue
		}
		if strings.HasPrefix(path, taken) {
			return engines.Invalid("path is already in use at %s", taken)
		}
		if strings.HasPrefix(taken, path) {
			return engines.Invalid("existing mount at %s", taken)
		}
	}
	return nil
}

// Tune changes a mount's description, options or tuning. When the options change, the engine is made
// anew with them. change works on a copy; its error, if any, is returned and nothing is changed.
func (t *Table) Tune(ctx context.Context, path string, change func(*Entry) error) error {
	t.changing.Lock()
	defer t.changing.Unlock()
	old, ok := (*t.rows.Load())[path]
	if !ok {
		return ErrNoMount
	}
	e := old.Entry.Clone()
	if err := change(&e); err != nil {
		return err
	}
	if old.builtin || maps.Equal(e.Options, old.Entry.Options) {
		tuned := *old
		tuned.Entry = e
		if err := t.store(ctx, &tuned); err != nil {
			return err
		}
		tuned.ttls.set(e.Tuning)
		t.put(&tuned)
		return nil
	}
	m, err := t.build(e, t.cfg.Types[e.Kind][e.Type])
	if err != nil {
		return err
	}
	m.left = old.left
	if err := t.store(ctx, m); err != nil {
		m.life.end()
		return err
	}
	t.put(m)
	old.life.calls.Close()
	t.cfg.Background(func(context.Context) {
		<-old.life.calls.Close()
		old.life.end()
	})
	return nil
}

func newAccessor(e Entry) string {
	var b [4]byte
	rand.Read(b[:])
	typ := e.Type
	if e.Kind == Auth {
		typ = "auth_" + typ
	}
	return typ + "_" + hex.EncodeToString(b[:])
}
