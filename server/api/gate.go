package api

import (
	"context"
	"net/http"

	"golang.org/x/sync/semaphore"
)

// smallBody is the size in bytes up to which a body is read without asking the gate.
const smallBody = 64 << 10

// BodyGate bounds the memory of the large bodies that are being served at one time. A body holds its
// share from its first byte until its answer, so that a crowd of them waits instead of filling the
// heap.
type BodyGate struct {
	total int64
	sem   *semaphore.Weighted
}

// NewBodyGate returns a gate for total bytes of bodies; a single larger one takes all of it.
func NewBodyGate(total int64) *BodyGate {
	return &BodyGate{total: total, sem: semaphore.NewWeighted(total)}
}

// enter waits for the request's share and returns what gives it back.
func (g *BodyGate) enter(ctx context.Context, r *http.Request, limit int64) (leave func(), err error) {
	size := r.ContentLength
	if size < 0 {
		size = limit
	}
	if size <= smallBody {
		return func() {}, nil
	}
	size = min(size, limit, g.total)
	if err := g.sem.Acquire(ctx, size); err != nil {
		return nil, err
	}
	return func() { g.sem.Release(size) }, nil
}
