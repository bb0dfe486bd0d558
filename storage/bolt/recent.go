package bolt

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

const (
	// recentSlots is how many values are remembered at most; a power of two.
	recentSlots = 1 << 9
	// recentLimit is the size in bytes of the longest value that is remembered.
	recentLimit = 2 << 10
)

// recent remembers values that were read lately, so that what is read again and again costs no transaction.
// It never holds a value that a commit has replaced and told its writer of: whoever fills it says before
// his reading that he will, and a commit in between makes that void.
type recent struct {
	seed  maphash.Seed
	slots [recentSlots]recentSlot
}

// recentSlot holds one of the keys that fall to it, the one that was read last.
type recentSlot struct {
	value atomic.Pointer[remembered]

	mu sync.Mutex
	// commits counts the commits that concerned the slot; it is guarded by mu.
	commits uint64
}

// remembered is immutable.
type remembered struct {
	key   string
	value []byte
}

func (r *recent) init() { r.seed = maphash.MakeSeed() }

func (r *recent) slot(key string) *recentSlot {
	return &r.slots[maphash.String(r.seed, key)&(recentSlots-1)]
}

// get returns the key's value, which must not be changed, or nil.
func (s *recentSlot) get(key string) []byte {
	if m := s.value.Load(); m != nil && m.key == key {
		return m.value
	}
	return nil
}

// begin is called before a value is read that put is to remember.
func (s *recentSlot) begin() (commits uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commits
}

// put remembers a value that was read since begin, unless a commit came in between. The value is not changed
// from now on.
func (s *recentSlot) put(key string, value []byte, commits uint64) {
	if len(value) > recentLimit {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.commits == commits {
		s.value.Store(&remembered{key, value})
	}
}

// forget is called after a commit that concerned the key, whether it is known to have succeeded or not.
func (r *recent) forget(key string) {
	s := r.slot(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits++
	s.value.Store(nil)
}
