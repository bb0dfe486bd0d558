package engines

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of error that a request can end in. Handlers return them through the functions below;
// server/api holds the one table from kind to HTTP status. Any other error is a 500 whose text stays
// in the log.
var (
	// ErrInvalid is returned for input that cannot be served as sent (400).
	ErrInvalid = errors.New("invalid request")
	// ErrCredentials is returned for a login with wrong credentials (400). The server counts it against the
	// user, see LoginAs. It is an ErrInvalid.
	ErrCredentials = fmt.Errorf("%w: credentials", ErrInvalid)
	// ErrNoUser is an ErrCredentials of a user who does not exist. Clients must not see the difference.
	ErrNoUser = fmt.Errorf("%w: no such user", ErrCredentials)
	// ErrDenied is returned when the caller may not do this (403).
	ErrDenied = errors.New("permission denied")
	// ErrNotFound is returned when there is nothing at the path (404).
	ErrNotFound = errors.New("not found")
	// ErrUnsupportedPath is returned when no route matches the path (404).
	ErrUnsupportedPath = errors.New("unsupported path")
	// ErrUnsupported is returned when the route does not know the operation (405).
	ErrUnsupported = errors.New("unsupported operation")
	// ErrTooLarge is returned for a request over a size limit (413).
	ErrTooLarge = errors.New("request too large")
	// ErrPrecondition is returned when the server cannot meet a condition the client set (412).
	ErrPrecondition = errors.New("precondition failed")
	// ErrBusy is returned to a client that asks for more at once than it gets (429).
	ErrBusy = errors.New("too many requests")
	// ErrSealed is returned while the server is sealed (503).
	ErrSealed = errors.New("Vault is sealed")
	// ErrNoRenewal is returned by a LoginRenewer that renews nothing and has nothing to say about it (204).
	ErrNoRenewal = errors.New("not renewed")
	// ErrFailed is returned for failures whose text the client may see (500).
	ErrFailed = errors.New("internal error")
)

// Error is an error of one of the kinds above with a text for the client.
type Error struct {
	// Kind is one of the sentinel errors of this package.
	Kind error
	// Message is sent to the client, up to MaxMessage bytes of it; it must not hold a secret.
	Message string
	// Data is sent beside it, for the few refusals that tell more; nor must this.
	Data map[string]any
}

// Error implements error.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Kind.Error()
	}
	return e.Message
}

// Unwrap makes errors.Is find the kind.
func (e *Error) Unwrap() error { return e.Kind }

// Invalid returns an ErrInvalid with a text for the client.
func Invalid(format string, args ...any) error { return newError(ErrInvalid, format, args) }

// BadCredentials returns an ErrCredentials with a text for the client, or, if there is no such user, an ErrNoUser
// with the same text.
func BadCredentials(userExists bool, text string) error {
	if userExists {
		return &Error{Kind: ErrCredentials, Message: text}
	}
	return &Error{Kind: ErrNoUser, Message: text}
}

// Failed returns an ErrFailed with a text for the client.
func Failed(format string, args ...any) error { return newError(ErrFailed, format, args) }

// Denied returns an ErrDenied with a text for the client.
func Denied(format string, args ...any) error { return newError(ErrDenied, format, args) }

// NotFound returns an ErrNotFound without a text: {"errors":[]}.
func NotFound() error { return &Error{Kind: ErrNotFound} }

// NotFoundf returns an ErrNotFound with a text for the client.
func NotFoundf(format string, args ...any) error { return newError(ErrNotFound, format, args) }

func newError(kind error, format string, args []any) error {
	return &Error{Kind: kind, Message: Cut(fmt.Sprintf(format, args...), MaxMessage)}
}

// Numbered lists errors in the form in which Vault reports those that it collected.
func Numbered(texts ...string) string {
	head := "1 error occurred:"
	if len(texts) != 1 {
		head = fmt.Sprintf("%d errors occurred:", len(texts))
	}
	return head + "\n\t* " + strings.Join(texts, "\n\t* ") + "\n\n"
}
