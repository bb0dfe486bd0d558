package mounts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/jobs"
)

// prefix is where the rows of the table live behind the barrier, one record for each mount.
const prefix = "core/mounts/"

// Config is what a Table needs of the server.
type Config struct {
	// Storage is the barrier, from its root.
	Storage storage.Storage
	Logger  *slog.Logger
	// Now and Wall are the clocks of the engines.
	Now, Wall func() time.Time
	// DefaultTTL and MaxTTL are the server's own limits, both above zero.
	DefaultTTL, MaxTTL time.Duration
	// Passwords is handed to the engines.
	Passwords engines.Passwords
	// Types are the engines that can be mounted, by kind and type.
	Types map[Kind]map[string]engines.Factory
	// Unmounted is called when a mount is disabled or moved, before its storage is cleared: what was
	// issued at the path that it left has to be revoked. It returns when that is done, or, without wait, when it is
	// settled: from then on nothing of it is good any more.
	Unmounted func(ctx context.Context, path string, wait bool) error
	// Background runs a function beside the caller until the session ends, and is waited for then.
	Background func(func(ctx context.Context))
}

// Table is the mount table. It is safe for concurrent use; routing takes no lock.
type Table struct {
	cfg Config
	// ctx is the session's: engines end with it.
	ctx context.Context //nolint:containedctx // a mount's engine outlives the request that made it

	// changing serialises changes of the table; readers load rows.
	changing sync.Mutex
	// lost are the rows that cannot be read, by UUID; guarded by changing. unknown tells whether there are any.
	lost    map[string]bool
	unknown atomic.Bool
	rows    atomic.Pointer[map[string]*Mounted]
	// leaving are the mounts that are being removed or moved, by the path they leave: they serve nobody any
	// more but still take back what they issued. Replaced, never changed.
	leaving atomic.Pointer[map[string]*Mounted]
	// jobs end the removals and the moves of leaving.
	jobs *jobs.Set
}

// Mounted is a mount at work.
type Mounted struct {
	Entry  Entry
	Mount  *engines.Mount
	Router *engines.Router

	// left are the paths from which it was moved while what it issued there is being revoked.
	left []departure
	// removing is set from the moment when it is disabled.
	removing bool

	builtin bool
	// broken is set while the engine does not start, because a record that it needs cannot be read.
	broken bool
	engine engines.Engine
	life   *life
	ttls   *limits
}

// Leaser is the engine as the issuer of leased secrets; false when it issues none.
func (m *Mounted) Leaser() (engines.Leaser, bool) {
	l, ok := m.engine.(engines.Leaser)
	return l, ok
}

// Below returns changes to the mount's own storage as changes to that of the server.
func (m *Mounted) Below(changes []storage.Op) []storage.Op {
	folder := StoragePrefix(m.Entry)
	below := make([]storage.Op, len(changes))
	for i, op := range changes {
		op.Key = folder + op.Key
		below[i] = op
	}
	return below
}

// TTLs are the mount's limits as they are now.
func (m *Mounted) TTLs() engines.TTLs { return m.ttls }

// Engine is what serves the mount.
func (m *Mounted) Engine() engines.Engine { return m.engine }

// limits are the TTL limits of one mount; they follow its tuning.
type limits struct {
	def, max             time.Duration // the server's own
	tunedDefault, tunedM atomic.Int64
	// lost is set while the tuning cannot be read.
	lost atomic.Bool
}

func (l *limits) set(t Tuning) {
	l.lost.Store(false)
	l.tunedDefault.Store(int64(t.DefaultLeaseTTL))
	l.tunedM.Store(int64(t.MaxLeaseTTL))
}

// DefaultTTL implements engines.TTLs.
func (l *limits) DefaultTTL() time.Duration {
	d := l.def
	if tuned := l.tunedDefault.Load(); tuned > 0 {
		d = time.Duration(tuned)
	}
	return min(d, l.MaxTTL())
}

// MaxTTL implements engines.TTLs.
func (l *limits) MaxTTL() time.Duration {
	if l.lost.Load() {
		return lostTTL
	}
	if tuned := l.tunedM.Load(); tuned > 0 {
		return time.Duration(tuned)
	}
	return l.max
}

// New returns a table without mounts. Engines made through it end with ctx.
func New(ctx context.Context, cfg Config) *Table {
	t := &Table{cfg: cfg, ctx: ctx, lost: make(map[string]bool), jobs: jobs.New(cfg.Background, cfg.Logger)}
	t.rows.Store(&map[string]*Mounted{})
	t.leaving.Store(&map[string]*Mounted{})
	return t
}

// Builtin mounts an engine of the server itself, which can be neither disabled nor moved.
func (t *Table) Builtin(e Entry, build func(engines.Config) (engines.Engine, error)) error {
	t.changing.Lock()
	defer t.changing.Unlock()
	m, err := t.build(e, func(_ context.Context, cfg engines.Config) (engines.Engine, error) { return build(cfg) })
	if err != nil {
		return err
	}
	m.builtin = true
	t.put(m)
	return nil
}

// Load mounts what is stored, but for rows that cannot be read. A mount whose removal was interrupted waits for
// FinishRemovals.
func (t *Table) Load(ctx context.Context) error {
	t.changing.Lock()
	defer t.changing.Unlock()
	err := storage.Each(ctx, t.cfg.Storage, prefix, func(uuid string, record []byte) error {
		row, err := decodeRow(uuid, record)
		if err != nil {
			return err
		}
		return t.loadLocked(row)
	}, t.loseLocked)
	if err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	return nil
}

func (t *Table) loadLocked(row row) error {
	if old, ok := (*t.rows.Load())[row.Path]; ok && old.builtin {
		// A stored row for a built-in mount holds only its tuning.
		old.Entry.Tuning, old.Entry.Description = row.Tuning, row.Description
		old.ttls.set(row.Tuning)
		return nil
	}
	m, err := t.start(row.Entry)
	switch {
	case !row.Removing && errors.Is(err, storage.ErrDamaged):
		if m, err = t.broken(row.Entry); err != nil {
			return err
		}
	case !row.Removing && err != nil:
		return err
	case err != nil:
		// It can take nothing back, but that is no reason to keep the server sealed.
		t.cfg.Logger.Error("a mount that is to be removed does not start", "mount", row.Path, "error", err)
		m = &Mounted{Entry: row.Entry, life: newLife(t.ctx)}
	}
	m.removing, m.left = row.Removing, row.Left
	t.put(m)
	return nil
}

// start makes the engine of a stored mount.
func (t *Table) start(e Entry) (*Mounted, error) {
	factory, ok := t.cfg.Types[e.Kind][e.Type]
	if !ok {
		return nil, fmt.Errorf("mounts: %s has the unknown type %q", e.Path, e.Type)
	}
	m, err := t.build(e, factory)
	if err != nil {
		return nil, fmt.Errorf("mounts: start %s: %w", e.Path, err)
	}
	return m, nil
}

// row is a stored Entry.
type row struct {
	Entry
	// Removing is set from the moment a mount is disabled until its storage is empty.
	Removing bool `json:"removing,omitempty"`
	// Left are the paths from which it was moved while what it issued there is being revoked.
	Left []departure `json:"left,omitempty"`
}

// store writes the row of a mount.
func (t *Table) store(ctx context.Context, m *Mounted) error {
	record, err := json.Marshal(row{Entry: m.Entry, Removing: m.removing, Left: m.left})
	if err != nil {
		return err
	}
	return t.cfg.Storage.Apply(ctx, storage.Put(prefix+m.Entry.UUID, record))
}

// StoragePrefix is the folder behind the barrier that belongs to the mount.
func StoragePrefix(e Entry) string {
	if e.Kind == Auth {
		return "auth/" + e.UUID + "/"
	}
	return "logical/" + e.UUID + "/"
}

func (t *Table) build(e Entry, factory engines.Factory) (*Mounted, error) {
	mount := e.Mount()
	m := &Mounted{Entry: e, Mount: &mount, ttls: &limits{def: t.cfg.DefaultTTL, max: t.cfg.MaxTTL}}
	m.ttls.set(e.Tuning)
	m.life = newLife(t.ctx)
	engine, err := factory(m.life.ctx, engines.Config{
		Mount:   mount,
		Storage: storage.NewView(t.cfg.Storage, StoragePrefix(e)),
		Logger:  t.cfg.Logger.With("mount", e.Path),
		Now:     t.cfg.Now,
		Wall:    t.cfg.Wall,
		TTLs:    m.ttls,

		Passwords: t.cfg.Passwords, Background: m.life.background,
	})
	if err != nil {
		m.life.end()
		return nil, err
	}
	m.engine = engine
	if m.Router, err = engines.NewRouter(engine); err != nil {
		m.life.end()
		return nil, err
	}
	return m, nil
}

// put lets a mount serve at its path, or end there, and take back what it issued at others.
func (t *Table) put(m *Mounted) {
	for _, path := range m.leftPaths() {
		replace(&t.leaving, path, m)
	}
	if m.removing {
		replace(&t.leaving, m.Entry.Path, m)
		t.drop(m.Entry.Path)
	} else {
		replace(&t.rows, m.Entry.Path, m)
	}
}

func (t *Table) drop(path string) { replace(&t.rows, path, nil) }

// replace puts m into the map at path; nil takes out what is there.
func replace(to *atomic.Pointer[map[string]*Mounted], path string, m *Mounted) {
	rows := maps.Clone(*to.Load())
	if m == nil {
		delete(rows, path)
	} else {
		rows[path] = m
	}
	to.Store(&rows)
}

// Route finds the mount that serves a canonical path and the path below it.
func (t *Table) Route(path string) (*Mounted, string, bool) {
	rows := *t.rows.Load()
	var found *Mounted
	for i := 0; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		if m, ok := rows[path[:i+1]]; ok {
			found = m
		}
	}
	if found == nil {
		// The folder itself, named without its "/".
		if m, ok := rows[path+"/"]; ok {
			return m, "", true
		}
		return nil, "", false
	}
	return found, path[len(found.Entry.Path):], true
}

// Issuer finds the mount that issued something at a path, and the path below it. Other than Route it also
// finds a mount that is being removed or moved away.
func (t *Table) Issuer(path string) (*Mounted, string, bool) {
	for at, m := range *t.leaving.Load() {
		if rest, ok := strings.CutPrefix(path, at); ok {
			return m, rest, true
		}
	}
	return t.Route(path)
}

// Serves reports whether the mount is still the one at its path: it was neither removed nor moved.
func (t *Table) Serves(m *Mounted) bool {
	now, ok := (*t.rows.Load())[m.Entry.Path]
	return ok && now.Entry.UUID == m.Entry.UUID
}

// Find returns the mount at exactly this path, which ends in "/".
func (t *Table) Find(path string) (Entry, bool) {
	m, ok := (*t.rows.Load())[path]
	if !ok {
		return Entry{}, false
	}
	return m.Entry.Clone(), true
}

// ByAccessor returns the mount with that accessor, as its engine sees it, also while it is being moved or removed.
func (t *Table) ByAccessor(accessor string) (engines.Mount, bool) {
	for _, mounted := range []map[string]*Mounted{*t.leaving.Load(), *t.rows.Load()} {
		for _, m := range mounted {
			if m.Entry.Accessor == accessor {
				return m.Entry.Mount(), true
			}
		}
	}
	return engines.Mount{}, false
}

// Entries returns the mounts of a kind, sorted by path.
func (t *Table) Entries(kind Kind) []Entry {
	var entries []Entry
	for _, m := range *t.rows.Load() {
		if m.Entry.Kind == kind {
			entries = append(entries, m.Entry.Clone())
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return entries
}

// Types returns the names of the types of a kind that can be mounted, sorted.
func (t *Table) Types(kind Kind) []string {
	return slices.Sorted(maps.Keys(t.cfg.Types[kind]))
}

// TTLs returns the limits in force at a mount.
func (t *Table) TTLs(e Entry) (defaultTTL, maxTTL time.Duration) {
	l := limits{def: t.cfg.DefaultTTL, max: t.cfg.MaxTTL}
	l.set(e.Tuning)
	return l.DefaultTTL(), l.MaxTTL()
}

// ErrNoMount is returned for a path at which nothing is mounted.
var ErrNoMount = errors.New("mounts: no mount at this path")
