package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrCorrupt is returned when the file does not hold what was written. The error of a file that cannot be opened for it
// is a *DamageError.
var ErrCorrupt = errors.New("bolt: the database file is damaged")

// DamageError says in one line where a database file is damaged, what is lost, and what to do. It is an ErrCorrupt.
type DamageError struct {
	// Path is the file.
	Path string
	// Page is the damaged page, and Offset where it is in the file, in bytes; both 0 when it is about the whole file.
	Page   uint64
	Offset int64
	// What is wrong, and what is lost by it.
	What, Lost string
	// Remedy is what to do, "" when nobody looked.
	Remedy string
	// Cause is the error of the file system, if there is one.
	Cause error
}

// What a damage costs.
const (
	lostAll     = "everything in it"
	lostBelow   = "the names and values on that page and below it"
	lostNothing = "nothing that is stored"
)

// Error implements error.
func (e *DamageError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the database file %s is damaged: ", e.Path)
	if e.Page != 0 {
		fmt.Fprintf(&b, "page %d, at byte %d: ", e.Page, e.Offset)
	}
	b.WriteString(e.What)
	if e.Cause != nil {
		fmt.Fprintf(&b, " (%v)", e.Cause)
	}
	fmt.Fprintf(&b, "; lost is %s", e.Lost)
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Unwrap makes it an ErrCorrupt, and what caused it.
func (e *DamageError) Unwrap() []error {
	if e.Cause == nil {
		return []error{ErrCorrupt}
	}
	return []error{ErrCorrupt, e.Cause}
}

// inFile completes err, which is about the file at path.
func inFile(path string, err error) error {
	var damage *DamageError
	if errors.As(err, &damage) {
		damage.Path = path
		return damage
	}
	return fmt.Errorf("bolt: %s: %w", path, err)
}

// withRemedy completes a damage of the file at path by what to do.
func withRemedy(path string, err error) error {
	err = inFile(path, err)
	var damage *DamageError
	if errors.As(err, &damage) {
		damage.Remedy = remedy(path)
	}
	return err
}

// How much is looked at in search of a backup.
const (
	maxNeighbours = 4096
	maxCandidates = 16
)

// remedy names the newest whole backup beside the file at path, by its time of change.
func remedy(path string) string {
	first, instead := "move the damaged file away and ", ""
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		first, instead = "", "; to begin with an empty one instead, remove "+MarkerPath(path)
	case err == nil && info.Mode().IsRegular() && info.Size() == 0:
		instead = "; if nothing was ever stored in it, remove it, and " + MarkerPath(path)
	}
	for _, c := range candidates(path) {
		report, err := Check(c.path)
		if err != nil || report.Empty {
			continue
		}
		return fmt.Sprintf("take the backup %s of %s, which is whole: %scopy the backup to %s%s",
			c.path, c.changed.UTC().Format(time.RFC3339), first, path, instead)
	}
	return fmt.Sprintf("no whole backup is beside it: %scopy your newest backup to %s%s", first, path, instead)
}

// candidate is a file that may be a backup.
type candidate struct {
	path    string
	changed time.Time
}

// candidates returns the files beside path that start like a database, the newest first.
func candidates(path string) (found []candidate) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil
	}
	defer closeRead(dir)
	// As many as could be read are looked at.
	entries, _ := dir.ReadDir(maxNeighbours)
	for _, entry := range entries {
		if !entry.Type().IsRegular() || entry.Name() == filepath.Base(newPath(path)) ||
			entry.Name() == filepath.Base(path) {
			continue
		}
		name := filepath.Join(filepath.Dir(path), entry.Name())
		if info, err := entry.Info(); err == nil && startsLikeOne(name, info.Size()) {
			found = append(found, candidate{name, info.ModTime()})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int { return b.changed.Compare(a.changed) })
	return found[:min(len(found), maxCandidates)]
}

// startsLikeOne tells whether a file has a valid meta page.
func startsLikeOne(path string, size int64) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer closeRead(f)
	_, _, _, err = readMetas(f, size)
	return err == nil
}
