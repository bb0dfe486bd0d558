// Package storage defines what coffer asks of a place that keeps bytes: an ordered key-value store
// with all-or-nothing batches. Implementations live below it; storagetest is the suite they all pass.
package storage

import (
	"context"
	"errors"
)

// Limits of keys and values, in bytes.
const (
	// MaxKeySize is the longest key any implementation accepts; a longer one is ErrInvalidKey. A layer
	// that makes keys longer on their way down (a view's prefix, the barrier's encryption) accepts less.
	MaxKeySize = 32 << 10
	// MinMaxKeySize is the length every implementation accepts, layers included. Callers that want
	// their keys to be legal everywhere stay within it.
	MinMaxKeySize = 2 << 10
	// MaxValueSize is the longest value any implementation accepts; a longer one is ErrValueTooLarge.
	// It is eight times what Vault's raft storage takes by default; the memory that a write costs is a few
	// times its value.
	MaxValueSize = 8 << 20
)

// Errors that every implementation returns; match them with errors.Is.
var (
	// ErrNotFound is returned by Get when the key has no value.
	ErrNotFound = errors.New("storage: key not found")
	// ErrClosed is returned by every call after the store was closed.
	ErrClosed = errors.New("storage: store is closed")
	// ErrInvalidKey is returned for a key that is empty, longer than the store accepts (MaxKeySize),
	// starts or ends with "/", or has an empty component. Nothing was written.
	ErrInvalidKey = errors.New("storage: invalid key")
	// ErrValueTooLarge is returned by Apply for a value longer than MaxValueSize. Nothing was written.
	ErrValueTooLarge = errors.New("storage: value too large")
	// ErrNotLeader is returned by Apply on a node that may not write. Nothing was written.
	ErrNotLeader = errors.New("storage: this node is not the leader")
	// ErrUnsettled is returned while nobody knows whether an earlier batch is committed: by the Apply of that batch, and
	// by every call after it until the outcome is known. A node that loses its office while it writes returns it.
	ErrUnsettled = errors.New("storage: the outcome of a write is not known yet")
	// ErrDamaged is returned for a value, or a folder with a name, that is there and is not what was stored.
	ErrDamaged = errors.New("storage: stored data is damaged")
	// ErrLocked is returned when another process has the store open.
	ErrLocked = errors.New("storage: store is in use by another process")
)

// Storage is an ordered key-value store. It is safe for concurrent use.
//
// A call whose context is done when it starts returns the context's error and does nothing.
//
// On a node that is not the leader, Get and List show what a leader has committed: whole batches in their order, up to
// some point that may be in the past and never goes back. Apply returns ErrNotLeader there. A node that becomes the
// leader answers when it has everything that was committed before.
//
// Keys are paths: components separated by "/", for example "logical/1f/data/app".
type Storage interface {
	// Get returns the value of key, or ErrNotFound. The caller owns the slice. A value of more than LargeValue bytes is
	// charged to the Budget of the context before it is copied; the error is then the Budget's.
	Get(ctx context.Context, key string) ([]byte, error)
	// List returns the names one level below prefix in byte order, folders ending in "/". The prefix is
	// "" or ends in "/". Names up to and including `after` are left out; at most limit names are
	// returned, all of them when limit is 0. A prefix without keys yields an empty list and no error.
	// `after` need not be a name that exists. The caller owns the slice. Names that take more than LargeValue bytes are
	// charged to the Budget of the context, as by Get.
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
	// Apply commits the whole batch or none of it; when it returns nil the batch survives a power cut.
	// Operations take effect in order, so a later one on the same key wins. Apply does not keep the values' slices after
	// it returns. An empty batch writes nothing.
	//
	// An error is one of three kinds:
	//   - Refused: ErrNotLeader, ErrInvalidKey, ErrValueTooLarge, ErrClosed. Nothing was written.
	//   - ErrUnsettled: the batch may still be committed, at any later time. Every call through this store then returns
	//     ErrUnsettled until the outcome is known; it may be so for the rest of the store's life.
	//   - Any other: the batch may or may not be durable, and the outcome is settled when Apply returns.
	// However it ends, the batch is never there in part, and every Get that does not return ErrUnsettled sees what every
	// later one sees. Who keeps in memory what is stored reads it again after an error that is not Refused; see
	// storage/mirror.
	Apply(ctx context.Context, batch ...Op) error
}

// Op is one change in a batch: Put or Delete makes it.
type Op struct {
	Key string
	// Value is stored by a put; it may be empty. It is ignored by a deletion.
	Value []byte
	// Remove tells a deletion from a put.
	Remove bool
}

// Refused reports whether the error of an Apply tells that nothing was written.
func Refused(err error) bool {
	for _, refusal := range []error{ErrNotLeader, ErrInvalidKey, ErrValueTooLarge, ErrClosed} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// CheckBatch returns ErrInvalidKey or ErrValueTooLarge when one of the operations is not legal.
func CheckBatch(batch []Op) error {
	for i := range batch {
		if err := CheckKey(batch[i].Key); err != nil {
			return err
		}
		if len(batch[i].Value) > MaxValueSize && !batch[i].Remove {
			return ErrValueTooLarge
		}
	}
	return nil
}

// Put returns the change that stores value under key.
func Put(key string, value []byte) Op { return Op{Key: key, Value: value} }

// Delete returns the change that removes key. Removing a key that has no value is not an error.
func Delete(key string) Op { return Op{Key: key, Remove: true} }
