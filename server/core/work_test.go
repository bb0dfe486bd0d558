package core

import (
	"context"
	"sync"
	"testing"
)

// TestWorkBesideTheEndOfASession lets requests begin work in the background while the session ends. Whoever ends it is
// never kept from closing the barrier, and what begins too late sees that it is over.
func TestWorkBesideTheEndOfASession(t *testing.T) {
	for range 2000 {
		s := &session{}
		s.ctx, s.cancel = context.WithCancel(t.Context())
		var requests sync.WaitGroup
		for range 4 {
			requests.Go(func() {
				for range 30 {
					s.work(func(ctx context.Context) { <-ctx.Done() })
				}
			})
		}
		s.work(func(ctx context.Context) { <-ctx.Done() })
		s.stop()
		requests.Wait()
		ended := make(chan error)
		s.work(func(ctx context.Context) { ended <- ctx.Err() })
		if err := <-ended; err == nil {
			t.Fatal("what began after the end does not know it")
		}
		s.stop()
	}
}
