// Package wrapping holds answers back under single-use tokens: the client gets a token instead of the
// answer, and whoever unwraps it first gets the answer and can be sure that nobody else had it.
package wrapping

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/storage"
)

// ErrNotWrapping is returned for a token that is no wrapping token, is used up or has expired (400).
var ErrNotWrapping error = &engines.Error{
	Kind: engines.ErrInvalid, Message: "wrapping token is not valid or does not exist",
}

// ErrTooLarge is returned for an answer that is too large to be stored (413).
var ErrTooLarge error = &engines.Error{Kind: engines.ErrTooLarge, Message: "the answer is too large to be wrapped"}

// Tokens keeps the wrapping tokens with what they hold; *token.Store is one. For a token that is not (or
// no longer) a wrapping token its methods return token.ErrBadToken.
type Tokens interface {
	// AddWrapping makes a token that lives for ttl and holds the payload, in one commit.
	AddWrapping(ctx context.Context, path string, ttl time.Duration, payload []byte) (*token.Entry, error)
	// Wrapping looks a token up and leaves it usable.
	Wrapping(ctx context.Context, t engines.Token) (*token.Entry, error)
	// TakeWrapped revokes a token and returns what it held; of any number of calls one succeeds.
	TakeWrapped(ctx context.Context, t engines.Token) (payload []byte, err error)
	// Rewrap moves what a token holds to a new one, in one commit.
	Rewrap(ctx context.Context, t engines.Token) (*token.Entry, error)
}

// Config is what a Service works with.
type Config struct {
	Tokens Tokens
	// Now is accepted so that all parts of a session are configured alike; tokens carry their own times.
	Now func() time.Time
}

// Service wraps and unwraps. It is safe for concurrent use and holds nothing itself.
type Service struct{ tokens Tokens }

// New returns a Service.
func New(cfg Config) *Service { return &Service{tokens: cfg.Tokens} }

// Request is an answer to be held back.
type Request struct {
	// Body is the JSON envelope of the answer.
	Body []byte
	// TTL is how long it can be unwrapped, above zero.
	TTL time.Duration
	// CreationPath is the path of the request that was answered.
	CreationPath string
	// WrappedAccessor is the accessor of the token in the answer, if there is one.
	WrappedAccessor string
}

// payload is what a wrapping token holds. It has the form of a secret in the token's cubbyhole, so that
// clients which read cubbyhole/response find the answer there.
type payload struct {
	Response string `json:"response"`
}

// Wrap holds an answer back and returns the token that it waits under. Token and answer are one commit. It returns
// ErrTooLarge for what would take more than storage.MaxValueSize bytes.
func (s *Service) Wrap(ctx context.Context, r Request) (*engines.WrapInfo, error) {
	const head, tail = `{"response":`, `}` // the form of payload, whose text is escaped into the place where it stays
	size := len(head) + engines.TextSize(r.Body) + len(tail)
	if size > storage.MaxValueSize {
		return nil, ErrTooLarge
	}
	held := append(engines.AppendText(append(make([]byte, 0, size), head...), r.Body), tail...)
	e, err := s.tokens.AddWrapping(ctx, r.CreationPath, r.TTL, held)
	if errors.Is(err, storage.ErrValueTooLarge) {
		return nil, ErrTooLarge
	}
	if err != nil {
		return nil, err
	}
	info := describe(e)
	info.WrappedAccessor = r.WrappedAccessor
	return info, nil
}

// Lookup tells how a wrapping token was made and leaves it usable. It returns ErrNotWrapping for any other.
func (s *Service) Lookup(ctx context.Context, t engines.Token) (*engines.WrapInfo, error) {
	e, err := s.tokens.Wrapping(ctx, t)
	if err != nil {
		return nil, public(err)
	}
	return describe(e), nil
}

// Unwrap uses the token up and returns the JSON envelope that it held back. Of any number of calls at
// once one gets it; the others, and all later ones, return ErrNotWrapping.
func (s *Service) Unwrap(ctx context.Context, t engines.Token) ([]byte, error) {
	held, err := s.tokens.TakeWrapped(ctx, t)
	if err != nil {
		return nil, public(err)
	}
	var p payload
	if err := json.Unmarshal(held, &p); err != nil || p.Response == "" {
		return nil, errors.New("wrapping: what the token held is not an answer")
	}
	return []byte(p.Response), nil
}

// Rewrap uses the token up and holds its answer back under a new one with the same life. It returns
// ErrNotWrapping as Unwrap does.
func (s *Service) Rewrap(ctx context.Context, t engines.Token) (*engines.WrapInfo, error) {
	e, err := s.tokens.Rewrap(ctx, t)
	if err != nil {
		return nil, public(err)
	}
	return describe(e), nil
}

func describe(e *token.Entry) *engines.WrapInfo {
	return &engines.WrapInfo{
		Token: e.Caller.Token, Accessor: e.Caller.Accessor, TTL: e.Life.CreationTTL, CreationTime: e.Life.Created,
		CreationPath: e.Caller.Path,
	}
}

func public(err error) error {
	if errors.Is(err, token.ErrBadToken) {
		return ErrNotWrapping
	}
	return err
}
