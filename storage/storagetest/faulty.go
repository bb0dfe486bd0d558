package storagetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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

// Form is how a call fails. For Get and List all forms are the same.
type Form string

// The forms of failing.
const (
	// NotWritten fails and changes nothing.
	NotWritten Form = "not written"
	// WrittenButFailed commits the batch and then reports a failure.
	WrittenButFailed Form = "written but reported failed"
	// WrittenLater leaves the outcome open: the next calls return storage.ErrUnsettled, then the batch is committed.
	WrittenLater Form = "written later"
	// DroppedLater leaves the outcome open likewise, then the batch is lost.
	DroppedLater Form = "dropped later"
)

// unsettledCalls is how many calls are refused while the outcome of a batch is open.
const unsettledCalls = 2

// Faulty is a Storage whose nth call of a kind can be made to fail. It is safe for concurrent use.
type Faulty struct {
	base storage.Storage

	mu sync.Mutex
	// made, faults and fired are guarded by mu.
	made   map[Call]int
	faults map[Call]fault
	fired  bool
	// open is guarded by mu: the batch whose outcome is open, nil for none.
	open *openBatch
}

// openBatch is a batch of which nobody knows yet whether it is committed.
type openBatch struct {
	ops     []storage.Op
	written bool
	refuse  int // calls that are still to be refused
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

// Heal withdraws all orders to fail. The next call settles what is open.
func (f *Faulty) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.faults)
	if f.open != nil {
		f.open.refuse = 0
	}
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

// next counts a call and returns the form in which it has to fail, or "". While the outcome of a batch is open it
// returns storage.ErrUnsettled.
func (f *Faulty) next(ctx context.Context, call Call) (Form, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made[call]++
	if f.open != nil && f.open.refuse > 0 {
		f.open.refuse--
		return "", storage.ErrUnsettled
	}
	if err := f.settleLocked(ctx); err != nil {
		return "", err
	}
	order, ok := f.faults[call]
	if !ok || order.nth != every && order.nth != f.made[call] {
		return "", nil
	}
	f.fired = true
	return order.form, nil
}

// settleLocked ends the doubt about a batch. The caller holds mu.
func (f *Faulty) settleLocked(ctx context.Context) error {
	open := f.open
	f.open = nil
	if open == nil || !open.written {
		return nil
	}
	return f.base.Apply(context.WithoutCancel(ctx), open.ops...)
}

// leaveOpen makes the outcome of batch open.
func (f *Faulty) leaveOpen(batch []storage.Op, written bool) error {
	open := &openBatch{written: written, refuse: unsettledCalls}
	for _, op := range batch {
		op.Value = slices.Clone(op.Value)
		open.ops = append(open.ops, op)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open = open
	return fmt.Errorf("%w: %w", storage.ErrUnsettled, ErrInjected)
}

// Get implements storage.Storage.
func (f *Faulty) Get(ctx context.Context, key string) ([]byte, error) {
	if form, err := f.next(ctx, Get); form != "" || err != nil {
		return nil, cmp.Or(err, ErrInjected)
	}
	return f.base.Get(ctx, key)
}

// List implements storage.Storage.
func (f *Faulty) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if form, err := f.next(ctx, List); form != "" || err != nil {
		return nil, cmp.Or(err, ErrInjected)
	}
	return f.base.List(ctx, prefix, after, limit)
}

// Page implements storage.Pager. It counts and fails as List does.
func (f *Faulty) Page(
	ctx context.Context, prefix, mark string, limit int,
) (names []string, next string, err error) {
	if form, err := f.next(ctx, List); form != "" || err != nil {
		return nil, "", cmp.Or(err, ErrInjected)
	}
	return storage.Page(ctx, f.base, prefix, mark, limit)
}

// Apply implements storage.Storage.
func (f *Faulty) Apply(ctx context.Context, batch ...storage.Op) error {
	form, err := f.next(ctx, Apply)
	if err != nil {
		return err
	}
	switch form {
	case NotWritten:
		return ErrInjected
	case WrittenButFailed:
		if err := f.base.Apply(ctx, batch...); err != nil {
			return err
		}
		return ErrInjected
	case WrittenLater, DroppedLater:
		return f.leaveOpen(batch, form == WrittenLater)
	default:
		return f.base.Apply(ctx, batch...)
	}
}

// settled is the base of a Faulty as it is once no outcome is open.
type settled struct{ faulty *Faulty }

func (s settled) settle(ctx context.Context) (storage.Storage, error) {
	s.faulty.mu.Lock()
	defer s.faulty.mu.Unlock()
	return s.faulty.base, s.faulty.settleLocked(ctx)
}

// Get implements storage.Storage.
func (s settled) Get(ctx context.Context, key string) ([]byte, error) {
	base, err := s.settle(ctx)
	if err != nil {
		return nil, err
	}
	return base.Get(ctx, key)
}

// List implements storage.Storage.
func (s settled) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	base, err := s.settle(ctx)
	if err != nil {
		return nil, err
	}
	return base.List(ctx, prefix, after, limit)
}

// Apply implements storage.Storage.
func (s settled) Apply(ctx context.Context, batch ...storage.Op) error {
	base, err := s.settle(ctx)
	if err != nil {
		return err
	}
	return base.Apply(ctx, batch...)
}

// maxFaults bounds the runs of EachFault for one kind of call.
const maxFaults = 1000

// EachFault runs scenario as a subtest once for every call it makes and every form in which that call can
// fail. The scenario works through faulty, tolerates its errors, and checks through base what must hold
// after any of them: that nothing was written in part, and that everything still opens. The first use of base settles
// what is open.
func EachFault(
	t *testing.T, open func(t *testing.T) storage.Storage,
	scenario func(t *testing.T, base storage.Storage, faulty *Faulty),
) {
	t.Helper()
	orders := []struct {
		call Call
		form Form
	}{{Apply, NotWritten}, {Apply, WrittenButFailed}, {Apply, WrittenLater}, {Apply, DroppedLater},
		{Get, NotWritten}, {List, NotWritten}}
	for _, order := range orders {
		for n := 1; n <= maxFaults; n++ {
			fired := false
			t.Run(fmt.Sprintf("%s %d %s", order.call, n, order.form), func(t *testing.T) {
				faulty := NewFaulty(open(t))
				faulty.Fail(order.call, n, order.form)
				scenario(t, settled{faulty}, faulty)
				fired = faulty.Fired()
			})
			if !fired {
				break
			}
		}
	}
}
