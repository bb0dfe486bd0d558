package api

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestNobodyWaitsForEver lets many requests take more and more while they hold what they have: all of them get the
// largest share that there is, and never more than the pool has is given out.
func TestNobodyWaitsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const largest, common = 100, 150
		p := newPool(largest, common)
		var given, most atomic.Int64
		var wg sync.WaitGroup
		for i := range maxWaiting {
			wg.Go(func() {
				s := p.open(fmt.Sprint(i % 5))
				defer s.release()
				for held := int64(0); held < largest; {
					n := min(1+rand.Int64N(40), largest-held)
					if err := s.take(t.Context(), n); err != nil {
						t.Error(err)
						return
					}
					held += n
					now := given.Add(n)
					for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
					}
					<-time.After(time.Duration(rand.IntN(100)) * time.Millisecond)
				}
				given.Add(-largest)
			})
		}
		wg.Wait()
		if most.Load() > largest+common {
			t.Errorf("%d were given out at once, there are %d", most.Load(), largest+common)
		}
		if p.common != common || p.privileged != nil || len(p.waiting) != 0 {
			t.Errorf("afterwards: %d common, privileged %v, %d waiting", p.common, p.privileged, len(p.waiting))
		}
	})
}

func TestRefusalsOfAPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(10, 10)
		if err := p.open("a").take(t.Context(), 11); !errors.Is(err, errTooCostly) {
			t.Errorf("more than one may have: %v", err)
		}
		one, two := p.open("a"), p.open("b")
		if one.take(t.Context(), 10) != nil || two.take(t.Context(), 10) != nil {
			t.Fatal("two do not fit")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.open("c").take(ctx, 1); !errors.Is(err, errBusy) {
			t.Errorf("nothing left: %v", err)
		}
		var wg sync.WaitGroup
		for range maxWaiting {
			wg.Go(func() {
				s := p.open("d")
				defer s.release()
				if err := s.take(t.Context(), 1); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if err := p.open("e").take(t.Context(), 1); !errors.Is(err, errBusy) {
			t.Errorf("too many wait: %v", err)
		}
		one.release()
		one.release()
		two.release()
		wg.Wait()
	})
}

// TestOneClientDoesNotKeepOutTheOthers lets one client wait with many requests and another one come last with one.
func TestOneClientDoesNotKeepOutTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(10, 0)
		first := p.open("greedy")
		if err := first.take(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		var order []string
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, client := range []string{"greedy", "greedy", "greedy", "other"} {
			wg.Go(func() {
				s := p.open(client)
				defer s.release()
				if err := s.take(t.Context(), 10); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, client)
			})
			synctest.Wait()
		}
		first.release()
		wg.Wait()
		if order[0] != "other" {
			t.Errorf("served in the order %v", order)
		}
	})
}
