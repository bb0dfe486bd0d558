package barrier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"coffer/barrier/record"
	"coffer/storage"
)

// Where the manifest is, in the storage below.
const (
	manifestPrefix = "core/manifest/"
	manifestRoot   = manifestPrefix + "root"
)

func shardPath(i int) string { return fmt.Sprintf("%s%02x", manifestPrefix, i) }

// manifestPlace is the associated data of a part of the manifest, as encryptionsPlace is that of a counter.
func manifestPlace(path string) []byte { return []byte("/" + path) }

// Scope says of which records the barrier remembers what was stored last, so that an older value of one of them,
// put back into the storage, is ErrCorrupt when it is read. So are a record that was deleted and is back, and one
// that was removed behind the barrier's back. The price is paid by the writers of such records: their commits
// take turns, and each holds two more records.
type Scope struct {
	// Revision is above zero, and higher than before whenever the other fields cover other keys than before. What is
	// covered anew is taken as it is found.
	Revision uint32
	// Within are the keys that are covered, and folders, ending in "/", in which all are.
	Within []string
	// Except tells which keys within are not covered after all; nil for none. It is called for each key read.
	Except func(key string) bool
}

// covers reports whether what is stored under a key is remembered.
func (s *Scope) covers(key string) bool {
	for _, within := range s.Within {
		if rest, ok := strings.CutPrefix(key, within); ok && (rest == "" || within[len(within)-1] == '/') {
			return s.Except == nil || !s.Except(key)
		}
	}
	return false
}

// guard keeps the manifest in memory true to the stored one.
type guard struct {
	scope atomic.Pointer[Scope]
	// current is nil while the storage has no manifest: it was written by a coffer that knew none.
	current atomic.Pointer[manifest]

	// mu is held by who changes something that the manifest covers, over the commit. Barrier.mu is taken before it.
	mu sync.Mutex
	// doubtful is guarded by mu: the manifest of a commit that failed, until the storage told whether it was written.
	doubtful *manifest
	// unsettled is set while there is a doubtful one.
	unsettled atomic.Bool
}

// covers reports whether the manifest is about key. Until Guard told the scope it is about what is in it.
func (g *guard) covers(key string) bool {
	if scope := g.scope.Load(); scope != nil {
		return scope.covers(key)
	}
	m := g.current.Load()
	if m == nil {
		return false
	}
	_, listed := m.find(key)
	return listed
}

// coversAny reports whether the manifest is about a key of the batch.
func (g *guard) coversAny(batch []storage.Op) bool {
	return slices.ContainsFunc(batch, func(op storage.Op) bool { return g.covers(op.Key) })
}

// check returns nil when what a Get returned is what the manifest says, and ErrCorrupt when it is not. Other errors
// of the Get are nothing that it has an opinion on.
func check(key string, want tag, listed bool, got tag, err error) error {
	missing := errors.Is(err, storage.ErrNotFound)
	switch {
	case err != nil && !missing, missing && !listed, err == nil && listed && got == want:
		return nil
	case missing:
		return fmt.Errorf("%w: %q was removed from the storage", ErrCorrupt, key)
	case !listed:
		return fmt.Errorf("%w: %q was deleted, and is in the storage again", ErrCorrupt, key)
	default:
		return fmt.Errorf("%w: the value of %q is not the one stored last", ErrCorrupt, key)
	}
}

// checked returns what the storage below has under a key that the manifest covers, if it is what was stored last.
func (b *Barrier) checked(ctx context.Context, key, encrypted string) ([]byte, error) {
	look := func() ([]byte, error, error) {
		data, err := b.base.Get(ctx, encrypted)
		want, listed := b.guard.current.Load().find(key)
		return data, err, check(key, want, listed, tagOf(data), err)
	}
	data, err, stale := look()
	if stale == nil {
		return data, err
	}
	// A commit may be under way, or in doubt. Under the lock there is neither.
	b.guard.mu.Lock()
	defer b.guard.mu.Unlock()
	if err := b.settleLocked(ctx); err != nil {
		return nil, err
	}
	if data, err, stale = look(); stale != nil {
		return nil, stale
	}
	return data, err
}

// listed adds to names, which the storage has in a folder, those it should have: a reader learns of each that it
// was removed.
func (b *Barrier) listed(ctx context.Context, folder string, names []string) ([]string, error) {
	if b.guard.unsettled.Load() {
		b.guard.mu.Lock()
		err := b.settleLocked(ctx)
		b.guard.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	return append(names, b.guard.current.Load().names(folder)...), nil
}

// applyCovered is Apply for a batch with keys that the manifest covers. sealed is the batch as it is stored.
func (b *Barrier) applyCovered(ctx context.Context, s *session, batch, sealed []storage.Op, puts uint64) error {
	b.guard.mu.Lock()
	defer b.guard.mu.Unlock()
	d, err := b.editLocked(ctx)
	if err != nil {
		return err
	}
	for i := range batch {
		switch key := batch[i].Key; {
		case !b.guard.covers(key):
		case batch[i].Remove:
			d.remove(key)
		default:
			d.set(key, tagOf(sealed[i].Value))
		}
	}
	return b.commitLocked(ctx, s.active, d, puts, sealed)
}

// editLocked returns a draft of the manifest. The caller holds guard.mu until the draft is committed.
func (b *Barrier) editLocked(ctx context.Context) (*draft, error) {
	if err := b.settleLocked(ctx); err != nil {
		return nil, err
	}
	return b.guard.current.Load().edit(), nil
}

// commitLocked applies a batch, which holds puts records of the term, together with the draft.
func (b *Barrier) commitLocked(ctx context.Context, t *term, d *draft, puts uint64, batch []storage.Op) error {
	ops := d.seal(t)
	err := t.commit(ctx, b.base, puts+uint64(len(ops)), append(batch, ops...))
	b.concludeLocked(ctx, d, err)
	return err
}

// concludeLocked puts the draft to use when its commit returned nil, else whichever manifest the storage has.
func (b *Barrier) concludeLocked(ctx context.Context, d *draft, err error) {
	if err == nil {
		b.guard.current.Store(&d.manifest)
		return
	}
	b.guard.doubtful = &d.manifest
	b.guard.unsettled.Store(true)
	_ = b.settleLocked(context.WithoutCancel(ctx)) // it stays doubtful when this fails
}

// settleLocked finds out whether a commit that failed was written.
func (b *Barrier) settleLocked(ctx context.Context) error {
	g := &b.guard
	if g.doubtful == nil {
		return nil
	}
	data, err := b.base.Get(ctx, manifestRoot)
	current := g.current.Load()
	switch {
	case errors.Is(err, storage.ErrNotFound) && current == nil:
	case err != nil:
		return fmt.Errorf("barrier: read %s: %w", manifestRoot, err)
	case tagOf(data) == g.doubtful.self:
		g.current.Store(g.doubtful)
	case current == nil || tagOf(data) != current.self:
		return fmt.Errorf("%w: %s is not the one stored last", ErrCorrupt, manifestRoot)
	}
	g.doubtful = nil
	g.unsettled.Store(false)
	return nil
}

// seal returns the changes that store the draft, encrypted with a term of the stored keyring.
func (d *draft) seal(t *term) []storage.Op {
	ops := make([]storage.Op, 0, len(d.changed)+2)
	for i := range d.changed {
		path := shardPath(i)
		if len(d.shards[i]) == 0 {
			d.tags[i] = tag{}
			ops = append(ops, storage.Delete(path))
			continue
		}
		data := t.cipher.Seal(d.shards[i].append(nil), manifestPlace(path))
		d.tags[i] = tagOf(data)
		ops = append(ops, storage.Put(path, data))
	}
	d.term, d.used = t.id, t.used.Load()
	root := t.cipher.Seal(d.encode(), manifestPlace(manifestRoot))
	d.self = tagOf(root)
	return append(ops, storage.Put(manifestRoot, root))
}

// loadManifest reads the manifest, and checks by it what is below the barrier. ring is the tag of the keyring.
func (s *session) loadManifest(ctx context.Context, base storage.Storage, ring tag) (*manifest, error) {
	plain, self, err := s.openPart(ctx, base, manifestRoot)
	if err != nil {
		return nil, err
	}
	m := &manifest{self: self}
	if m.header, err = decodeHeader(plain); err != nil {
		return nil, fmt.Errorf("%w: %s", err, manifestRoot)
	}
	if err := m.checkBelow(ctx, base, ring); err != nil {
		return nil, err
	}
	if m.term == s.active.id && m.used > s.active.used.Load() {
		return nil, fmt.Errorf("%w: %s is not the one stored last", ErrCorrupt, encryptionsPath(m.term))
	}
	for i := range m.tags {
		if m.tags[i] == (tag{}) {
			continue
		}
		path := shardPath(i)
		plain, got, err := s.openPart(ctx, base, path)
		if err != nil {
			return nil, err
		}
		if got != m.tags[i] {
			return nil, fmt.Errorf("%w: %s is not the one that %s names", ErrCorrupt, path, manifestRoot)
		}
		if m.shards[i], err = decodeEntries(plain); err != nil {
			return nil, fmt.Errorf("%w: %s", err, path)
		}
	}
	return m, nil
}

// openPart reads and decrypts a part of the manifest. It returns its tag as well.
func (s *session) openPart(ctx context.Context, base storage.Storage, path string) ([]byte, tag, error) {
	data, err := base.Get(ctx, path)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, tag{}, fmt.Errorf("%w: %s is missing", ErrCorrupt, path)
	case err != nil:
		return nil, tag{}, fmt.Errorf("barrier: read %s: %w", path, err)
	}
	id, err := record.Term(data)
	if err != nil || s.terms[id] == nil {
		return nil, tag{}, fmt.Errorf("%w: %s", ErrCorrupt, path)
	}
	got := tagOf(data)
	plain, err := s.terms[id].cipher.Open(data, manifestPlace(path))
	if err != nil {
		return nil, tag{}, fmt.Errorf("%w: %s does not open", ErrCorrupt, path)
	}
	return plain, got, nil
}

// checkBelow checks the records below the barrier; ring is the tag of the keyring.
func (m *manifest) checkBelow(ctx context.Context, base storage.Storage, ring tag) error {
	for _, e := range m.below {
		got, err := ring, error(nil)
		if e.key != keyringPath {
			var data []byte
			data, err = base.Get(ctx, e.key)
			got = hashOf(data)
		}
		if stale := check(e.key, e.tag, true, got, err); stale != nil {
			return stale
		}
		if err != nil {
			return fmt.Errorf("barrier: read %s: %w", e.key, err)
		}
	}
	return nil
}

// Guard tells the barrier of which records it remembers what was stored last. It is called once, before anything
// else uses the barrier. Where the stored manifest is of an older revision, or there is none, it takes what the
// storage holds as it is; upgraded tells that there was none, because the storage was written before there were
// manifests. A new term begins then, so that the old keyring is of no use any more.
func (b *Barrier) Guard(ctx context.Context, scope Scope) (upgraded bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := b.refreshLocked(ctx)
	if err != nil {
		return false, err
	}
	m := b.guard.current.Load()
	upgraded = m == nil
	if upgraded || m.revision < scope.Revision {
		d := m.edit()
		d.revision = scope.Revision
		if err := b.survey(ctx, s, &scope, d); err != nil {
			return false, fmt.Errorf("barrier: make the manifest: %w", err)
		}
		k := s.keyring
		if upgraded {
			k = k.withNewTerm(b.now())
			k.guarded = true
		}
		if err := b.writeWithLocked(ctx, s, k, d); err != nil {
			return false, err
		}
	}
	b.guard.scope.Store(&scope)
	return upgraded, nil
}

// survey puts into the draft what the storage holds within the scope, and below the barrier.
func (b *Barrier) survey(ctx context.Context, s *session, scope *Scope, d *draft) error {
	var all []entry
	var walk func(key string) error
	walk = func(key string) error {
		if !strings.HasSuffix(key, "/") {
			if !scope.covers(key) {
				return nil
			}
			at, err := s.names.key(key)
			if err != nil {
				return err
			}
			data, err := b.base.Get(ctx, at.encrypted)
			if errors.Is(err, storage.ErrNotFound) {
				return nil
			}
			all = append(all, entry{key, tagOf(data)})
			return err
		}
		names, err := b.stored(storage.LeaveOut(ctx), s, key)
		for i := 0; err == nil && i < len(names); i++ {
			err = walk(key + names[i])
		}
		return err
	}
	for _, within := range scope.Within {
		if err := walk(within); err != nil {
			return err
		}
	}
	d.setAll(all)
	names, err := b.base.List(ctx, belowPrefix, "", 0)
	for i := 0; err == nil && i < len(names); i++ {
		if key := belowPrefix + names[i]; coversBelow(key) {
			var data []byte
			data, err = b.base.Get(ctx, key)
			d.below = d.below.with(key, hashOf(data))
		}
	}
	return err
}
