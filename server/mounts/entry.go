// Package mounts keeps the table of mounted engines and auth methods and finds the one that serves a
// path: the longest mount path that the request's path begins with.
package mounts

import (
	"maps"
	"slices"
	"time"

	"coffer/engines"
)

// Kind tells secrets engines from auth methods; each kind has its own table and listing.
type Kind uint8

// The kinds of mount.
const (
	Secret Kind = iota + 1
	Auth
)

// AuthPrefix is where every auth method is mounted.
const AuthPrefix = "auth/"

// Entry is one row of the mount table. It is a value: a changed entry is stored through Table.Tune.
type Entry struct {
	Kind Kind `json:"kind"`
	// Path is the full path ending in "/": "secret/", "auth/token/".
	Path        string            `json:"path"`
	Type        string            `json:"type"`
	UUID        string            `json:"uuid"`
	Accessor    string            `json:"accessor"`
	Description string            `json:"description,omitempty"`
	Options     map[string]string `json:"options"`
	Local       bool              `json:"local,omitempty"`
	SealWrap    bool              `json:"seal_wrap,omitempty"`
	// ExternalEntropy is accepted and shown for compatibility; it has no effect.
	ExternalEntropy bool   `json:"external_entropy_access,omitempty"`
	PluginVersion   string `json:"plugin_version,omitempty"`
	Tuning          Tuning `json:"tuning"`
}

// Tuning is what `sys/mounts/:path/tune` sets.
type Tuning struct {
	// DefaultLeaseTTL and MaxLeaseTTL are 0 for the server's own.
	DefaultLeaseTTL           time.Duration     `json:"default_lease_ttl,omitempty"`
	MaxLeaseTTL               time.Duration     `json:"max_lease_ttl,omitempty"`
	ForceNoCache              bool              `json:"force_no_cache,omitempty"`
	AuditNonHMACRequestKeys   []string          `json:"audit_non_hmac_request_keys,omitempty"`
	AuditNonHMACResponseKeys  []string          `json:"audit_non_hmac_response_keys,omitempty"`
	ListingVisibility         string            `json:"listing_visibility,omitempty"`
	PassthroughRequestHeaders []string          `json:"passthrough_request_headers,omitempty"`
	AllowedResponseHeaders    []string          `json:"allowed_response_headers,omitempty"`
	TokenType                 string            `json:"token_type,omitempty"`
	AllowedManagedKeys        []string          `json:"allowed_managed_keys,omitempty"`
	DelegatedAuthAccessors    []string          `json:"delegated_auth_accessors,omitempty"`
	UserLockout               map[string]string `json:"user_lockout_config,omitempty"`
}

// The keys of Tuning.UserLockout. Numbers and seconds are decimal; the last is "true" or "false".
const (
	LockoutThreshold    = "lockout_threshold"
	LockoutDuration     = "lockout_duration"
	LockoutCounterReset = "lockout_counter_reset_duration"
	LockoutDisable      = "lockout_disable"
)

// Name is the path as its kind's listing shows it: auth methods without "auth/".
func (e Entry) Name() string {
	if e.Kind == Auth {
		return e.Path[len(AuthPrefix):]
	}
	return e.Path
}

// Mount is what the engine sees of the entry.
func (e Entry) Mount() engines.Mount {
	return engines.Mount{Path: e.Path, Type: e.Type, UUID: e.UUID, Accessor: e.Accessor, Options: maps.Clone(e.Options)}
}

// Clone copies the entry with its maps and lists.
func (e Entry) Clone() Entry {
	c := e
	c.Options = maps.Clone(e.Options)
	t := &c.Tuning
	t.AuditNonHMACRequestKeys = slices.Clone(t.AuditNonHMACRequestKeys)
	t.AuditNonHMACResponseKeys = slices.Clone(t.AuditNonHMACResponseKeys)
	t.PassthroughRequestHeaders = slices.Clone(t.PassthroughRequestHeaders)
	t.AllowedResponseHeaders = slices.Clone(t.AllowedResponseHeaders)
	t.AllowedManagedKeys = slices.Clone(t.AllowedManagedKeys)
	t.DelegatedAuthAccessors = slices.Clone(t.DelegatedAuthAccessors)
	t.UserLockout = maps.Clone(t.UserLockout)
	return c
}
