package auth

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"coffer/engines"
)

// Bounds of who may wait for a turn.
const (
	// maxWaitingOfOne is how many calls of one client wait: some seconds of bcrypt.
	maxWaitingOfOne = 64
	// maxWaiting is how many calls wait in all.
	maxWaiting = 2048
	// refuseAfter is how long a call waits for its refusal: who asks again at once would take the processors from those
	// who are served.
	refuseAfter = time.Second
)

// ErrBusy is the answer to a client that has too many calls waiting (429).
var ErrBusy error = &engines.Error{Kind: engines.ErrBusy,
	Message: "too many logins from this address are waiting, try again"}

// Turns hands out a bounded number of slots for expensive work. Clients take turns, and the calls of one client stay in
// their order: who makes many calls waits for himself. A client is an address of IPv4 or a /64 of IPv6, which is what
// one household gets. It is safe for concurrent use.
type Turns struct {
	mu sync.Mutex
	// All are guarded by mu: how many slots are free and how many calls wait, the clients with calls that wait, in the
	// order of their turns, and the same by client.
	free, waiting int
	order         []*line
	lines         map[netip.Prefix]*line
}

// line is what waits of one client, the oldest first. A channel is closed when its call has a slot.
type line struct {
	client netip.Prefix
	calls  []chan struct{}
}

// NewTurns returns Turns with so many slots.
func NewTurns(slots int) *Turns {
	return &Turns{free: slots, lines: make(map[netip.Prefix]*line)}
}

// Acquire waits for a slot, which the caller gives back with Release. The error is that of ctx, or ErrBusy, after a
// second, when the client has too many calls waiting.
func (t *Turns) Acquire(ctx context.Context, client netip.Addr) error {
	granted, err := t.enter(ctx, clientOf(client))
	if err != nil {
		refuse(ctx)
		return err
	}
	if granted == nil {
		return nil
	}
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
		t.leave(clientOf(client), granted)
		return ctx.Err()
	}
}

// refuse waits before a refusal.
func refuse(ctx context.Context) {
	timer := time.NewTimer(refuseAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Release gives a slot to whose turn it is.
func (t *Turns) Release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.releaseLocked()
}

// enter takes a free slot, or puts a call into its line and returns what to wait for.
func (t *Turns) enter(ctx context.Context, client netip.Prefix) (chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 {
		t.free--
		return nil, nil //nolint:nilnil // nothing to wait for
	}
	l := t.lines[client]
	if t.waiting >= maxWaiting || l != nil && len(l.calls) >= maxWaitingOfOne {
		return nil, ErrBusy
	}
	if l == nil {
		l = &line{client: client}
		t.lines[client] = l
		t.order = append(t.order, l)
	}
	granted := make(chan struct{})
	l.calls = append(l.calls, granted)
	t.waiting++
	return granted, nil
}

// leave takes a call out of its line. If it was given a slot meanwhile, the next one gets it.
func (t *Turns) leave(client netip.Prefix, granted chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[client]
	if l == nil || !slices.Contains(l.calls, granted) {
		t.releaseLocked()
		return
	}
	l.calls = slices.DeleteFunc(l.calls, func(c chan struct{}) bool { return c == granted })
	t.waiting--
	if len(l.calls) == 0 {
		delete(t.lines, client)
		t.order = slices.DeleteFunc(t.order, func(other *line) bool { return other == l })
	}
}

func (t *Turns) releaseLocked() {
	if len(t.order) == 0 {
		t.free++
		return
	}
	l := t.order[0]
	t.order = t.order[1:]
	close(l.calls[0])
	l.calls = l.calls[1:]
	t.waiting--
	if len(l.calls) > 0 {
		t.order = append(t.order, l)
	} else {
		delete(t.lines, l.client)
	}
}

// clientOf is the network that counts as one client. All whose address is not known are one.
func clientOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // the zero Prefix for the zero Addr
	return p
}
