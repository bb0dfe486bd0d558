// Package ceremony is what operators do together to a server's keys, with Vault's semantics and texts: init,
// unseal, rekey, generate-root. It knows neither HTTP nor what a session is.
//
// All state of an attempt is in memory. Sealing or restarting the server ends it.
package ceremony

import (
	"errors"
	"fmt"
)

// The kinds of an Error; match them with errors.Is. An error that is of none of them is internal: its text
// is for the log.
var (
	// ErrInvalid is a request that cannot be served as it is: status 400.
	ErrInvalid = errors.New("ceremony: invalid request")
	// ErrFailed is a failure whose text the client may see: status 500.
	ErrFailed = errors.New("ceremony: failed")
	// ErrDenied is a caller who may not do this: status 403.
	ErrDenied = errors.New("ceremony: permission denied")
)

// ErrAlreadyInitialized is returned by Init when the storage holds a barrier. It is an ErrInvalid.
var ErrAlreadyInitialized error = &Error{Kind: ErrInvalid, Message: "Vault is already initialized"}

// Error is an error whose text is part of the protocol.
type Error struct {
	// Kind is ErrInvalid, ErrFailed or ErrDenied.
	Kind error
	// Message is what the client sees, as Vault words it.
	Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

func invalid(format string, args ...any) error {
	return &Error{Kind: ErrInvalid, Message: fmt.Sprintf(format, args...)}
}

func failed(format string, args ...any) error {
	return &Error{Kind: ErrFailed, Message: fmt.Sprintf(format, args...)}
}

// wrongKeyError marks the error for a combined key that is not the right one.
type wrongKeyError struct{ err error }

func (e *wrongKeyError) Error() string { return e.err.Error() }
func (e *wrongKeyError) Unwrap() error { return e.err }

// Caller is who asks, as far as it matters here.
type Caller int

// Callers. Whoever is not known to be privileged is anonymous.
const (
	// Anonymous callers take part where the configuration lets everybody do so. They may start an attempt and give
	// shares, but not cancel: else anybody could put his own attempt in place of another's, and operators who look
	// up the nonce would give their shares to it.
	Anonymous Caller = iota
	// Privileged callers hold a token whose policies allow the operation, or sit at the machine.
	Privileged
)

func (c Caller) mayCancel() error {
	if c != Privileged {
		return &Error{Kind: ErrDenied, Message: "permission denied"}
	}
	return nil
}
