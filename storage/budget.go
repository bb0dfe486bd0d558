package storage

import "context"

// LargeValue is the size in bytes above which a value that is read is charged to the Budget of its context.
const LargeValue = 32 << 10

// Budget bounds the memory of the large values that are read, so that many readers at one time wait instead of filling
// the heap. It is safe for concurrent use.
type Budget interface {
	// Spend waits until there is room for a value of n bytes. It returns an error when there is none in time.
	Spend(ctx context.Context, n int) error
}

// BudgetKey is the context key of the Budget that pays for what is read in that context. Without one nobody pays.
type BudgetKey struct{}

// Spend is called by implementations of Storage before they copy a value of n bytes, with no locks held.
func Spend(ctx context.Context, n int) error {
	if n <= LargeValue {
		return nil
	}
	if b, ok := ctx.Value(BudgetKey{}).(Budget); ok {
		return b.Spend(ctx, n)
	}
	return nil
}
