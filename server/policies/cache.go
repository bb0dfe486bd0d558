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

// cache holds compiled ACLs by the set of names they were made of.
type cache struct{ current atomic.Pointer[generation] }

// generation holds the ACLs compiled since the last change of a policy. The map is never changed in
// place: lookups take no lock.
type generation struct {
	number uint64
	acls   map[string]*policy.ACL
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
func (c *cache) add(seen *generation, names []string, acl *policy.ACL) {
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
			next.acls = make(map[string]*policy.ACL)
		}
		next.acls[string(appendKey(nil, names))] = acl
		if c.current.CompareAndSwap(old, next) {
			return
		}
	}
}

func (g *generation) find(names []string) (*policy.ACL, bool) {
	var buffer [maxKey]byte
	acl, ok := g.acls[string(appendKey(buffer[:0], names))]
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
