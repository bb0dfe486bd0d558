package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"coffer/storage"
)

// newPath is where a new database is made. It is moved to path when it is complete, so that a file at path always is.
func newPath(path string) string { return path + ".new" }

// MarkerPath is the file beside the database at path that says that it held data once. While it is there, Open makes no
// new database in place of one that is gone.
func MarkerPath(path string) string { return path + ".marker" }

const markerText = `The database beside this file holds the data of a coffer server. While this file
is here, the server does not start without the database, where it would otherwise begin
with an empty one. To begin anew, remove both.
`

// claim opens the database file at path and locks it. When there is none, and never was one with data, it opens an
// empty file at newPath and says that it is fresh; publish moves it to its place. Errors are storage.ErrLocked, a
// *DamageError, and those of the file system.
func claim(path string) (f *os.File, fresh bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mayBegin(path); err != nil {
			return nil, false, err
		}
		fresh = true
		f, err = os.OpenFile(newPath(path), os.O_RDWR|os.O_CREATE, fileMode)
	}
	if err != nil {
		return nil, false, fmt.Errorf("bolt: %w", err)
	}
	if err := lockFile(f); err != nil {
		return nil, false, errors.Join(fmt.Errorf("bolt: open %s: %w", path, err), f.Close())
	}
	if !fresh {
		if !inPlace(f, path) { // somebody is exchanging it at this moment
			return nil, false, errors.Join(fmt.Errorf("bolt: open %s: %w", path, storage.ErrLocked), f.Close())
		}
		return f, false, nil
	}
	// Whoever made a database of this file before it was locked has moved it away.
	if !inPlace(f, newPath(path)) {
		return nil, false, errors.Join(fmt.Errorf("bolt: open %s: %w", path, storage.ErrLocked), f.Close())
	}
	if err := f.Truncate(0); err != nil { // what somebody left who was cut off
		return nil, false, errors.Join(fmt.Errorf("bolt: %w", err), f.Close())
	}
	return f, true, nil
}

// mayBegin returns an error when there was a database at path, which is gone.
func mayBegin(path string) error {
	if target, err := os.Readlink(path); err == nil {
		return &DamageError{What: fmt.Sprintf("it is a link to %s, which is not there", target), Lost: lostAll}
	}
	switch _, err := os.Lstat(MarkerPath(path)); {
	case err == nil:
		return &DamageError{What: fmt.Sprintf("it is gone, and %s says that it held data", MarkerPath(path)), Lost: lostAll}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("bolt: %w", err)
	}
	return nil
}

// lockFile locks f for this process, or returns storage.ErrLocked at once. bbolt locks it again, which does nothing.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return storage.ErrLocked
	}
	return err
}

// inPlace tells whether f is the file at path.
func inPlace(f *os.File, path string) bool {
	own, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(own, there)
}

// publish moves a complete new database to its place, durably.
func publish(path string) error {
	if err := os.Rename(newPath(path), path); err != nil {
		return fmt.Errorf("bolt: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("bolt: sync the data folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("bolt: sync the data folder: %w", err)
	}
	return nil
}

// marker writes the marker beside a database, in two steps around the first commit: what can fail comes before it, and
// the marker is there when the commit is acknowledged. So a marker means that something was stored.
type marker struct {
	path string
	done bool
}

// prepare writes the marker under another name.
func (m *marker) prepare() (err error) {
	if m.done {
		return nil
	}
	f, err := os.OpenFile(m.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return fmt.Errorf("bolt: mark that data is stored: %w", err)
	}
	_, err = f.WriteString(markerText)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("bolt: mark that data is stored: %w", err)
	}
	return nil
}

// keep gives the prepared marker its name, durably.
func (m *marker) keep() error {
	if m.done {
		return nil
	}
	if err := os.Rename(m.path+".new", m.path); err != nil {
		return fmt.Errorf("bolt: mark that data is stored: %w", err)
	}
	if err := syncDir(filepath.Dir(m.path)); err != nil {
		return err
	}
	m.done = true
	return nil
}
