package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// errForeign is returned for a file that exists and is not an audit log.
var errForeign = errors.New("the file exists and is not an audit log")

// ours are the beginnings of audit entries: their keys are sorted.
var ours = [...]string{`{"auth":`, `{"error":`, `{"request":`, `{"time":`}

// openFile opens the log of a device to append to it, or creates it with the mode. It refuses what is not
// a regular file, symbolic links, executables and files that do not begin with an audit entry: whoever may
// enable devices must not be able to write to any other file of the server. It makes no folders.
func openFile(o options) (io.WriteCloser, error) {
	switch o.file {
	case toStdout:
		return uncloseable{os.Stdout}, nil
	case toDiscard:
		return uncloseable{io.Discard}, nil
	}
	mode := o.mode
	if mode == 0 {
		mode = defaultMode
	}
	// Not blocking: opening a pipe that nobody reads would wait for ever.
	const flags = os.O_RDWR | os.O_APPEND | os.O_CREATE | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	f, err := os.OpenFile(o.file, flags, mode)
	if err != nil {
		return nil, err
	}
	if err := checkFile(f, o); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func checkFile(f *os.File, o options) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: not a regular file", o.file)
	case info.Mode()&(0o111|fs.ModeSetuid|fs.ModeSetgid) != 0:
		return fmt.Errorf("%s: the file is executable", o.file)
	case info.Size() > 0:
		if err := checkLog(f, o.prefix); err != nil {
			return fmt.Errorf("%s: %w", o.file, err)
		}
	}
	if o.mode != 0 && info.Mode().Perm() != o.mode {
		return f.Chmod(o.mode)
	}
	return nil
}

// checkLog returns errForeign when the file does not begin with an audit entry.
func checkLog(f io.ReaderAt, prefix string) error {
	const longest = len(`{"request":`)
	head := make([]byte, len(prefix)+longest)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	entry, ok := bytes.CutPrefix(head[:n], []byte(prefix))
	if !ok {
		return errForeign
	}
	for _, begin := range ours {
		if bytes.HasPrefix(entry, []byte(begin)) {
			return nil
		}
	}
	return errForeign
}

// folderMode is the mode of folders that are made for a log: Vault gives them the mode of a file, and only root can use
// them.
const folderMode = 0o700

// makeFolder makes the folders of a new device's log that are not there. A device that was there before needs them as
// they are: a missing one may be a volume that is not mounted.
func makeFolder(o options) error {
	if o.file == toStdout || o.file == toDiscard {
		return nil
	}
	return os.MkdirAll(filepath.Dir(o.file), folderMode)
}

// uncloseable is a writer that belongs to somebody else.
type uncloseable struct{ io.Writer }

// Close does nothing.
func (uncloseable) Close() error { return nil }
