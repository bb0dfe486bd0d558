package policies

import (
	"encoding/binary"
	"maps"
	"sync/atomic"

	"coffer/policy"
)

const (
	// maxCached bounds the sets of policies whose ACL is kept; a full cache starts again empty.
	maxCached = 1024
	// maxKey is the longest key that is looked up without an allocation, in bytes. Longer sets of names
	// are compiled and cached like others.
	maxKey = 256
)

// cache holds compiled ACLs by the set of names they were made of, and for whom.
type cache struct{ current atomic.Pointer[generation] }

// generation holds the ACLs compiled since the last change of a policy. The map is never changed in
// place: lookups take no lock.
type generation struct {
	number uint64
	acls   map[cacheKey]*policy.ACL
}

// cacheKey is what an ACL was compiled for: the names, each behind its length, and the revision of the
// subject, 0 for none.
type cacheKey struct {
	names   string
	subject uint64
}

// reset forgets every ACL, and keeps out those that are being compiled at this moment.
func (c *cache) reset() {
	for {
		old := c.current.Load()
		next := &generation{number: 1}
		if old != nil {
			next.number = old.number + 1
		}
		if c.current.CompareAndSwap(old, next) {
			return
		}
	}
}

// add keeps acl, unless a policy changed since the caller loaded seen.
func (c *cache) add(seen *generation, names []string, subject uint64, acl *policy.ACL) {
	for {
		old := c.current.Load()
		if old.number != seen.number {
			return
		}
		next := &generation{number: old.number}
		if len(old.acls) < maxCached {
			next.acls = maps.Clone(old.acls)
		}
		if next.acls == nil {
			next.acls = make(map[cacheKey]*policy.ACL)
		}
		next.acls[cacheKey{string(appendKey(nil, names)), subject}] = acl
		if c.current.CompareAndSwap(old, next) {
			return
		}
	}
}

func (g *generation) find(names []string, subject uint64) (*policy.ACL, bool) {
	var buffer [maxKey]byte
	acl, ok := g.acls[cacheKey{string(appendKey(buffer[:0], names)), subject}]
	return acl, ok
}

// appendKey joins names, each behind its length, so that no two lists have the same key whatever the names
// hold.
func appendKey(key []byte, names []string) []byte {
	for _, name := range names {
		key = binary.AppendUvarint(key, uint64(len(name)))
		key = append(key, name...)
	}
	return key
}
