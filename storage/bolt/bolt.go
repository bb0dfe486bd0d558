// Package bolt is the Storage of a single node: one bbolt file, with group commit.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"coffer/storage"
	"coffer/storage/internal/listing"
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
	db      *bbolt.DB
	bucket  []byte
	watch   *watch
	marker  marker
	queue   queue
	recent  recent
	mapping mapping
	// closed is set when Close begins.
	closed atomic.Bool
	// done is closed when the committer has ended, watched when nothing looks at the file any more.
	done, watched chan struct{}
	closeOnce     sync.Once
	closeErr      error
}

// settings is what the options set.
type settings struct {
	bolt bbolt.Options
	log  *slog.Logger
}

// Option changes how Open opens the file.
type Option func(*settings)

// WithoutSync leaves out the sync to disk, so that a commit survives a crash of the process but not a
// power cut. For tests only: it breaks the promise of storage.Storage.
func WithoutSync() Option { return func(s *settings) { s.bolt.NoSync = true } }

// WithLogger sets who is told of what is wrong with the file, at the start and later. Without it nobody is.
func WithLogger(log *slog.Logger) Option { return func(s *settings) { s.log = log } }

// Open opens the database file at path and creates it, and its folder, when they do not exist and never did. The file
// is checked first, as Check does. It returns storage.ErrLocked at once when another process has the file open, and a
// *DamageError when the file is damaged, empty, or gone from where data was stored.
func Open(path string, options ...Option) (*Store, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("bolt: create the data folder: %w", err)
	}
	with := settings{log: slog.New(slog.DiscardHandler), bolt: bbolt.Options{
		Timeout:      lockWait,
		FreelistType: bbolt.FreelistMapType,
		// The freelist is found by scanning the file at Open instead of being written with each commit:
		// after a large deletion it would be hundreds of kilobytes for every small write.
		NoFreelistSync: true,
		NoStatistics:   true,
		// A young file grows to this at once and not by doubling, write by write.
		InitialMmapSize: firstSize,
	}}
	for _, option := range options {
		option(&with)
	}
	s := &Store{bucket: []byte(bucketName), done: make(chan struct{}), watched: make(chan struct{}),
		marker: marker{path: MarkerPath(path)}}
	s.recent.init()
	if err := s.open(path, &with); err != nil {
		return nil, err
	}
	s.queue.wake = make(chan struct{}, 1)
	s.mapping.wake = make(chan struct{}, 1)
	go s.commitLoop()
	go func() {
		defer close(s.watched)
		s.watch.run(s.done)
	}()
	return s, nil
}

// open locks the file, checks it and opens it.
func (s *Store) open(path string, with *settings) error {
	f, fresh, err := claim(path)
	if err != nil {
		return withRemedy(path, err)
	}
	found, err := s.inspect(f, fresh)
	if err != nil {
		return errors.Join(withRemedy(path, err), f.Close())
	}
	if err := s.openBolt(f, path, with, found); err != nil {
		return err
	}
	s.watch = &watch{path: path, file: f, pageSize: int64(s.db.Info().PageSize), log: with.log}
	err = s.watch.settleLocked()
	switch {
	case err != nil:
	case fresh:
		if err = publish(path); err == nil {
			with.log.Info("made a new database", "file", path)
		}
	case !found.empty && !s.marker.done:
		s.mark(with.log)
		err = syncDir(filepath.Dir(path)) // whoever made the file may not have come to it
	}
	if err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// inspect checks an open file, and whether it holds data where some was stored.
func (s *Store) inspect(f *os.File, fresh bool) (examined, error) {
	if fresh {
		return examined{empty: true}, nil
	}
	info, err := f.Stat()
	if err != nil {
		return examined{}, err
	}
	if !info.Mode().IsRegular() {
		return examined{}, fmt.Errorf("%w: it is no regular file", ErrCorrupt)
	}
	found, err := examine(f, info.Size())
	if err != nil {
		return found, err
	}
	_, err = os.Lstat(s.marker.path)
	s.marker.done = err == nil
	if s.marker.done && found.empty {
		return found, &DamageError{What: fmt.Sprintf("nothing is in it, and %s says that it held data", s.marker.path),
			Lost: lostAll}
	}
	return found, nil
}

// openBolt opens the checked file f, and closes it when that fails.
func (s *Store) openBolt(f *os.File, path string, with *settings, found examined) (err error) {
	defer recoverCorrupt(&err) // it was checked: this is for what has changed since
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	with.bolt.OpenFile = func(string, int, os.FileMode) (*os.File, error) { return f, nil }
	defer func() {
		if s.db == nil {
			_ = f.Close() // bbolt has closed it, unless it panicked
		}
	}()
	if s.db, err = bbolt.Open(path, fileMode, &with.bolt); err != nil {
		return fmt.Errorf("bolt: open %s: %w", path, err)
	}
	if found.doubt != "" {
		with.log.Error("the database file was damaged and is mended", "file", path, "damage", found.doubt)
	}
	// Commits write the two meta pages in turn: two make both of them good.
	for i := 0; err == nil && i < 2 && (found.doubt != "" || i == 0 && !found.bucket); i++ {
		err = s.db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(s.bucket)
			return err
		})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("bolt: create the bucket: %w", err), s.db.Close())
	}
	return nil
}

// mark leaves the marker beside data that an older version stored. The data is good without it.
func (s *Store) mark(log *slog.Logger) {
	err := s.marker.prepare()
	if err == nil {
		err = s.marker.keep()
	}
	if err != nil {
		log.Warn("a loss of the database file would not be noticed at a start", "file", s.marker.path, "error", err)
		s.marker.done = true
	}
}

// Trouble returns why nothing is written at present, or nil: ErrFailed, ErrFull, ErrUnwritten, ErrReplaced, ErrStalled
// or ErrCorrupt. Its text names no path. It is cheap, and never waits for the disk.
func (s *Store) Trouble() error { return s.watch.trouble() }

// Close waits for the batches that were handed in before, and closes the file. Every later call, Close
// aside, returns storage.ErrClosed.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.closed.Store(true)
		s.queue.close()
		<-s.done
		<-s.watched
		// After a panic in a commit its locks may be left locked.
		if c := s.watch.failed.Load(); c != nil && errors.Is(c.kind, ErrCorrupt) {
			s.closeErr = s.watch.file.Close() // the mapping stays, for whoever reads it
			return
		}
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
			s.mapping.count(len(value))
			return value, nil // it is the caller's alone
		}
		slot.put(key, value, commits)
	} else if err := s.refusal(); err != nil {
		return nil, err
	}
	return append([]byte{}, value...), nil
}

// refusal returns why nothing is read any more, or nil.
func (s *Store) refusal() error {
	if c := s.watch.broken.Load(); c != nil {
		return c
	}
	if s.closed.Load() {
		return storage.ErrClosed
	}
	return nil
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
// keeps freed pages from being used again. A page that cannot be read is an ErrCorrupt.
func (s *Store) view(read func(*bbolt.Bucket) error) (err error) {
	tx, err := s.begin(false)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	defer recoverCorrupt(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return read(tx.Bucket(s.bucket))
}

// begin starts a transaction.
func (s *Store) begin(writable bool) (tx *bbolt.Tx, err error) {
	if c := s.watch.broken.Load(); c != nil {
		return nil, c
	}
	defer func() {
		if p := recover(); p != nil {
			err = s.watch.breakOff("its meta pages were lost while in use: %v", p)
			release(s.db, writable)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	tx, err = s.db.Begin(writable)
	switch {
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return nil, storage.ErrClosed
	case errors.Is(err, berrors.ErrInvalidMapping):
		return nil, s.watch.breakOff("it could not be mapped into memory: %w", err)
	}
	return tx, err
}

// release unlocks what a transaction that panicked while it began has left locked: bbolt looks at the meta pages under
// its locks, and does not expect that they cannot be read. All that is under way would wait for ever.
func release(db *bbolt.DB, writable bool) {
	lock := func(name string) reflect.Value { return reflect.ValueOf(db).Elem().FieldByName(name).Addr() }
	if writable {
		(*sync.Mutex)(lock("rwlock").UnsafePointer()).Unlock()
		return
	}
	(*sync.RWMutex)(lock("mmaplock").UnsafePointer()).RUnlock()
	(*sync.Mutex)(lock("metalock").UnsafePointer()).Unlock()
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
