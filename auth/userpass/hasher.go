package userpass

import (
	"context"
	"net/netip"
	"runtime"
	"sync"

	"golang.org/x/crypto/bcrypt"

	"coffer/auth"
)

// Hasher computes bcrypt hashes, so many at a time. The clients that ask for them take turns (auth.Turns). Each runs on
// a thread of low priority, and while some do the scheduler has as many processors more: whatever else there is to do
// goes first, and a flood of logins only takes what nobody wants.
type Hasher struct {
	size  int
	turns *auth.Turns
	// dummy is what the password of a user is compared with who does not exist.
	dummy []byte

	mu sync.Mutex
	// running and procs are guarded by mu: how many hashes are computed, and how many processors there were before.
	running, procs int
}

// NewHasher returns a Hasher that computes at most n hashes at a time.
func NewHasher(n int) *Hasher {
	// A hash of the usual cost, of a password that nobody knows.
	return &Hasher{size: n, turns: auth.NewTurns(n),
		dummy: []byte("$2a$10$no9FZQ0MNW8D.Po4yGApA.1UohozWZsp/WTp6FNSfIkUpA9/xXm1O")}
}

// Hash hashes a password of at most 72 bytes at Vault's cost, for a client. An error is one of ctx, or auth.ErrBusy.
func (h *Hasher) Hash(ctx context.Context, client netip.Addr, password []byte) (hash []byte, err error) {
	runErr := h.run(ctx, client, func() { hash, err = bcrypt.GenerateFromPassword(password, bcrypt.DefaultCost) })
	if runErr != nil {
		return nil, runErr
	}
	return hash, err
}

// Matches compares a password with a hash; with none it takes the same time and is never true. An error is one
// of ctx, or auth.ErrBusy.
func (h *Hasher) Matches(
	ctx context.Context, client netip.Addr, hash, password []byte,
) (matches bool, err error) {
	err = h.run(ctx, client, func() {
		if len(hash) == 0 {
			_ = bcrypt.CompareHashAndPassword(h.dummy, password) // only for its time
			return
		}
		matches = bcrypt.CompareHashAndPassword(hash, password) == nil
	})
	return matches, err
}

// run waits for the client's turn and runs f to its end, whatever becomes of ctx meanwhile.
func (h *Hasher) run(ctx context.Context, client netip.Addr, f func()) error {
	if err := h.turns.Acquire(ctx, client); err != nil {
		return err
	}
	defer h.turns.Release()
	h.begin()
	defer h.end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// A thread cannot get its priority back: it ends with the goroutine that keeps it locked.
		runtime.LockOSThread()
		lowerPriority()
		f()
	}()
	<-done
	return nil
}

func (h *Hasher) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running++; h.running == 1 {
		h.procs = runtime.GOMAXPROCS(0)
		runtime.GOMAXPROCS(h.procs + h.size)
	}
}

func (h *Hasher) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running--; h.running == 0 {
		runtime.GOMAXPROCS(h.procs)
	}
}
