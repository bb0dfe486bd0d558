// Package barrier is the Storage that encrypts: between the engines, which see names and values, and a
// Storage that sees neither. DESIGN.md tells how and why.
package barrier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"coffer/barrier/record"
	"coffer/barrier/secret"
	"coffer/storage"
)

// Where things are in the storage below. Plaintext paths are below "core/", with the records of the seal;
// everything encrypted by the barrier is below dataPrefix.
const (
	keyringPath       = "core/keyring"
	encryptionsPrefix = "core/encryptions/"
	dataPrefix        = "barrier/"
)

// Errors beside those of the Storage contract.
var (
	// ErrSealed is returned by every call after Close. It is a storage.ErrClosed.
	ErrSealed = fmt.Errorf("barrier: sealed: %w", storage.ErrClosed)
	// ErrWrongKey is returned when the root key is not the one that encrypted the keyring.
	ErrWrongKey = errors.New("barrier: wrong root key")
	// ErrNotInitialized is returned by Open when the storage holds no barrier.
	ErrNotInitialized = errors.New("barrier: not initialized")
	// ErrReadable is returned by Remove for what can be read.
	ErrReadable = errors.New("it can be read")
	// ErrCorrupt is returned for a value or a name that this barrier did not store where it was found:
	// truncated, changed, moved or foreign. Its text names the key. It is a storage.ErrDamaged.
	ErrCorrupt = fmt.Errorf("barrier: %w", storage.ErrDamaged)
)

// Barrier is an open barrier: a storage.Storage whose values and names are encrypted in the storage below.
// It is safe for concurrent use. Keys may be shorter than the storage below allows: each component grows
// by 16 bytes and then by a third; storage.MinMaxKeySize is always possible.
type Barrier struct {
	base storage.Storage
	// guard knows what was stored last.
	guard guard
	// now is the clock of the key's age.
	now func() time.Time
	// writing is held for reading by who applies a batch, so that Close can wait for what is under way. It is taken
	// before mu.
	writing sync.RWMutex
	// watcher is told of what cannot be read. It is set before anything else uses the barrier, or nil.
	watcher Watcher
	// current is nil once the barrier is sealed. Get, List and Apply load it once and take no lock.
	current atomic.Pointer[session]

	// mu serialises the changes of the keyring and of the root key, over their commits.
	mu sync.Mutex
	// root and candidate are guarded by mu. candidate is the root key of a Rekey that failed without
	// telling whether it was written; it is empty when there was none.
	root, candidate secret.Key
}

// session is what an open barrier works with. It is immutable but for counters and caches.
type session struct {
	keyring keyring
	terms   map[uint32]*term
	active  *term
	names   *nameCipher
	// rotateAt is the number of encryptions that ends the active term.
	rotateAt uint64
}

// Create returns the changes that make a barrier protected by the root key, which has record.KeySize bytes.
// The caller applies them together with the records of the seal, after Exists said that there is no
// barrier yet.
func Create(root secret.Key) ([]storage.Op, error) {
	k := newKeyring(time.Now())
	defer k.zero()
	data, err := k.seal(root)
	if err != nil {
		return nil, err
	}
	first, err := newTerm(k.active())
	if err != nil {
		return nil, err
	}
	d := (*manifest)(nil).edit()
	d.below = d.below.with(keyringPath, hashOf(data))
	ops := append(d.seal(first), storage.Put(keyringPath, data))
	return append(ops, first.reserveOp(uint64(len(ops)))), nil
}

// Exists reports whether the storage holds a barrier. One that holds other records and no keyring has lost it, which is
// storage.ErrDamaged: nobody may begin anew over them.
func Exists(ctx context.Context, s storage.Storage) (bool, error) {
	_, err := s.Get(ctx, keyringPath)
	if !errors.Is(err, storage.ErrNotFound) {
		return err == nil, err
	}
	names, err := s.List(ctx, "", "", 1)
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("barrier: there is data without a keyring: %w", storage.ErrDamaged)
	}
	return false, err
}

// Open opens the barrier in s with its root key. It returns ErrNotInitialized, ErrWrongKey or ErrCorrupt.
// The caller keeps root and may zero it.
func Open(ctx context.Context, s storage.Storage, root secret.Key) (*Barrier, error) {
	b := &Barrier{base: s, root: root.Clone(), now: time.Now}
	if err := b.open(ctx); err != nil {
		b.root.Zero()
		return nil, err
	}
	return b, nil
}

func (b *Barrier) open(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ring, err := b.readKeyringLocked(ctx)
	if err != nil {
		return err
	}
	s, err := newSession(k, nil)
	if err != nil {
		return err
	}
	if err = s.active.load(ctx, b.base); err == nil && k.guarded {
		var m *manifest
		if m, err = s.loadManifest(ctx, b.base, ring); err == nil {
			b.guard.current.Store(m)
		}
	}
	if err != nil {
		k.zero()
		return err
	}
	b.current.Store(s)
	return nil
}

// newSession makes the keyring ready for use. Terms and name cipher of the session before are taken over,
// so that their counters and caches go on; a term that is new here has not been used by anyone.
func newSession(k keyring, before *session) (*session, error) {
	s := &session{keyring: k, terms: make(map[uint32]*term, len(k.terms)), rotateAt: hardLimit}
	for _, key := range k.terms {
		if before != nil && before.terms[key.id] != nil {
			s.active = before.terms[key.id]
		} else {
			t, err := newTerm(key)
			if err != nil {
				return nil, err
			}
			s.active = t
		}
		s.terms[key.id] = s.active
	}
	if k.config.Enabled {
		s.rotateAt = k.config.MaxOperations
	}
	if before != nil {
		s.names = before.names
		return s, nil
	}
	var err error
	s.names, err = newNameCipher(k.names)
	return s, err
}

// Close seals the barrier: keys are zeroed, and every later call, Close aside, returns ErrSealed. Reads that are under
// way may still finish. Writes that are under way have finished when it returns: from then on the storage changes no
// more through this barrier, and may be opened again. The copies of the keys inside the ciphers are left to the garbage
// collector; those of AES could not be reached anyway. The error is always nil; it is there for io.Closer.
func (b *Barrier) Close() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.current.Swap(nil); s != nil {
		s.keyring.zero()
	}
	b.root.Zero()
	b.candidate.Zero()
	return nil
}

// Get implements storage.Storage. A value that does not open is ErrCorrupt.
func (b *Barrier) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := b.get(ctx, key)
	if err != nil && errors.Is(err, ErrCorrupt) {
		b.Report(storage.Damage{Key: key, Err: err})
	}
	return value, err
}

func (b *Barrier) get(ctx context.Context, key string) ([]byte, error) {
	if err := storage.CheckKey(key); err != nil {
		return nil, err
	}
	s := b.current.Load()
	if s == nil {
		return nil, ErrSealed
	}
	at, err := s.names.key(key)
	if err != nil {
		return nil, err
	}
	var data []byte
	if b.guard.covers(key) {
		data, err = b.checked(ctx, key, at.encrypted)
	} else {
		data, err = b.base.Get(ctx, at.encrypted)
	}
	if err != nil {
		return nil, err
	}
	id, err := record.Term(data)
	if err != nil {
		return nil, fmt.Errorf("%w: the value of %q is no record", ErrCorrupt, key)
	}
	t := s.active
	if t.id != id {
		t = s.terms[id]
	}
	// Who rotates publishes the session before anybody encrypts with its term.
	if now := b.current.Load(); t == nil && now != nil {
		t = now.terms[id]
	}
	if t == nil {
		return nil, fmt.Errorf("%w: the value of %q is of the unknown term %d", ErrCorrupt, key, id)
	}
	value, err := t.cipher.Open(data, at.place)
	if err != nil {
		return nil, fmt.Errorf("%w: the value of %q does not open", ErrCorrupt, key)
	}
	return value, nil
}

// List implements storage.Storage. It reads and decrypts all names of the folder, also for a page of it,
// because they are stored in the order of their encrypted forms.
func (b *Barrier) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	s := b.current.Load()
	if s == nil {
		return nil, ErrSealed
	}
	names, err := b.stored(ctx, s, prefix)
	if err == nil && b.guard.covers(prefix) {
		names, err = b.listed(ctx, prefix, names)
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if after != "" {
		from, found := slices.BinarySearch(names, after)
		if found {
			from++
		}
		names = names[from:]
	}
	if limit > 0 && len(names) > limit {
		names = names[:limit]
	}
	return slices.Clip(names), nil
}

// stored returns the names that the storage has in a folder, in no order.
func (b *Barrier) stored(ctx context.Context, s *session, prefix string) ([]string, error) {
	folder, err := s.names.folder(prefix)
	if err != nil {
		return nil, err
	}
	stored, err := b.base.List(ctx, folder.encrypted, "", 0)
	if err != nil {
		return nil, err
	}
	return b.decrypt(ctx, s, folder, stored)
}

// Page implements storage.Pager: names come in the order of their encrypted forms, and only those of the page are
// decrypted. Of a folder that the manifest covers, and so keeps in memory, it returns all at once.
func (b *Barrier) Page(
	ctx context.Context, prefix, mark string, limit int,
) (names []string, next string, err error) {
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, "", err
	}
	if b.guard.covers(prefix) {
		names, err = b.List(ctx, prefix, "", 0)
		return names, "", err
	}
	s := b.current.Load()
	if s == nil {
		return nil, "", ErrSealed
	}
	folder, err := s.names.folder(prefix)
	if err != nil {
		return nil, "", err
	}
	stored, next, err := storage.Page(ctx, b.base, folder.encrypted, mark, limit)
	if err != nil {
		return nil, "", err
	}
	names, err = b.decrypt(ctx, s, folder, stored)
	return names, next, err
}

// decrypt replaces the names that are stored in a folder by what they are called. Each that it cannot read is reported;
// then it returns ErrCorrupt, or in a context of storage.LeaveOut the others.
func (b *Barrier) decrypt(ctx context.Context, s *session, folder location, stored []string) ([]string, error) {
	names := stored[:0]
	var damaged error
	for i, encrypted := range stored {
		if i%1024 == 1023 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		name, err := s.names.called(encrypted, folder)
		if err != nil {
			b.Report(storage.Damage{Key: folder.plain, Stored: folder.encrypted + encrypted, Err: err})
			damaged = err
			continue
		}
		names = append(names, name)
	}
	if damaged != nil && !storage.LeavesOut(ctx) {
		return nil, damaged
	}
	return names, nil
}

// Apply implements storage.Storage: one Apply here is one Apply below. When the active term has served its
// time by count, a new one begins first.
func (b *Barrier) Apply(ctx context.Context, batch ...storage.Op) error {
	if err := storage.CheckBatch(batch); err != nil {
		return err
	}
	b.writing.RLock()
	defer b.writing.RUnlock()
	s := b.current.Load()
	if s == nil {
		return ErrSealed
	}
	if used := s.active.used.Load(); used >= s.rotateAt {
		if _, err := b.MaybeRotate(ctx); err != nil && used >= hardLimit {
			return err
		}
		if s = b.current.Load(); s == nil {
			return ErrSealed
		}
	}
	sealed, puts, err := s.seal(batch)
	if err != nil {
		return err
	}
	if b.guard.coversAny(batch) {
		err = b.applyCovered(ctx, s, batch, sealed, puts)
	} else {
		err = s.active.commit(ctx, b.base, puts, sealed)
	}
	if err == nil && b.watcher != nil && b.watcher.Any() {
		for i := range batch {
			b.watcher.Replaced(batch[i].Key)
		}
	}
	return err
}

// seal returns the batch as it is stored, with room for one more, and how many values were encrypted.
func (s *session) seal(batch []storage.Op) (sealed []storage.Op, puts uint64, err error) {
	sealed = make([]storage.Op, len(batch), len(batch)+1)
	for i := range batch {
		op := &batch[i]
		at, err := s.names.key(op.Key)
		if err != nil {
			return nil, 0, err
		}
		sealed[i] = storage.Op{Key: at.encrypted, Remove: op.Remove}
		if op.Remove {
			continue
		}
		if len(op.Value) > storage.MaxValueSize-record.Overhead {
			return nil, 0, storage.ErrValueTooLarge
		}
		sealed[i].Value = s.active.cipher.Seal(op.Value, at.place)
		puts++
	}
	return sealed, puts, nil
}
