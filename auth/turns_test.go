package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"coffer/auth"
	"coffer/engines"
)

// queued puts calls into the line one by one, each named after its client, and returns what was served, in order. A
// call ends as soon as it was served.
func queued(t *testing.T, clients ...string) string {
	t.Helper()
	var served []string
	synctest.Test(t, func(t *testing.T) {
		turns := auth.NewTurns(1)
		if err := turns.Acquire(t.Context(), netip.Addr{}); err != nil {
			t.Fatal(err)
		}
		for _, client := range clients {
			go func() {
				if err := turns.Acquire(t.Context(), netip.MustParseAddr(client)); err != nil {
					t.Error(err)
				}
				served = append(served, client)
				turns.Release()
			}()
			synctest.Wait()
		}
		turns.Release()
		synctest.Wait()
		// Everything was given back.
		if err := turns.Acquire(t.Context(), netip.Addr{}); err != nil {
			t.Error(err)
		}
	})
	return strings.Join(served, " ")
}

func TestClientsTakeTurns(t *testing.T) {
	for _, tt := range []struct{ asked, served string }{
		{"10.0.0.1 10.0.0.1 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.2",
			"10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.1 10.0.0.2 10.0.0.1"},
		// A /64 is one client, and so is an address of IPv4 in either form.
		{"2001:db8::1 2001:db8::2 2001:db8::3 2001:db8:0:1::1", "2001:db8::1 2001:db8:0:1::1 2001:db8::2 2001:db8::3"},
		{"10.0.0.1 ::ffff:10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2 ::ffff:10.0.0.1"},
	} {
		if got := queued(t, strings.Fields(tt.asked)...); got != tt.served {
			t.Errorf("%s: served %s, want %s", tt.asked, got, tt.served)
		}
	}
}

func TestLinesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := auth.NewTurns(1)
		crowd, end := context.WithCancel(t.Context())
		one, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		var refused, served, gone atomic.Int32
		call := func(ctx context.Context, client netip.Addr) {
			err := turns.Acquire(ctx, client)
			switch {
			case errors.Is(err, auth.ErrBusy) && errors.Is(err, engines.ErrBusy):
				refused.Add(1)
			case errors.Is(err, context.Canceled):
				gone.Add(1)
			case err != nil:
				t.Error(err)
			default:
				served.Add(1)
			}
		}
		call(t.Context(), one)
		for range 100 {
			go call(crowd, one)
			synctest.Wait()
		}
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		if n := refused.Load(); n != 0 {
			t.Errorf("%d were refused at once: they would be back at once", n)
		}
		time.Sleep(time.Nanosecond)
		go call(t.Context(), other)
		synctest.Wait()
		if refused.Load() != 36 || served.Load() != 1 {
			t.Errorf("%d refused and %d served of 101", refused.Load(), served.Load())
		}
		turns.Release() // for the first that waits
		synctest.Wait()
		turns.Release() // for the other client
		synctest.Wait()
		if n := served.Load(); n != 3 {
			t.Errorf("%d served, want one of each client after the first", n)
		}
		end()
		synctest.Wait()
		if n := gone.Load(); n != 63 {
			t.Errorf("%d went away, want 63", n)
		}
		turns.Release()
		call(t.Context(), other)
		if served.Load() != 4 {
			t.Error("the slot of those that went away is lost")
		}
	})
}

// TestManyClientsAreBounded: addresses cost a stranger little, above all those of IPv6.
func TestManyClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := auth.NewTurns(0)
		ctx, end := context.WithCancel(t.Context())
		var refused atomic.Int32
		for i := range 3000 {
			client := netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", i))
			go func() {
				if errors.Is(turns.Acquire(ctx, client), auth.ErrBusy) {
					refused.Add(1)
				}
			}()
			if i%100 == 99 {
				synctest.Wait()
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := refused.Load(); n != 3000-2048 {
			t.Errorf("%d were refused", n)
		}
		end()
		synctest.Wait()
	})
}

// TestSlotGivenToWhoLeaves: a call that ends just as it is served passes its slot on.
func TestSlotGivenToWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := auth.NewTurns(1)
		for range 200 {
			if err := turns.Acquire(t.Context(), netip.Addr{}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				if turns.Acquire(ctx, netip.Addr{}) == nil {
					turns.Release()
				}
			}()
			synctest.Wait()
			go cancel()
			turns.Release()
			synctest.Wait()
		}
	})
}
