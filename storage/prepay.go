package storage

import (
	"context"
	"errors"
)

// errUnpaid is what a Get returns inside of Prepay for a value that was not paid for yet.
var errUnpaid = errors.New("storage: the value has to be paid for first")

// Prepay runs f, which holds locks, with a context in which nothing waits for the Budget of ctx. Where f needs more
// than was paid for, it gets an error, which it returns, having changed nothing. Then Prepay waits, with the locks
// free, until there is room for what f needed, and runs it again. It returns the last result of f, or the error of the
// Budget.
//
// f therefore reads before it changes anything.
func Prepay(ctx context.Context, f func(ctx context.Context) error) error {
	budget, ok := ctx.Value(BudgetKey{}).(Budget)
	if !ok {
		return f(ctx)
	}
	p := &prepaid{Context: ctx}
	for {
		p.spent, p.short = 0, 0
		err := f(p)
		if err == nil || p.short == 0 {
			return err
		}
		if err := budget.Spend(ctx, p.short); err != nil {
			return err
		}
		p.paid += p.short
	}
}

// prepaid is a context whose Budget refuses instead of waiting.
type prepaid struct {
	context.Context
	// paid, spent and short are bytes: paid for, used so far, and missing.
	paid, spent, short int
}

// Value implements context.Context.
func (p *prepaid) Value(key any) any {
	if key == (BudgetKey{}) {
		return p
	}
	return p.Context.Value(key)
}

// Spend implements Budget.
func (p *prepaid) Spend(_ context.Context, n int) error {
	p.spent += n
	if p.spent > p.paid {
		p.short = p.spent - p.paid
		return errUnpaid
	}
	return nil
}
