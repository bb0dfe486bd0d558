package engines

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"coffer/storage"
)

// Response is a handler's answer. The zero value is a 204.
type Response struct {
	// Data is the answer's data; nil for none. A value may be a json.RawMessage to be sent as it is.
	Data map[string]any
	// Encoded is the data as a JSON object with sorted keys, from handlers that have it so: it is sent as it is.
	// Data is nil then.
	Encoded json.RawMessage
	// Secret is set when the data is a leased secret.
	Secret *Secret
	// Auth is set when a token was issued or renewed.
	Auth *Auth
	// Login asks the server to issue a token; auth methods set it.
	Login *Login
	// Wrap is set when the answer is held back under a single-use wrapping token.
	Wrap     *WrapInfo
	Warnings []string
	// Status overrides the HTTP status that follows from the content, for example 404 with data.
	Status int
	// Raw is sent instead of the JSON envelope.
	Raw *Raw
	// Flatten repeats the fields of Data at the top level, as Vault does on most reads below sys/.
	Flatten bool
	// Accessor is the public handle of what Data holds, for the wrapping token's if the answer is wrapped.
	Accessor string
	// NoMountType leaves mount_type empty, as Vault does on logins and a few paths below sys/.
	NoMountType bool
}

// HasData reports whether the answer has data, in either form.
func (r *Response) HasData() bool { return r.Data != nil || r.Encoded != nil }

// empty reports whether the answer is a 204.
func (r *Response) empty() bool {
	return !r.HasData() && r.Secret == nil && r.Auth == nil && r.Login == nil && r.Wrap == nil &&
		r.Raw == nil && len(r.Warnings) == 0 && r.Status == 0
}

// Raw is an answer that is not Vault's JSON envelope.
type Raw struct {
	ContentType string
	// CacheControl is the header's value; "" for that of all answers, which are not to be kept.
	CacheControl string
	// KeepsOpener leaves a page of HTML in touch with the window that opened it, which waits for where it leads. Other
	// pages are cut off from theirs.
	KeepsOpener bool
	// Wrappable is set for an answer in JSON that is wrapped where the request asks for that, as Vault does.
	Wrappable bool
	Body      []byte
}

// Secret is what the lease manager needs to know of a leased secret.
type Secret struct {
	LeaseID   string
	TTL       time.Duration
	MaxTTL    time.Duration
	Renewable bool
	// Unleased marks a secret whose TTL is only told to the client (KV version 1).
	Unleased bool
	// Internal is kept with the lease and handed back to the engine at renewal and revocation.
	Internal map[string]any
	// Changes are committed together with the lease. Their keys are those of the mount's own storage.
	Changes []storage.Op
	// Make makes the secret; see Leaser. Nil is for a secret that is nothing but what the answer says and what Changes
	// store.
	Make func(ctx context.Context) (Made, error)
}

// Made is what an engine learned by making a secret.
type Made struct {
	// Data is added to the answer's.
	Data map[string]any
	// Internal takes the place of Secret.Internal unless it is nil.
	Internal map[string]any
}

// Auth is an issued or renewed token as the client sees it.
type Auth struct {
	Token            Token
	Accessor         string
	Policies         []string
	TokenPolicies    []string
	IdentityPolicies []string
	Metadata         map[string]string
	// LeaseDuration is the token's remaining life, told in whole seconds; 0 for never-ending.
	LeaseDuration time.Duration
	Renewable     bool
	EntityID      string
	// TokenType is "service" or "batch".
	TokenType string
	Orphan    bool
	NumUses   int
	// MFA is set, and nothing else but the type, for a login that waits for a second factor.
	MFA *MFARequirement
}

// The types of token that a login can ask for, and that a mount can be tuned to. A default is what is issued
// unless the other side asks for a type.
const (
	ServiceToken        = "service"
	BatchToken          = "batch"
	DefaultServiceToken = "default-service"
	DefaultBatchToken   = "default-batch"
)

// Login is what a successful login asks the server to issue. The server applies the mount's limits.
type Login struct {
	DisplayName string
	Policies    []string
	Metadata    map[string]string
	// Alias is the name by which identity knows who logged in at this mount.
	Alias string
	// AliasMetadata is what identity keeps of the alias; nil leaves what it has.
	AliasMetadata map[string]string
	// GroupAliases are the groups that the method says he is in; external groups follow them. At a renewal nil
	// says nothing.
	GroupAliases    []string
	TTL             time.Duration
	MaxTTL          time.Duration
	ExplicitMaxTTL  time.Duration
	Period          time.Duration
	NumUses         int
	BoundCIDRs      []netip.Prefix
	NoDefaultPolicy bool
	NotRenewable    bool
	// Type is one of the token types, or "" for what the mount is tuned to.
	Type string
	// Internal is kept with the token and handed back to the method at renewal.
	Internal map[string]any
	// Spend are changes of the method's storage that the login costs, for example a use of a secret id. They
	// are committed together with the token: both, or neither.
	Spend []storage.Op
	// StillGood, if set, is asked before the token of a login that had to wait for a second factor is made: nil while
	// the method would grant the login as it stands, or an error that refuses it. It changes and spends nothing. Without
	// it such a login is good as long as it may wait.
	StillGood func(context.Context) error
	// Release, if set, is called once when the server is done with the login, whatever became of it.
	Release func()
}

// WrapInfo describes a wrapping token.
type WrapInfo struct {
	Token           Token
	Accessor        string
	TTL             time.Duration
	CreationTime    time.Time
	CreationPath    string
	WrappedAccessor string
}

// ListResponse is the answer to a List: data.keys, or ErrNotFound when there are none.
func ListResponse(keys []string) (*Response, error) {
	if len(keys) == 0 {
		return nil, NotFound()
	}
	return &Response{Data: map[string]any{"keys": keys}}, nil
}
