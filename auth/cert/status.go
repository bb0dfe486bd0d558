package cert

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// statusKey tells apart what may be answered differently: the certificate, who made it, the role that asks, and how
// it asks. A change of the role's settings makes another key, so that no answer counts that they do not allow.
func statusKey(r *role, subject, issuer *x509.Certificate) ([sha256.Size]byte, error) {
	settings, err := json.Marshal(r.OCSP)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("cert: OCSP settings: %w", err)
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(r.Name), settings, subject.Raw, issuer.Raw} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// statusCache remembers answers for as long as they say they hold, and after that who was revoked.
type statusCache struct {
	mu      sync.Mutex // guards what follows
	answers map[[sha256.Size]byte]answer
}

// get returns an answer that holds still.
func (c *statusCache) get(key [sha256.Size]byte, now time.Time) (status, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.answers[key]
	return a.status, ok && now.Before(a.until)
}

// revoked reports whether the last answer said so, whether or not that holds still.
func (c *statusCache) revoked(key [sha256.Size]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers[key].status == statusRevoked
}

// put remembers an answer and returns the status that counts. Once a certificate was revoked, only an answer that is
// newer than the one that said so makes it good again: others are replayed. size is as in config.
func (c *statusCache) put(key [sha256.Size]byte, a answer, size int) status {
	if size <= 0 {
		size = defaultStatusCache
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old, known := c.answers[key]
	if known && old.status == statusRevoked && !a.since.After(old.since) {
		return statusRevoked
	}
	delete(c.answers, key)
	if a.until.IsZero() && a.status != statusRevoked {
		return a.status // it holds only now
	}
	if c.answers == nil {
		c.answers = map[[sha256.Size]byte]answer{}
	}
	c.makeRoomLocked(size)
	c.answers[key] = a
	return a.status
}

// makeRoomLocked removes arbitrary answers until there is room for one more, those that revoke last.
func (c *statusCache) makeRoomLocked(size int) {
	for _, expendable := range []status{statusGood, statusRevoked} {
		for k, a := range c.answers {
			if len(c.answers) < size {
				return
			}
			if a.status == expendable {
				delete(c.answers, k)
			}
		}
	}
}

func (c *statusCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.answers)
}
