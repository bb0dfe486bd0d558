package bolt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Why the store writes nothing: Trouble returns these, and Apply errors that wrap them. Their texts name no path and no
// data.
var (
	// ErrFailed is returned by every Apply after a commit could not be synced to disk. What the disk
	// holds is then unknown, and a further sync that succeeds would prove nothing, so only a restart
	// (which reads what is really there) makes the store writable again. Reading still works.
	ErrFailed = errors.New("bolt: a commit could not be synced to disk: nothing is written until the server is restarted")
	// ErrFull is returned by Apply when the file could not grow: the disk is full, or a limit is reached. Nothing of the
	// batch was stored, and the next Apply tries again.
	ErrFull = errors.New("bolt: the database file cannot grow: make room on its disk")
	// ErrUnwritten is ErrFull for any other reason than room.
	ErrUnwritten = errors.New("bolt: the database file could not be written")
	// ErrReplaced is returned by Apply while the file at the store's path is not the one that is open: it was deleted or
	// moved, another one is in its place, or its folder is gone. Reading still works. Writing goes on when the file is
	// back.
	ErrReplaced = errors.New("bolt: the database file is not in its place any more: nothing is written until it is back")
	// ErrStalled is returned by Trouble alone, while a commit waits for the disk for longer than stallLimit.
	ErrStalled = errors.New("bolt: the disk does not answer")
)

const (
	// watchInterval is how often the file is looked at when nobody writes.
	watchInterval = 250 * time.Millisecond
	// probeEvery is at which look, counted from the last, a disk that took nothing is tried again.
	probeEvery = 3
	// stallLimit is how long a commit may take before the disk counts as not answering.
	stallLimit = 10 * time.Second
	// probeSize is what must fit on the disk again before a full one counts as writable, in bytes.
	probeSize = 256 << 10
)

// watch knows whether the open file is still the one at its path, and as the last commit left it.
type watch struct {
	path     string
	file     *os.File
	pageSize int64
	log      *slog.Logger

	// broken is why the store neither reads nor writes any more, failed why it does not write. Set once.
	broken, failed atomic.Pointer[cause]
	// misplaced comes and goes, and so does unwritten, the reason why the last commit could not be written.
	misplaced atomic.Bool
	unwritten atomic.Pointer[cause]
	// begun is when the commit began that runs, in nanoseconds since 1970; 0 when none runs.
	begun atomic.Int64

	// committing is held during a commit, and whenever the fields below are used.
	committing sync.Mutex
	// size is the least length of the file in bytes, txid the number of the last commit. Guarded by committing.
	size int64
	txid uint64

	reporting sync.Mutex
	// reported is the trouble that the log knows of. Guarded by reporting.
	reported error
}

// cause is one of the errors above, and what more is known.
type cause struct{ kind, detail error }

// Error returns the whole.
func (c *cause) Error() string { return fmt.Sprintf("%v: %v", c.kind, c.detail) }

// Unwrap makes it both.
func (c *cause) Unwrap() []error { return []error{c.kind, c.detail} }

// trouble returns why nothing is written at present, or nil.
func (w *watch) trouble() error {
	if c := w.broken.Load(); c != nil {
		return c.kind
	}
	if c := w.failed.Load(); c != nil {
		return c.kind
	}
	if w.misplaced.Load() {
		return ErrReplaced
	}
	if begun := w.begun.Load(); begun != 0 && time.Since(time.Unix(0, begun)) > stallLimit {
		return ErrStalled
	}
	if c := w.unwritten.Load(); c != nil {
		return c.kind
	}
	return nil
}

// report tells the log when the trouble has changed. detail says more of it, and may be nil.
func (w *watch) report(detail error) {
	w.reporting.Lock()
	defer w.reporting.Unlock()
	now := w.trouble()
	if now == w.reported { //nolint:errorlint // They are sentinels.
		return
	}
	w.reported = now
	switch {
	case now == nil:
		w.log.Info("the database file is written again", "file", w.path)
	case detail == nil:
		w.log.Error("nothing is written to the database file", "file", w.path, "error", now)
	default:
		w.log.Error("nothing is written to the database file", "file", w.path, "error", now, "detail", detail)
	}
}

// fail ends writing for good, and returns the error for the writers.
func (w *watch) fail(kind, detail error) error {
	w.failed.CompareAndSwap(nil, &cause{kind, detail})
	return w.failed.Load()
}

// breakOff ends reading and writing for good, and returns the error for the callers.
func (w *watch) breakOff(format string, args ...any) error {
	detail := fmt.Errorf(format, args...)
	if w.broken.CompareAndSwap(nil, &cause{ErrCorrupt, detail}) {
		w.report(detail)
	}
	return w.broken.Load()
}

// begin is called before a commit; end is, if it returns nil.
func (w *watch) begin() error {
	w.committing.Lock()
	if err := w.checkLocked(); err != nil {
		w.committing.Unlock()
		w.report(nil)
		return err
	}
	w.begun.Store(time.Now().UnixNano())
	return nil
}

// end is called after the commit of number txid, or after one that failed with err, and returns what the writers are
// told: why it failed, or why they cannot rely on the commit after all.
func (w *watch) end(txid uint64, err error) error {
	defer w.report(err)
	defer w.committing.Unlock()
	w.begun.Store(0)
	if w.broken.Load() != nil || w.failed.Load() != nil || errors.Is(err, errRefused) {
		return err
	}
	if err != nil {
		err = w.classifyLocked(err)
		// A meta page that was written in part may count all the same.
		return errors.Join(err, w.settleLocked())
	}
	w.txid = txid
	w.unwritten.Store(nil)
	return w.checkLocked()
}

// classifyLocked says what became of a commit that failed with err. After a failed write (a full disk) bbolt has rolled
// back, and nothing points at what was written; after a failed sync the kernel may have dropped pages it calls clean.
func (w *watch) classifyLocked(err error) error {
	var c *cause
	var pathErr *fs.PathError
	var errno syscall.Errno
	switch {
	case errors.As(err, &c):
	case errors.As(err, &pathErr) && pathErr.Op == "write":
		c = unwritten(err)
	case errors.As(err, &errno), w.grownLocked():
		return w.fail(ErrFailed, err)
	default:
		c = &cause{ErrFull, err}
	}
	w.unwritten.Store(c)
	return c
}

// grownLocked tells whether the file has grown since the commit began. bbolt gives the error of growing it as a text
// alone, and so that of syncing the grown file: the length of the file tells the two apart.
func (w *watch) grownLocked() bool {
	info, err := w.file.Stat()
	return err != nil || info.Size() != w.size
}

// unwritten says why nothing of a commit was stored.
func unwritten(err error) *cause {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return &cause{ErrFull, err}
	}
	return &cause{ErrUnwritten, err}
}

// settleLocked takes what the file holds for what the last commit left.
func (w *watch) settleLocked() error {
	m, err := w.newestLocked()
	if err == nil {
		w.txid = m.txid
	}
	return err
}

// checkLocked returns an error when the store must not be written: it is broken, or the file is not in its place.
func (w *watch) checkLocked() error {
	if c := w.broken.Load(); c != nil {
		return c
	}
	if c := w.failed.Load(); c != nil {
		return c
	}
	if err := w.checkPlace(); err != nil {
		return err
	}
	info, err := w.file.Stat()
	if err != nil {
		return fmt.Errorf("bolt: %w", err)
	}
	if info.Size() < w.size {
		return w.breakOff("it was cut off while in use: %d of %d bytes are left", info.Size(), w.size)
	}
	w.size = info.Size()
	m, err := w.newestLocked()
	if err != nil {
		return err
	}
	if m.txid != w.txid {
		return w.breakOff("it was overwritten while in use: it says commit %d, the last one was %d", m.txid, w.txid)
	}
	return nil
}

// newestLocked reads the newer valid meta page.
func (w *watch) newestLocked() (newest meta, err error) {
	found := false
	for i := range int64(2) {
		var b [metaLength]byte
		if _, err := w.file.ReadAt(b[:], i*w.pageSize); err != nil && !errors.Is(err, io.EOF) {
			return newest, fmt.Errorf("bolt: read the meta pages: %w", err)
		}
		if m, _, ok := parseMeta(b[:]); ok && (!found || m.txid > newest.txid) {
			newest, found = m, true
		}
	}
	if !found {
		return newest, w.breakOff("its meta pages were overwritten while in use")
	}
	return newest, nil
}

// checkPlace returns ErrReplaced while the file at the path is another one, or none.
func (w *watch) checkPlace() error {
	if inPlace(w.file, w.path) {
		w.misplaced.Store(false)
		return nil
	}
	w.misplaced.Store(true)
	return ErrReplaced
}

// run looks at the file again and again until done is closed.
func (w *watch) run(done <-chan struct{}) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
			w.look(n%probeEvery == 0)
		case <-done:
			return
		}
	}
}

// look looks at the file, and tries whether there is room again if it may.
func (w *watch) look(mayTry bool) {
	if !w.committing.TryLock() {
		_ = w.checkPlace() // the commit that runs looks at the rest
	} else {
		_ = w.checkLocked()
		size := w.size
		w.committing.Unlock()
		if c := w.unwritten.Load(); c != nil && mayTry && w.hasRoom(size) {
			w.unwritten.CompareAndSwap(c, nil)
		}
	}
	w.report(nil)
}

// hasRoom tries whether a file could grow again from size bytes. Nobody else tries while health sends clients away.
func (w *watch) hasRoom(size int64) bool {
	name := w.path + ".probe"
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return false
	}
	_, err = f.WriteAt(make([]byte, probeSize), size)
	return errors.Join(err, f.Close(), os.Remove(name)) == nil
}
