package policies

// Cached is how many ACLs are kept.
func (s *Store) Cached() int { return len(s.cache.current.Load().acls) }
