package api

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// household is one client of a pool.
func household(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)
}

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
				s := p.open(household(i % 5))
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
		if p.common != common || p.privileged != nil || p.waiting != 0 || len(p.lines) != 0 {
			t.Errorf("afterwards: %d common, privileged %v, %d waiting", p.common, p.privileged, p.waiting)
		}
	})
}

func TestRefusalsOfAPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(10, 10)
		if err := p.open(household(1)).take(t.Context(), 11); !errors.Is(err, errTooCostly) {
			t.Errorf("more than one may have: %v", err)
		}
		one, two := p.open(household(1)), p.open(household(2))
		if one.take(t.Context(), 10) != nil || two.take(t.Context(), 10) != nil {
			t.Fatal("two do not fit")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.open(household(3)).take(ctx, 1); !errors.Is(err, errBusy) {
			t.Errorf("nothing left: %v", err)
		}
		var wg sync.WaitGroup
		for range maxWaiting {
			wg.Go(func() {
				s := p.open(household(4))
				defer s.release()
				if err := s.take(t.Context(), 1); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if err := p.open(household(4)).take(t.Context(), 1); !errors.Is(err, errBusy) {
			t.Errorf("too many of one client wait: %v", err)
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
		greedy, other := household(1), household(2)
		first := p.open(greedy)
		if err := first.take(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		var order []netip.Prefix
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, client := range []netip.Prefix{greedy, greedy, greedy, other} {
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
		if order[0] != other {
			t.Errorf("served in the order %v", order)
		}
	})
}

// TestFullQueueHasAPlaceForOthers lets one client fill the queue: another one gets a place in it, and its turn, and the
// client with the most loses the last of its own.
func TestFullQueueHasAPlaceForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(10, 0)
		greedy, other := household(1), household(2)
		first := p.open(greedy)
		if err := first.take(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		var served []netip.Prefix
		var refused int
		var mu sync.Mutex
		var wg sync.WaitGroup
		wait := func(client netip.Prefix) {
			wg.Go(func() {
				s := p.open(client)
				defer s.release()
				err := s.take(t.Context(), 10)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					served = append(served, client)
				case errors.Is(err, errBusy) && client == greedy:
					refused++
				default:
					t.Error(client, err)
				}
			})
			synctest.Wait()
		}
		for range maxWaiting + 1 {
			wait(greedy)
		}
		for range 3 {
			wait(other)
		}
		first.release()
		wg.Wait()
		if refused != 4 || len(served) != maxWaiting {
			t.Errorf("%d of the client with the most were refused, %d served in all", refused, len(served))
		}
		for i, want := range []netip.Prefix{other, greedy, other, greedy, other, greedy, greedy} {
			if served[i] != want {
				t.Errorf("served in the order %v", served[:8])
				break
			}
		}
		if p.common != 0 || p.privileged != nil || p.waiting != 0 || len(p.lines) != 0 {
			t.Errorf("afterwards: %d common, privileged %v, %d waiting", p.common, p.privileged, p.waiting)
		}
	})
}
