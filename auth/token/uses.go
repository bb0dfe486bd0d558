package token

import "sync"

// uses are the requests under way of tokens whose uses are limited. Other tokens are never in it.
type uses struct {
	mu sync.Mutex
	// tokens is guarded by mu. An entry goes with its last request.
	tokens map[string]underway
}

// underway is what is known of one token while requests with it run.
type underway struct {
	requests int
	// spent is set once the last permitted use has begun.
	spent bool
}

func (u *uses) begin(id string, spent bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.tokens[id]
	now.requests++
	now.spent = now.spent || spent
	u.tokens[id] = now
}

// end reports whether the token is spent and nobody works with it any more.
func (u *uses) end(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.tokens[id]
	if now.requests--; now.requests > 0 {
		u.tokens[id] = now
		return false
	}
	delete(u.tokens, id)
	return now.spent
}
