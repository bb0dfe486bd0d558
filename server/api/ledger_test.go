package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// TestLargeReadsWaitForOneAnother lets one request more than fits read large values, then lets one of them end.
func TestLargeReadsWaitForOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := NewBodyGate(8 << 20)
		request := func() *deadline {
			d := withDeadline(t.Context(), time.Now().Add(time.Minute))
			d.ledger.gate, d.ledger.r = gate, httptest.NewRequest(http.MethodGet, "/", nil)
			return d
		}
		first, second, last := request(), request(), request()
		if err := storage.Spend(first, storage.LargeValue); err != nil || first.ledger.share != nil {
			t.Errorf("a small value was charged, %v", err)
		}
		for _, d := range []*deadline{first, second} {
			if err := storage.Spend(d, 3<<20); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 1)
		go func() { done <- storage.Spend(last, 3<<20) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("the third did not wait: %v", err)
		default:
		}
		if err := first.ledger.keep(first, 3<<20); err != nil {
			t.Fatal(err)
		}
		if held := first.ledger.share.held(); held != 3<<20 {
			t.Errorf("%d are held for an answer of %d", held, 3<<20)
		}
		second.ledger.release()
		if err := <-done; err != nil {
			t.Errorf("after one has ended: %v", err)
		}
		go func() { done <- storage.Spend(second, 8<<20) }()
		if err := <-done; !errors.Is(err, errBusy) {
			t.Errorf("nothing becomes free: %v, want errBusy after a minute", err)
		}
	})
}

// TestLedgerPaysWithTheShareOfTheBody holds that a request never waits for itself.
func TestLedgerPaysWithTheShareOfTheBody(t *testing.T) {
	gate := NewBodyGate(8 << 20)
	body := gate.large.open(household(1))
	if err := body.take(t.Context(), 12<<20); err != nil {
		t.Fatal(err)
	}
	l := ledger{gate: gate}
	l.adopt(body)
	if err := l.Spend(t.Context(), storage.LargeValue+1); err != nil || l.share != body {
		t.Errorf("another share pays, %v", err)
	}
	if err := l.Spend(t.Context(), storage.MaxValueSize); err != nil {
		t.Errorf("more than one request may have: %v", err) // it gets what there is
	}
}

// TestAnswersArePaidInFull holds that an answer is charged for all that it takes, or refused, and so is a list that
// leaves no room for its answer.
func TestAnswersArePaidInFull(t *testing.T) {
	gate := NewBodyGate(16 << 20) // 20 MiB for one request
	l := ledger{gate: gate, r: httptest.NewRequest(http.MethodGet, "/", nil)}
	defer l.release()
	for _, n := range []int64{1 << 20, 20 << 20, 3 << 20} {
		if err := l.cover(t.Context(), n); err != nil || l.share.held() < n {
			t.Errorf("%d are held for an answer of %d, %v", l.share.held(), n, err)
		}
		if err := l.keep(t.Context(), n); err != nil || l.share.held() != n {
			t.Errorf("%d are kept for an answer of %d, %v", l.share.held(), n, err)
		}
	}
	const tooLarge = 20<<20 + 1
	for name, err := range map[string]error{
		"cover": l.cover(t.Context(), tooLarge), "keep": l.keep(t.Context(), tooLarge), "a list": l.Spend(t.Context(), 11<<20),
	} {
		if !errors.Is(err, engines.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUploadsKeepNoReadersOut lets uploads hold all that there is for large bodies. Who reads a secret of some size, and
// gets an answer, waits for nobody; what is very large waits for them.
func TestUploadsKeepNoReadersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := NewBodyGate(8 << 20)
		for gate.large.privileged == nil {
			if err := gate.large.open(household(1)).take(t.Context(), 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 20 {
			l := ledger{gate: gate, r: &http.Request{RemoteAddr: "192.0.2.2:1"}}
			for range 2 {
				if err := l.Spend(ctx, 100<<10); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.keep(ctx, 70<<10); err != nil || l.share.held() != 70<<10 {
				t.Fatalf("%v, %d bytes are held", err, l.share.held())
			}
			defer l.release()
		}
		l := ledger{gate: gate, r: &http.Request{RemoteAddr: "192.0.2.2:1"}}
		defer l.release()
		if err := l.Spend(ctx, 100<<10); err != nil {
			t.Fatal(err)
		}
		if err := l.Spend(ctx, 1<<20); !errors.Is(err, errBusy) {
			t.Errorf("a very large value beside uploads: %v", err)
		}
		if l.share.pool != gate.answers || l.share.held() != 400<<10 {
			t.Errorf("it holds %d bytes", l.share.held())
		}
	})
}
