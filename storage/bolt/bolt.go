// Package bolt is the Storage of a single node: one bbolt file, with group commit.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"coffer/storage"
	"coffer/storage/internal/listing"
)

// Errors beside those of the Storage contract.
var (
	// ErrFailed is returned by every Apply after a commit could not be synced to disk. What the disk
	// holds is then unknown, and a further sync that succeeds would prove nothing, so only a restart
	// (which reads what is really there) makes the store writable again. Reading still works.
	ErrFailed = errors.New("bolt: an earlier commit could not be synced, the store is read-only until it is reopened")
	// ErrCorrupt is returned when the file does not hold what bbolt wrote.
	ErrCorrupt = errors.New("bolt: the database file is damaged")
)

const (
	// lockWait is how long Open tries to get the file's lock; bbolt tries at least once.
	lockWait = time.Millisecond
	fileMode = 0o600
	dirMode  = 0o700
)

// firstSize is how long, in bytes, the file is after its first commit.
const firstSize = 1 << 20

// bucketName is the one bucket that holds all keys.
const bucketName = "storage"

// Store is a Storage in one bbolt file. It is safe for concurrent use by one process; a second process
// that opens the file gets storage.ErrLocked.
type Store struct {
	db     *bbolt.DB
	bucket []byte
	// failed is set by the committer when a commit could not be synced.
	failed atomic.Bool
	queue  queue
	recent recent
	// closed is set when Close begins.
	closed atomic.Bool
	// done is closed when the committer has ended.
	done      chan struct{}
	closeOnce sync.Once
	closeErr  error
}

// Option changes how Open opens the file.
type Option func(*bbolt.Options)

// WithoutSync leaves out the sync to disk, so that a commit survives a crash of the process but not a
// power cut. For tests only: it breaks the promise of storage.Storage.
func WithoutSync() Option { return func(o *bbolt.Options) { o.NoSync = true } }

// Open opens the database file at path and creates it, and its folder, when they do not exist. It
// returns storage.ErrLocked at once when another process has the file open, and ErrCorrupt when the file
// is not a database.
func Open(path string, options ...Option) (*Store, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("bolt: create the data folder: %w", err)
	}
	opts := &bbolt.Options{
		Timeout:      lockWait,
		FreelistType: bbolt.FreelistMapType,
		// The freelist is found by scanning the file at Open instead of being written with each commit:
		// after a large deletion it would be hundreds of kilobytes for every small write.
		NoFreelistSync: true,
		NoStatistics:   true,
		// A young file grows to this at once and not by doubling, write by write.
		InitialMmapSize: firstSize,
	}
	for _, option := range options {
		option(opts)
	}
	s := &Store{bucket: []byte(bucketName), done: make(chan struct{})}
	s.recent.init()
	if err := s.open(path, opts); err != nil {
		return nil, err
	}
	// A new file survives a power cut only when its folder's entry does.
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("bolt: sync the data folder: %w", err), s.db.Close())
	}
	s.queue.wake = make(chan struct{}, 1)
	go s.commitLoop()
	return s, nil
}

func (s *Store) open(path string, opts *bbolt.Options) (err error) {
	defer recoverCorrupt(&err)
	s.db, err = bbolt.Open(path, fileMode, opts)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("bolt: open %s: %w", path, storage.ErrLocked)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum),
		errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("bolt: open %s: %w: %w", path, ErrCorrupt, err)
	case err != nil:
		return fmt.Errorf("bolt: open %s: %w", path, err)
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(s.bucket)
		return err
	})
	if err != nil {
		return errors.Join(fmt.Errorf("bolt: create the bucket: %w", err), s.db.Close())
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Close waits for the batches that were handed in before, and closes the file. Every later call, Close
// aside, returns storage.ErrClosed.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.closed.Store(true)
		s.queue.close()
		<-s.done
		s.closeErr = s.db.Close()
	})
	return s.closeErr
}

// Get implements storage.Storage.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := storage.CheckKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	slot := s.recent.slot(key)
	value := slot.get(key)
	if value == nil {
		commits := slot.begin()
		var err error
		if value, err = s.read(ctx, key); err != nil {
			return nil, err
		}
		if len(value) > recentLimit {
			return value, nil // it is the caller's alone
		}
		slot.put(key, value, commits)
	} else if s.closed.Load() {
		return nil, storage.ErrClosed
	}
	return append([]byte{}, value...), nil
}

// read copies a value out of the file. For a large one it waits until there is room, outside of the transaction.
func (s *Store) read(ctx context.Context, key string) (value []byte, err error) {
	for room := storage.LargeValue; value == nil; {
		need := 0
		err = s.view(func(b *bbolt.Bucket) error {
			v := b.Get([]byte(key))
			if v == nil {
				return storage.ErrNotFound
			}
			if need = len(v); need <= room {
				value = append([]byte{}, v...)
			}
			return nil
		})
		if err == nil && value == nil {
			err = storage.Spend(ctx, need)
		}
		if err != nil {
			return nil, err
		}
		room = need
	}
	return value, nil
}

// List implements storage.Storage.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return listing.Within(ctx, func(room int) (names []string, need int, err error) {
		err = s.view(func(b *bbolt.Bucket) (err error) {
			names, need, err = listing.List(ctx, cursor{b.Cursor()}, prefix, after, limit, room)
			return err
		})
		return names, need, err
	})
}

// Size is the length of the database file in bytes. Pages freed by deletions are used again, so it
// grows only with what is stored at one time.
func (s *Store) Size() (int64, error) {
	var size int64
	err := s.view(func(b *bbolt.Bucket) error {
		size = b.Tx().Size()
		return nil
	})
	return size, err
}

// view runs read in a transaction of its own, which must not outlive the copying of what is wanted: it
// keeps freed pages from being used again.
func (s *Store) view(read func(*bbolt.Bucket) error) (err error) {
	defer recoverCorrupt(&err)
	err = s.db.View(func(tx *bbolt.Tx) error {
		return read(tx.Bucket(s.bucket))
	})
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return storage.ErrClosed
	}
	return err
}

// recoverCorrupt makes an error of bbolt's panic over pages that make no sense.
func recoverCorrupt(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", ErrCorrupt, p)
	}
}

// cursor adapts bbolt's cursor to listing.Cursor.
type cursor struct{ c *bbolt.Cursor }

// Seek implements listing.Cursor.
func (c cursor) Seek(from string) []byte {
	k, _ := c.c.Seek([]byte(from))
	return k
}

// Next implements listing.Cursor.
func (c cursor) Next() []byte {
	k, _ := c.c.Next()
	return k
}
