package bolt

import "reflect"

// mapping is what of the file's mapping into memory was unlocked. Once there are commits, it is the committer's alone,
// who is the only one to map the file anew.
type mapping struct {
	// wanted is whether to unlock mappings; at and size are the one that was unlocked last.
	wanted bool
	at     *byte
	size   int
}

// UnlockMapping takes the file's mapping, now and whenever it grows, out of the memory that the process has locked by
// mlockall: else all of the file that was ever read stays in memory. It also gives back what Open has read of the file,
// which may be all of it. To unlock it is safe where values are encrypted before they are stored. It is called before
// anything is written, and does nothing but on Linux.
func (s *Store) UnlockMapping() {
	s.mapping.wanted = true
	s.unlockNewMapping()
}

// unlockNewMapping unlocks the mapping if it is another one than before. Errors are of no account: the pages stay
// locked.
func (s *Store) unlockNewMapping() {
	m := &s.mapping
	if !m.wanted {
		return
	}
	// bbolt tells where its mapping is, and not how long.
	b := reflect.ValueOf(s.db).Elem().FieldByName("dataref").Bytes()
	if len(b) > 0 && (&b[0] != m.at || len(b) != m.size) {
		m.at, m.size = &b[0], len(b)
		unlock(b)
	}
}
