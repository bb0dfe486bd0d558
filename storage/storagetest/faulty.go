package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"coffer/storage"
)

// ErrInjected is the error of a call that was made to fail.
var ErrInjected = errors.New("storagetest: injected fault")

// Call is a method of storage.Storage.
type Call string

// The calls that can be made to fail.
const (
	Get   Call = "Get"
	List  Call = "List"
	Apply Call = "Apply"
)

// Form is how a call fails. For Get and List both forms are the same.
type Form string

// The two forms of failing.
const (
	// NotWritten fails and changes nothing.
	NotWritten Form = "not written"
	// WrittenButFailed commits the batch and then reports a failure.
	WrittenButFailed Form = "written but reported failed"
)

// Faulty is a Storage whose nth call of a kind can be made to fail. It is safe for concurrent use.
type Faulty struct {
	base storage.Storage

	mu sync.Mutex
	// made, faults and fired are guarded by mu.
	made   map[Call]int
	faults map[Call]fault
	fired  bool
}

type fault struct {
	nth  int // every is every call
	form Form
}

// every is the nth of FailEvery.
const every = -1

// NewFaulty returns a Storage that passes everything on to base until Fail says otherwise.
func NewFaulty(base storage.Storage) *Faulty {
	return &Faulty{base: base, made: map[Call]int{}, faults: map[Call]fault{}}
}

// Fail makes the nth call of that kind from now on fail, once; n is 1 for the next one. It replaces an
// earlier order for the same kind.
func (f *Faulty) Fail(call Call, nth int, form Form) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[call] = fault{nth: f.made[call] + nth, form: form}
}

// FailEvery makes all calls of that kind fail until Heal.
func (f *Faulty) FailEvery(call Call, form Form) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[call] = fault{nth: every, form: form}
}

// Heal withdraws all orders to fail.
func (f *Faulty) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.faults)
}

// Fired reports whether a fault has happened.
func (f *Faulty) Fired() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Calls returns how many calls of that kind were made.
func (f *Faulty) Calls(call Call) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made[call]
}

// next counts a call and returns the form in which it has to fail, or "".
func (f *Faulty) next(call Call) Form {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made[call]++
	order, ok := f.faults[call]
	if !ok || order.nth != every && order.nth != f.made[call] {
		return ""
	}
	f.fired = true
	return order.form
}

// Get implements storage.Storage.
func (f *Faulty) Get(ctx context.Context, key string) ([]byte, error) {
	if f.next(Get) != "" {
		return nil, ErrInjected
	}
	return f.base.Get(ctx, key)
}

// List implements storage.Storage.
func (f *Faulty) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if f.next(List) != "" {
		return nil, ErrInjected
	}
	return f.base.List(ctx, prefix, after, limit)
}

// Page implements storage.Pager. It counts and fails as List does.
func (f *Faulty) Page(
	ctx context.Context, prefix, mark string, limit int,
) (names []string, next string, err error) {
	if f.next(List) != "" {
		return nil, "", ErrInjected
	}
	return storage.Page(ctx, f.base, prefix, mark, limit)
}

// Apply implements storage.Storage.
func (f *Faulty) Apply(ctx context.Context, batch ...storage.Op) error {
	switch f.next(Apply) {
	case NotWritten:
		return ErrInjected
	case WrittenButFailed:
		if err := f.base.Apply(ctx, batch...); err != nil {
			return err
		}
		return ErrInjected
	default:
		return f.base.Apply(ctx, batch...)
	}
}

// maxFaults bounds the runs of EachFault for one kind of call.
const maxFaults = 1000

// EachFault runs scenario as a subtest once for every call it makes and every form in which that call can
// fail. The scenario works through faulty, tolerates its errors, and checks through base what must hold
// after any of them: that nothing was written in part, and that everything still opens.
func EachFault(
	t *testing.T, open func(t *testing.T) storage.Storage,
	scenario func(t *testing.T, base storage.Storage, faulty *Faulty),
) {
	t.Helper()
	orders := []struct {
		call Call
		form Form
	}{{Apply, NotWritten}, {Apply, WrittenButFailed}, {Get, NotWritten}, {List, NotWritten}}
	for _, order := range orders {
		for n := 1; n <= maxFaults; n++ {
			fired := false
			t.Run(fmt.Sprintf("%s %d %s", order.call, n, order.form), func(t *testing.T) {
				base := open(t)
				faulty := NewFaulty(base)
				faulty.Fail(order.call, n, order.form)
				scenario(t, base, faulty)
				fired = faulty.Fired()
			})
			if !fired {
				break
			}
		}
	}
}
