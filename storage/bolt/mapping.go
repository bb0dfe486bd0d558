package bolt

import (
	"reflect"
	"sync/atomic"
	"time"

	bbolt "go.etcd.io/bbolt"
)

// What of the file stays mapped into memory.
const (
	// maxResident is how many bytes of mapped files the process has in memory before it lets go of them. The system's
	// cache keeps them: to touch them again costs no reading.
	maxResident = 64 << 20
	// It is looked at so often, and whenever so many bytes were written, or read of large values.
	trimEvery = time.Second
	trimAfter = 16 << 20
)

// mapping is what of the file's mapping into memory was unlocked and read.
type mapping struct {
	// Once there are commits, these are the committer's alone, who is the only one to map the file anew: whether to
	// unlock mappings, and the one that was unlocked last.
	wanted bool
	at     *byte
	size   int

	// moved is how many bytes were written, or read of large values, since wake, which has room for one call, called for
	// trimming.
	moved atomic.Int64
	wake  chan struct{}
}

// count counts what was written, or read of a large value.
func (m *mapping) count(n int) {
	if m.moved.Add(int64(n)) > trimAfter {
		m.moved.Store(0)
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// UnlockMapping takes the file's mapping, now and whenever it grows, out of the memory that the process has locked by
// mlockall: else all of the file that was ever read stays in memory. It also gives back what Open has read of the file,
// which may be all of it, and from time to time what was read since. To unlock it is safe where values are encrypted
// before they are stored. It is called once, before anything is written, and does nothing but on Linux.
func (s *Store) UnlockMapping() {
	s.mapping.wanted = true
	s.unlockNewMapping()
	go s.keepTrimmed()
}

// keepTrimmed bounds what of the file is in memory, until the store is closed.
func (s *Store) keepTrimmed() {
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.mapping.wake:
		case <-s.done:
			return
		}
		if resident() > maxResident {
			s.trim()
		}
	}
}

// trim lets go of what is in memory of the file.
func (s *Store) trim() {
	// While there is a transaction the mapping stays. Without one there is nothing to let go of.
	_ = s.view(func(*bbolt.Bucket) error {
		letGo(s.mapped())
		return nil
	})
}

// unlockNewMapping unlocks the mapping if it is another one than before. Errors are of no account: the pages stay
// locked.
func (s *Store) unlockNewMapping() {
	m := &s.mapping
	if !m.wanted {
		return
	}
	if b := s.mapped(); len(b) > 0 && (&b[0] != m.at || len(b) != m.size) {
		m.at, m.size = &b[0], len(b)
		unlock(b)
		letGo(b)
	}
}

// mapped is the mapping. bbolt tells where it is, and not how long.
func (s *Store) mapped() []byte { return reflect.ValueOf(s.db).Elem().FieldByName("dataref").Bytes() }
