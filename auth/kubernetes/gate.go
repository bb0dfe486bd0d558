package kubernetes

import (
	"context"
	"errors"
	"time"
)

// Bounds of what a slow API server can hold up: so many logins ask it at one time, so many more wait for
// their turn, and the next are refused at once.
const (
	concurrentReviews = 32
	waitingReviews    = 256
	// patience bounds what one login may ask of the API server, waiting for its turn included.
	patience = 10 * time.Second
)

// errBusy is returned when too many logins are waiting already.
var errBusy = errors.New("too many logins are waiting for the API server")

// gate bounds how many are inside, and how many wait. newGate makes it.
type gate struct {
	inside chan struct{}
	all    chan struct{}
}

func newGate(inside, waiting int) gate {
	return gate{inside: make(chan struct{}, inside), all: make(chan struct{}, inside+waiting)}
}

// enter waits for a place; leave gives it back. It returns errBusy, or why the context ended.
func (g gate) enter(ctx context.Context) (leave func(), err error) {
	select {
	case g.all <- struct{}{}:
	default:
		return nil, errBusy
	}
	select {
	case g.inside <- struct{}{}:
		return func() { <-g.inside; <-g.all }, nil
	case <-ctx.Done():
		<-g.all
		return nil, context.Cause(ctx)
	}
}
