package storage

import "context"

// LargeValue is the size in bytes above which a value that is read, or a list of names, is charged to the Budget of its
// context.
const LargeValue = 32 << 10

// Budget bounds the memory of the large values and lists that are read, so that many readers at one time wait instead
// of filling the heap. It is safe for concurrent use.
type Budget interface {
	// Spend waits until there is room for n bytes. It returns an error when there is none in time.
	Spend(ctx context.Context, n int) error
}

// BudgetKey is the context key of the Budget that pays for what is read in that context. Without one nobody pays.
type BudgetKey struct{}

// Unbudgeted is ctx without its Budget. Who reads under a lock that there is only one of, as that of a table, uses it:
// one at a time reads then, and what is read is kept in memory all the same.
func Unbudgeted(ctx context.Context) context.Context { return context.WithValue(ctx, BudgetKey{}, nil) }

// Spend is called before n bytes are read or made for an answer, with no locks held: by implementations of Storage, and
// by whoever answers out of memory. Who has to hold a lock while he reads uses Prepay, or keylock, which does.
func Spend(ctx context.Context, n int) error {
	if n <= LargeValue {
		return nil
	}
	if b, ok := ctx.Value(BudgetKey{}).(Budget); ok {
		return b.Spend(ctx, n)
	}
	return nil
}
