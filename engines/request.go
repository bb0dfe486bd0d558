package engines

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"log/slog"
	"strings"
	"time"

	"coffer/policy"
)

// Operation is what a request wants done. Create and Update are told apart by the route's Exists.
type Operation uint8

// The operations, named as Vault names them in policies and audit entries.
const (
	Read Operation = iota + 1
	List
	Create
	Update
	Patch
	Delete
	Help
	// Header and Options are HEAD and OPTIONS. No route serves them; they are authorised and recorded like the others, so
	// that they tell nobody more.
	Header
	Options
)

// String returns the name that audit entries show.
func (o Operation) String() string {
	switch o {
	case Read:
		return "read"
	case List:
		return "list"
	case Create:
		return "create"
	case Update:
		return "update"
	case Patch:
		return "patch"
	case Delete:
		return "delete"
	case Help:
		return "help"
	case Header:
		return "header"
	case Options:
		return ""
	default:
		return "unknown"
	}
}

// Capability is what a policy must grant for the operation. Help asks for Read. Nothing grants Header and Options, but
// to root.
func (o Operation) Capability() policy.Capability {
	switch o {
	case Read, Help:
		return policy.Read
	case List:
		return policy.List
	case Create:
		return policy.Create
	case Update:
		return policy.Update
	case Patch:
		return policy.Patch
	case Delete:
		return policy.Delete
	default:
		return policy.Deny
	}
}

// Request is one call of a client, decoded. Handlers must not change it.
type Request struct {
	// ID names the request in the answer and in audit entries.
	ID        string
	Operation Operation
	Mount     *Mount
	// Path is the canonical path below the mount, without a leading "/"; a List path ends in "/" or is "".
	Path string
	// Params are the JSON body or the query. Numbers are json.Number. Handlers get them typed, through
	// their parameter struct.
	Params map[string]any
	// Token is the token the client presented. On a route open to everybody it may be worthless.
	Token Token
	// Caller is who asks; nil on an unauthenticated route called without a valid token.
	Caller *Caller
	Client Client
	// WrapTTL is the life of the wrapping token the client asked for; 0 when it asked for none.
	WrapTTL time.Duration
	// Stream sends the answer while the handler runs; nil where the client gets one answer at the end.
	Stream Stream
	// Permitted asks again whether the request may be made, and returns why not. A handler that runs for long asks it now
	// and then, since tokens end and policies change. It is nil for internal requests.
	Permitted func(ctx context.Context) error

	// engine is the one whose route serves the request; see Method.
	engine Engine
}

// Stream is an answer that is sent piece by piece. One goroutine uses it at a time.
type Stream interface {
	// Begin sends the status 200 and the headers. From then on the handler's response and error reach only the audit log.
	Begin() error
	// Send sends a piece and returns once it is on its way. It returns an error when the client is gone or reads too
	// slowly; nothing can be sent after that.
	Send(piece []byte) error
}

// FullPath is the canonical path from the root: the mount's path and Path.
func (r *Request) FullPath() string {
	if r.Mount == nil {
		return r.Path
	}
	return r.Mount.Path + r.Path
}

// Caller is the holder of the request's token, authenticated.
type Caller struct {
	Token    Token
	Accessor string
	// DisplayName is the token's, for example "token-ci".
	DisplayName string
	// Policies are the token's own, sorted.
	Policies []string
	// Metadata is the token's; never changed in place.
	Metadata map[string]string
	EntityID string
	// Batch tells a batch token from a service token.
	Batch bool
	// Root is set for tokens with the root policy.
	Root bool
	// LimitedUses is set for a token that expires after a number of uses.
	LimitedUses bool
	// Path is where the token was made, for example "auth/token/create".
	Path string
	// CubbyholeID names the token's own folder in the cubbyhole; "" for a batch token.
	CubbyholeID string
	// Expires is when the token ends; zero for never.
	Expires time.Time
}

// ClientID is how Vault counts its clients: by entity, or else by the set of policies. The hash is of the
// sorted names with 0x7f between them, a zero byte, and the namespace, which is always the root.
func (c *Caller) ClientID() string {
	if c.EntityID != "" {
		return c.EntityID
	}
	sum := sha256.Sum256([]byte(strings.Join(c.Policies, "\x7f") + "\x00root"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Token is a client token. It redacts itself wherever it is printed; Reveal is the only way to its text.
type Token struct{ text string }

// NewToken makes a Token of its text.
func NewToken(text string) Token { return Token{text: text} }

// Reveal returns the token's text, for the holder's eyes only.
func (t Token) Reveal() string { return t.text }

// IsZero reports whether there is no token.
func (t Token) IsZero() bool { return t.text == "" }

// Equal compares in time that depends on the length only.
func (t Token) Equal(o Token) bool {
	return subtle.ConstantTimeCompare([]byte(t.text), []byte(o.text)) == 1
}

// HasPrefix reports whether the text begins with prefix, which tells a token's kind ("hvb.").
func (t Token) HasPrefix(prefix string) bool { return strings.HasPrefix(t.text, prefix) }

const redacted = "[redacted]"

// String implements fmt.Stringer without the text.
func (Token) String() string { return redacted }

// GoString implements fmt.GoStringer without the text.
func (Token) GoString() string { return redacted }

// LogValue implements slog.LogValuer without the text.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler without the text, so that a token cannot slip into JSON.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }
