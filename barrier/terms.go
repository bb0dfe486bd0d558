package barrier

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"coffer/barrier/record"
	"coffer/storage"
)

const (
	// reservation is how many encryptions are counted ahead in one go, and so by how many at most a
	// restart over-counts.
	reservation = 8192
	// hardLimit is the number of encryptions after which a term is not used any more whatever the
	// configuration says; 2^32 is what NIST SP 800-38D allows.
	hardLimit = 1<<32 - 1<<24
)

// term is one key of the keyring, ready for use. Reading and sealing take no lock.
type term struct {
	id        uint32
	installed time.Time
	cipher    *record.Cipher
	// used counts the encryptions; an upper bound after a restart.
	used atomic.Uint64
	// reserved is a bound of used that is durable. It only grows.
	reserved atomic.Uint64
	// growing is held, over the commit, by who raises reserved: commits of two bounds never cross.
	growing sync.Mutex
}

func newTerm(k termKey) (*term, error) {
	c, err := record.NewCipher(k.key, k.id)
	if err != nil {
		return nil, fmt.Errorf("barrier: term %d: %w", k.id, err)
	}
	return &term{id: k.id, installed: k.installed, cipher: c}, nil
}

func encryptionsPath(id uint32) string {
	return encryptionsPrefix + strconv.FormatUint(uint64(id), 10)
}

// encryptionsPlace is the associated data of the counter's record. No key begins with "/", so it can
// not be taken for a value.
func encryptionsPlace(id uint32) []byte { return []byte("/" + encryptionsPath(id)) }

// reserveOp is the change that makes bound durable. Its own encryption is counted by the caller.
func (t *term) reserveOp(bound uint64) storage.Op {
	plain := binary.BigEndian.AppendUint64(nil, bound)
	return storage.Put(encryptionsPath(t.id), t.cipher.Seal(plain, encryptionsPlace(t.id)))
}

// load takes over the durable bound: all of it may have been used.
func (t *term) load(ctx context.Context, s storage.Storage) error {
	path := encryptionsPath(t.id)
	data, err := s.Get(ctx, path)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("%w: %s is missing", ErrCorrupt, path)
	case err != nil:
		return fmt.Errorf("barrier: read %s: %w", path, err)
	}
	plain, err := t.cipher.Open(data, encryptionsPlace(t.id))
	if err != nil || len(plain) != 8 {
		return fmt.Errorf("%w: %s", ErrCorrupt, path)
	}
	bound := binary.BigEndian.Uint64(plain)
	t.used.Store(bound)
	t.reserved.Store(bound)
	return nil
}

// commit applies a batch that holds n records of this term, so that a bound that covers them is durable
// with them or before. While little is left of the reservation, the next bound travels with a batch that
// comes along; only when a burst outruns it do the others wait for the commit of that batch. Either way
// it is one Apply. The batch has room for one more operation.
func (t *term) commit(ctx context.Context, s storage.Storage, n uint64, batch []storage.Op) error {
	used := t.used.Add(n)
	reserved := t.reserved.Load()
	switch {
	case used > reserved:
		t.growing.Lock()
		if used <= t.reserved.Load() {
			t.growing.Unlock()
			return s.Apply(ctx, batch...)
		}
	case reserved-used >= reservation/2 || !t.growing.TryLock():
		return s.Apply(ctx, batch...)
	}
	defer t.growing.Unlock()
	bound := max(t.reserved.Load(), t.used.Add(1)) + reservation
	if err := s.Apply(ctx, append(batch, t.reserveOp(bound))...); err != nil {
		return err
	}
	t.reserved.Store(bound)
	return nil
}
