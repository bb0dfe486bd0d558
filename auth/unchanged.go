package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"coffer/engines"
)

// ErrChanged refuses to finish a login that waited for its second factor while what it rests on was changed or deleted.
// Vault lets it in.
var ErrChanged = engines.Denied("what the auth method granted this login for has changed meanwhile: log in again")

// Unchanged is a check for engines.Login.StillGood, of a login that rests on a stored record: it reads the record again
// and returns ErrChanged when that is not what it was, or gone. read returns gone for a record that is not there; was
// and what it returns are compared as they are stored, in JSON.
func Unchanged[T any](was T, gone error, read func(context.Context) (T, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		now, err := read(ctx)
		switch {
		case errors.Is(err, gone):
			return ErrChanged
		case err != nil:
			return err
		}
		before, err := json.Marshal(was)
		if err != nil {
			return fmt.Errorf("auth: encode what a login rests on: %w", err)
		}
		after, err := json.Marshal(now)
		if err != nil {
			return fmt.Errorf("auth: encode what a login rests on: %w", err)
		}
		if !bytes.Equal(before, after) {
			return ErrChanged
		}
		return nil
	}
}

// All is a check that makes several in turn; nil ones are left out.
func All(checks ...func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, check := range checks {
			if check == nil {
				continue
			}
			if err := check(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}
