package api

import (
	"context"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"weak"
)

// TestPoolKeepsNothingOfARequestThatIsOver: what a request has hung on its share is garbage once the request is over,
// though others of its client still wait.
func TestPoolKeepsNothingOfARequestThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, client := newPool(10, 10), netip.MustParsePrefix("192.0.2.1/32")
		first := p.open(client)
		if err := first.take(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		privileged := p.open(client)
		if err := privileged.take(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		var over weak.Pointer[share]
		served := make(chan struct{})
		go func() {
			s := p.open(client)
			over = weak.Make(s)
			if err := s.take(context.WithoutCancel(t.Context()), 10); err != nil {
				t.Error(err)
			}
			s.release()
			close(served)
		}()
		synctest.Wait()
		for range 2 {
			go func() { _ = p.open(client).take(t.Context(), 10) }()
			synctest.Wait()
		}
		first.release()
		<-served
		synctest.Wait()
		runtime.GC()
		if p.waiting == 0 {
			t.Error("nobody waits any more")
		}
		if over.Value() != nil {
			t.Error("the pool keeps the share of a request that is over")
		}
	})
}
