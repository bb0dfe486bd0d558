package token

import (
	"hash/maphash"
	"sync"

	"coffer/engines"
)

// cacheSize bounds the tokens in memory, about one kilobyte each.
const cacheSize = 8192

// cache finds the entry of a token that was used before without hashing it cryptographically: the map's
// key is a seeded 64-bit hash, and the whole text is compared, in constant time, before the entry is
// handed out. When it is full, any entry makes room.
type cache struct {
	seed  maphash.Seed
	limit int

	mu sync.RWMutex
	// byText and byID are guarded by mu. byID leads from a service token's ID to its key in byText.
	byText map[uint64]*Entry
	byID   map[string]uint64
}

func (c *cache) init(limit int) {
	c.seed, c.limit = maphash.MakeSeed(), limit
	c.byText, c.byID = make(map[uint64]*Entry), make(map[string]uint64)
}

// get returns the token's entry, nil when it is not here.
func (c *cache) get(t engines.Token) *Entry {
	key := maphash.String(c.seed, t.Reveal())
	c.mu.RLock()
	e := c.byText[key]
	c.mu.RUnlock()
	if e == nil || !e.Caller.Token.Equal(t) {
		return nil
	}
	return e
}

// byTokenID returns the entry of a service token, nil when it is not here.
func (c *cache) byTokenID(id string) *Entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if key, ok := c.byID[id]; ok {
		return c.byText[key]
	}
	return nil
}

// put keeps an entry whose Caller.Token is set. The token's lock is held.
func (c *cache) put(e *Entry) {
	key := maphash.String(c.seed, e.Caller.Token.Reveal())
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.byText[key]; old != nil {
		c.removeLocked(key, old)
	}
	if len(c.byText) >= c.limit {
		for key, entry := range c.byText {
			c.removeLocked(key, entry)
			break
		}
	}
	c.byText[key] = e
	if e.ID != "" {
		c.byID[e.ID] = key
	}
}

// update replaces the entry of a service token if it is here. The token's lock is held.
func (c *cache) update(e *Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key, ok := c.byID[e.ID]; ok {
		c.byText[key] = e.withToken(c.byText[key].Caller.Token)
	}
}

// remove drops a service token. The token's lock is held.
func (c *cache) remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key, ok := c.byID[id]; ok {
		c.removeLocked(key, c.byText[key])
	}
}

func (c *cache) removeLocked(key uint64, e *Entry) {
	delete(c.byText, key)
	if e.ID != "" {
		delete(c.byID, e.ID)
	}
}
