package bolt

// Trim is trim, for tests.
func (s *Store) Trim() { s.trim() }

// Resident is resident, for tests.
func Resident() int { return resident() }
