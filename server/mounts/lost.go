package mounts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// A row that cannot be read is that of a mount whose path nobody knows. Its storage and what it issued are kept. Until
// it is put back or given up, a path at which nothing is mounted may be its path.

// ErrLost is the answer for a path that may be that of such a mount. It is an engines.ErrFailed.
var ErrLost = engines.Failed("a row of the mount table cannot be read, which may be that of this path: see sys/damaged")

// lostTTL is the longest life of what is issued at a built-in mount whose tuning cannot be read: it may have been
// tuned to be short.
const lostTTL = time.Minute

// Lost reports whether there is a mount whose path is not known.
func (t *Table) Lost() bool { return t.unknown.Load() }

// loseLocked takes note of a row that cannot be read; uuid is "" when its name cannot be.
func (t *Table) loseLocked(uuid string) {
	for _, m := range *t.rows.Load() {
		if m.builtin && m.Entry.UUID == uuid {
			m.ttls.lost.Store(true)
			return
		}
	}
	t.lost[uuid] = true
	t.unknown.Store(true)
}

// errBroken is the answer of a mount whose engine does not start. It is an engines.ErrFailed.
var errBroken = engines.Failed("the mount is not served: a record that it needs cannot be read, see sys/damaged")

// brokenEngine stands for an engine that does not start.
type brokenEngine struct{ open bool }

// Routes implements engines.Engine. Logins come without a token.
func (b brokenEngine) Routes() *engines.Routes {
	refuse := func(context.Context, *engines.Request, brokenParams) (*engines.Response, error) {
		return nil, errBroken
	}
	options := []engines.Option{
		engines.AnyParameters(), engines.OnRead(refuse), engines.OnList(refuse), engines.OnUpdate(refuse),
		engines.OnPatch(refuse), engines.OnDelete(refuse),
	}
	if b.open {
		options = append(options, engines.Unauthenticated())
	}
	return engines.Compile(engines.Path("{path...}", "Not served: see sys/damaged.", options...))
}

type brokenParams struct {
	Path string `path:"path" help:"Any path."`
}

// broken mounts what says that the engine of a stored mount does not start.
func (t *Table) broken(e Entry) (*Mounted, error) {
	m, err := t.build(e, func(context.Context, engines.Config) (engines.Engine, error) {
		return brokenEngine{open: e.Kind == Auth}, nil
	})
	if err == nil {
		m.broken = true
	}
	return m, err
}

// Reread looks again at the rows that could not be read, and at the mounts that did not start: what is gone has been
// given up.
func (t *Table) Reread(ctx context.Context) error {
	t.changing.Lock()
	defer t.changing.Unlock()
	t.lost = make(map[string]bool)
	t.unknown.Store(false)
	for _, m := range *t.rows.Load() {
		switch {
		case m.builtin:
			m.ttls.lost.Store(false)
		case m.broken:
			if again, err := t.start(m.Entry); err == nil {
				again.left = m.left
				t.put(again)
			}
		}
	}
	return storage.Each(ctx, t.cfg.Storage, prefix, func(uuid string, record []byte) error {
		_, err := decodeRow(uuid, record)
		return err
	}, t.loseLocked)
}

// decodeRow reads a row. Its error is a storage.ErrDamaged.
func decodeRow(uuid string, record []byte) (r row, err error) {
	if err = json.Unmarshal(record, &r); err == nil && (r.Path == "" || r.Type == "" || r.UUID != uuid) {
		err = errRow
	}
	if err != nil {
		return row{}, fmt.Errorf("decode %s: %w: %w", uuid, storage.ErrDamaged, err)
	}
	return r, nil
}

var errRow = errors.New("not a row of the mount table")
