package barrier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"coffer/barrier/secret"
	"coffer/storage"
)

// KeyInfo is the state of the key that encrypts, as Vault's sys/key-status tells it.
type KeyInfo struct {
	// Term counts the keys; the first is 1.
	Term uint32
	// InstallTime is when the term began, in UTC and whole seconds.
	InstallTime time.Time
	// Encryptions is how many values the term has encrypted; after a restart it may be too high, never
	// too low.
	Encryptions uint64
}

// UseClock sets the clock by which the key's age is counted, time.Now otherwise. It is called once, before anything
// else uses the barrier at the same time.
func (b *Barrier) UseClock(now func() time.Time) { b.now = now }

// KeyInfo returns the state of the active term, or ErrSealed.
func (b *Barrier) KeyInfo() (KeyInfo, error) {
	s := b.current.Load()
	if s == nil {
		return KeyInfo{}, ErrSealed
	}
	return s.keyInfo(), nil
}

func (s *session) keyInfo() KeyInfo {
	return KeyInfo{Term: s.active.id, InstallTime: s.active.installed, Encryptions: s.active.used.Load()}
}

// RotationConfig returns when the barrier rotates by itself, or ErrSealed.
func (b *Barrier) RotationConfig() (RotationConfig, error) {
	s := b.current.Load()
	if s == nil {
		return RotationConfig{}, ErrSealed
	}
	return s.keyring.config, nil
}

// SetRotationConfig changes when the barrier rotates by itself. It returns ErrInvalidConfig for values
// outside their limits.
func (b *Barrier) SetRotationConfig(ctx context.Context, config RotationConfig) error {
	if err := config.Validate(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := b.refreshLocked(ctx)
	if err != nil {
		return err
	}
	k := s.keyring
	k.config = config
	return b.writeLocked(ctx, s, k)
}

// Rotate begins a new term: what is written from now on is encrypted with a new key. What was written
// before stays readable. It returns the state of the new term.
func (b *Barrier) Rotate(ctx context.Context) (KeyInfo, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := b.refreshLocked(ctx)
	if err != nil {
		return KeyInfo{}, err
	}
	return b.rotateLocked(ctx, s)
}

func (b *Barrier) rotateLocked(ctx context.Context, s *session) (KeyInfo, error) {
	if err := b.writeLocked(ctx, s, s.keyring.withNewTerm(b.now())); err != nil {
		return KeyInfo{}, err
	}
	return b.current.Load().keyInfo(), nil
}

// MaybeRotate rotates when the configuration says that it is time, and reports whether it did. A worker
// calls it now and then for the sake of the interval; Apply sees to the number of encryptions.
func (b *Barrier) MaybeRotate(ctx context.Context) (bool, error) {
	s := b.current.Load()
	if s == nil {
		return false, ErrSealed
	}
	if !s.due(b.now()) {
		return false, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := b.refreshLocked(ctx)
	if err != nil {
		return false, err
	}
	// Another caller may have been first.
	if !s.due(b.now()) {
		return false, nil
	}
	_, err = b.rotateLocked(ctx, s)
	return err == nil, err
}

// due reports whether the active term has served its time.
func (s *session) due(now time.Time) bool {
	config := s.keyring.config
	// A key from further ahead than it may grow old was made under a clock that was wrong.
	old := config.Enabled && config.Interval > 0 && now.Sub(s.active.installed).Abs() >= config.Interval
	return old || s.active.used.Load() >= s.rotateAt
}

// VerifyRoot returns nil when key is the root key, ErrWrongKey when it is not, or ErrSealed.
func (b *Barrier) VerifyRoot(key secret.Key) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current.Load() == nil {
		return ErrSealed
	}
	if !b.root.Equal(key) {
		return ErrWrongKey
	}
	return nil
}

// Rekey makes root the root key, in one Apply with extra: the seal's records, in the terms of the storage
// below. A failure that leaves open whether the batch was written is tried once more. When it returns
// an error, the barrier goes on under the key that the storage then has. The caller keeps root.
func (b *Barrier) Rekey(ctx context.Context, root secret.Key, extra ...storage.Op) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := b.refreshLocked(ctx)
	if err != nil {
		return err
	}
	data, err := s.keyring.seal(root)
	if err != nil {
		return err
	}
	b.candidate = root.Clone()
	batch := append([]storage.Op{storage.Put(keyringPath, data)}, extra...)
	if err = b.rekeyLocked(ctx, s, batch); err == nil {
		b.adoptCandidateLocked()
		return nil
	}
	// Best effort; the next change of the keyring looks again.
	_, _ = b.refreshLocked(ctx)
	return fmt.Errorf("barrier: write %s: %w", keyringPath, err)
}

// rekeyLocked applies the batch of a Rekey, and the manifest that goes with it.
func (b *Barrier) rekeyLocked(ctx context.Context, s *session, batch []storage.Op) error {
	b.guard.mu.Lock()
	defer b.guard.mu.Unlock()
	if b.guard.current.Load() == nil {
		return twice(func() error { return b.base.Apply(ctx, batch...) })
	}
	d, err := b.editLocked(ctx)
	if err != nil {
		return err
	}
	d.below = d.below.with(keyringPath, hashOf(batch[0].Value))
	below{b}.note(d, batch)
	ops := d.seal(s.active)
	batch = slices.Concat(batch, ops)
	err = twice(func() error { return s.active.commit(ctx, b.base, uint64(len(ops)), slices.Clip(batch)) })
	b.concludeLocked(ctx, d, err)
	return err
}

// twice writes, and once more after a failure that leaves open whether it was written.
func twice(write func() error) error {
	err := write()
	if err != nil && !storage.Refused(err) {
		err = write()
	}
	return err
}

func (b *Barrier) adoptCandidateLocked() {
	b.root.Zero()
	b.root, b.candidate = b.candidate, secret.Key{}
}

// readKeyringLocked reads the stored keyring with the root key, or with the candidate, which then is the
// root key. It returns the tag of the record as well.
func (b *Barrier) readKeyringLocked(ctx context.Context) (keyring, tag, error) {
	data, err := b.base.Get(ctx, keyringPath)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return keyring{}, tag{}, ErrNotInitialized
	case err != nil:
		return keyring{}, tag{}, fmt.Errorf("barrier: read %s: %w", keyringPath, err)
	}
	ring := hashOf(data)
	if b.candidate.Len() > 0 {
		k, err := openKeyring(append([]byte(nil), data...), b.candidate)
		if err == nil {
			b.adoptCandidateLocked()
			return k, ring, nil
		}
	}
	k, err := openKeyring(data, b.root)
	return k, ring, err
}

// refreshLocked returns the session of the keyring as it is stored. It differs from the one in use only
// after a change whose Apply failed but was written.
func (b *Barrier) refreshLocked(ctx context.Context) (*session, error) {
	s := b.current.Load()
	if s == nil {
		return nil, ErrSealed
	}
	k, _, err := b.readKeyringLocked(storage.Unbudgeted(ctx))
	if err != nil {
		return nil, err
	}
	if k.active().id == s.active.id && k.config == s.keyring.config && k.guarded == s.keyring.guarded {
		k.zero()
		return s, nil
	}
	return b.installLocked(k, s)
}

func (b *Barrier) installLocked(k keyring, before *session) (*session, error) {
	s, err := newSession(k, before)
	if err != nil {
		return nil, err
	}
	b.current.Store(s)
	// The ciphers have what they need, and k has copies of its own.
	before.keyring.zero()
	return s, nil
}

// writeLocked stores the keyring and puts it to use. When that fails, the barrier goes on with what is
// stored, as far as that can be told.
func (b *Barrier) writeLocked(ctx context.Context, before *session, k keyring) error {
	return b.writeWithLocked(ctx, before, k, nil)
}

// writeWithLocked is writeLocked with a draft of the manifest; nil for the one in use.
func (b *Barrier) writeWithLocked(ctx context.Context, before *session, k keyring, d *draft) error {
	after, err := newSession(k, before)
	if err != nil {
		return err
	}
	data, err := k.seal(b.root)
	if err != nil {
		return err
	}
	batch := []storage.Op{storage.Put(keyringPath, data)}
	if after.active != before.active {
		bound := after.active.used.Add(1) + reservation
		after.active.reserved.Store(bound)
		batch = append(batch, after.active.reserveOp(bound))
	}
	if err := b.writeKeyringLocked(ctx, before, d, batch); err != nil {
		_, _ = b.refreshLocked(ctx)
		return fmt.Errorf("barrier: write %s: %w", keyringPath, err)
	}
	b.current.Store(after)
	return nil
}

// writeKeyringLocked applies the batch, which begins with the keyring, and the manifest that goes with it.
func (b *Barrier) writeKeyringLocked(ctx context.Context, s *session, d *draft, batch []storage.Op) error {
	b.guard.mu.Lock()
	defer b.guard.mu.Unlock()
	if d == nil {
		if b.guard.current.Load() == nil {
			return b.base.Apply(ctx, batch...)
		}
		var err error
		if d, err = b.editLocked(ctx); err != nil {
			return err
		}
	}
	d.below = d.below.with(keyringPath, hashOf(batch[0].Value))
	return b.commitLocked(ctx, s.active, d, 0, batch)
}
