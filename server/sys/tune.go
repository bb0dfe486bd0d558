package sys

import (
	"context"
	"errors"
	"maps"
	"strconv"

	"coffer/engines"
	"coffer/server/mounts"
)

func (e *engine) readTuning(kind mounts.Kind) engines.HandlerFunc[pathParams] {
	return func(ctx context.Context, r *engines.Request, p pathParams) (*engines.Response, error) {
		path := mountPath(kind, p.Path)
		entry, ok := e.Mounts.Find(path)
		if !ok {
			var err error
			if entry, ok, err = e.above(ctx, r, kind, path, "/tune"); err != nil {
				return nil, err
			}
		}
		if !ok {
			return nil, engines.Invalid("cannot fetch sysview for path %q", path)
		}
		return flat(e.tuningInfo(entry))
	}
}

// tuningInfo is the tuning with the TTLs in force.
func (e *engine) tuningInfo(entry mounts.Entry) map[string]any {
	defaultTTL, maxTTL := e.Mounts.TTLs(entry)
	t := &entry.Tuning
	info := map[string]any{
		"description":       entry.Description,
		"default_lease_ttl": engines.WholeSeconds(defaultTTL),
		"max_lease_ttl":     engines.WholeSeconds(maxTTL),
		"force_no_cache":    t.ForceNoCache,
	}
	addLists(info, t)
	if entry.ExternalEntropy {
		info["external_entropy_access"] = true
	}
	if len(entry.Options) > 0 {
		info["options"] = entry.Options
	}
	if t.ListingVisibility != "" {
		info["listing_visibility"] = t.ListingVisibility
	}
	if entry.Kind == mounts.Auth {
		info["token_type"] = tokenType(entry)
	}
	if len(t.UserLockout) > 0 {
		maps.Copy(info, lockoutInfo(t.UserLockout))
	}
	return info
}

// tuneParams leaves out what a request does not name: only that is changed.
type tuneParams struct {
	Path                      string            `path:"path" help:"Path of the mount."`
	DefaultLeaseTTL           *string           `param:"default_lease_ttl" as:"ttl" help:"Life of leases by default."`
	MaxLeaseTTL               *string           `param:"max_lease_ttl" as:"ttl" help:"Longest life of leases."`
	Description               *string           `param:"description" help:"Text for people."`
	AuditNonHMACRequestKeys   *[]string         `param:"audit_non_hmac_request_keys" help:"Request keys in clear."`
	AuditNonHMACResponseKeys  *[]string         `param:"audit_non_hmac_response_keys" help:"Response keys in clear."`
	Options                   map[string]string `param:"options" help:"Settings of the type."`
	ListingVisibility         *string           `param:"listing_visibility" help:"\"hidden\" or \"unauth\"."`
	TokenType                 *string           `param:"token_type" help:"Type of the tokens that logins yield."`
	UserLockout               map[string]any    `param:"user_lockout_config" help:"When users are locked out."`
	PluginVersion             *string           `param:"plugin_version" help:"Accepted when it is the built-in one."`
	PassthroughRequestHeaders *[]string         `param:"passthrough_request_headers" as:"name" help:"Passed headers."`
	AllowedResponseHeaders    *[]string         `param:"allowed_response_headers" as:"name" help:"Headers of answers."`
	AllowedManagedKeys        *[]string         `param:"allowed_managed_keys" help:"Accepted for compatibility."`
	DelegatedAuthAccessors    *[]string         `param:"delegated_auth_accessors" help:"Accepted for compatibility."`
}

func (e *engine) tune(kind mounts.Kind) engines.HandlerFunc[tuneParams] {
	return func(ctx context.Context, _ *engines.Request, p tuneParams) (*engines.Response, error) {
		path := mountPath(kind, p.Path)
		if path == "sys/" || path == "cubbyhole/" {
			return nil, engines.Invalid("cannot tune %q", path)
		}
		var warning string
		err := e.Mounts.Tune(ctx, path, func(entry *mounts.Entry) error {
			var err error
			warning, err = e.retune(entry, p)
			return err
		})
		switch {
		case errors.Is(err, mounts.ErrNoMount):
			return nil, engines.Invalid("tune of path %q failed: no mount entry found", path)
		case err != nil:
			return nil, err
		case warning != "":
			return warn(warning)
		}
		return done()
	}
}

// retune applies a request to an entry. It returns a warning, or "".
func (e *engine) retune(entry *mounts.Entry, p tuneParams) (string, error) {
	t := &entry.Tuning
	if err := retuneTTLs(t, p); err != nil {
		return "", err
	}
	if p.UserLockout != nil {
		if err := retuneLockout(entry, p.UserLockout); err != nil {
			return "", err
		}
	}
	if p.PluginVersion != nil && *p.PluginVersion != e.pluginVersion(entry.Type) {
		return "", engines.Invalid("plugin not found in the catalog: %s, version=%s", entry.Type, *p.PluginVersion)
	}
	if p.ListingVisibility != nil {
		if err := checkVisibility(*p.ListingVisibility); err != nil {
			return "", err
		}
		t.ListingVisibility = *p.ListingVisibility
	}
	if p.TokenType != nil {
		if err := retuneTokenType(entry, *p.TokenType); err != nil {
			return "", err
		}
	}
	if p.Description != nil {
		entry.Description = *p.Description
	}
	for _, list := range []struct {
		target *[]string
		value  *[]string
	}{
		{&t.AuditNonHMACRequestKeys, p.AuditNonHMACRequestKeys},
		{&t.AuditNonHMACResponseKeys, p.AuditNonHMACResponseKeys},
		{&t.PassthroughRequestHeaders, p.PassthroughRequestHeaders},
		{&t.AllowedResponseHeaders, p.AllowedResponseHeaders},
		{&t.AllowedManagedKeys, p.AllowedManagedKeys},
		{&t.DelegatedAuthAccessors, p.DelegatedAuthAccessors},
	} {
		if list.value != nil {
			*list.target = *list.value
		}
	}
	return retuneOptions(entry, p.Options)
}

func retuneTTLs(t *mounts.Tuning, p tuneParams) error {
	var err error
	if p.DefaultLeaseTTL != nil && *p.DefaultLeaseTTL != "" {
		if t.DefaultLeaseTTL, err = parseTTL(*p.DefaultLeaseTTL); err != nil {
			return engines.Invalid("%v", err)
		}
	}
	if p.MaxLeaseTTL != nil && *p.MaxLeaseTTL != "" {
		if t.MaxLeaseTTL, err = parseTTL(*p.MaxLeaseTTL); err != nil {
			return engines.Invalid("%v", err)
		}
	}
	if t.MaxLeaseTTL != 0 && t.MaxLeaseTTL < t.DefaultLeaseTTL {
		return engines.Invalid("backend max lease TTL of %d would be less than backend default lease TTL of %d",
			engines.WholeSeconds(t.MaxLeaseTTL), engines.WholeSeconds(t.DefaultLeaseTTL))
	}
	return nil
}

func retuneTokenType(entry *mounts.Entry, typ string) error {
	switch {
	case entry.Kind != mounts.Auth:
		return engines.Invalid("'token_type' can only be modified on auth mounts")
	case serverType(entry.Type):
		return engines.Invalid("'token_type' cannot be set for 'token' or 'ns_token' auth mounts")
	}
	if err := checkTokenType(typ); err != nil {
		return err
	}
	entry.Tuning.TokenType = typ
	return nil
}

// lockoutParams is a user_lockout_config; times and numbers may be text.
type lockoutParams struct {
	Threshold    *string `param:"lockout_threshold"`
	Duration     *string `param:"lockout_duration"`
	CounterReset *string `param:"lockout_counter_reset_duration"`
	Disable      *bool   `param:"lockout_disable"`
}

func retuneLockout(entry *mounts.Entry, config map[string]any) error {
	switch entry.Type {
	case "userpass", "ldap", "approle":
	default:
		return engines.Invalid("tuning of user lockout configuration for auth type %q not allowed", entry.Type)
	}
	p, err := engines.Decode[lockoutParams](config)
	if err != nil {
		return engines.Invalid("unable to convert given user lockout config information")
	}
	lockout := make(map[string]string)
	maps.Copy(lockout, entry.Tuning.UserLockout)
	if p.Threshold != nil {
		n, err := strconv.ParseUint(*p.Threshold, 10, 32)
		if err != nil {
			return engines.Failed("%s", engines.Numbered("unable to parse user lockout threshold: "+err.Error()))
		}
		lockout[lockoutThreshold] = strconv.FormatUint(n, 10)
	}
	for name, text := range map[string]*string{lockoutDuration: p.Duration, lockoutCounterReset: p.CounterReset} {
		if text == nil {
			continue
		}
		d, err := parseTTL(*text)
		if err != nil {
			return engines.Invalid("%v", err)
		}
		lockout[name] = strconv.FormatInt(engines.WholeSeconds(d), 10)
	}
	if p.Disable != nil {
		lockout[lockoutDisable] = strconv.FormatBool(*p.Disable)
	}
	entry.Tuning.UserLockout = lockout
	return nil
}

// retuneOptions merges options; an empty value removes one. The version of a key-value mount can only go
// up, which comes with a warning.
func retuneOptions(entry *mounts.Entry, options map[string]string) (string, error) {
	if len(options) == 0 {
		return "", nil
	}
	var warning string
	if asked, ok := options["version"]; ok && entry.Type == "kv" {
		var err error
		if warning, err = upgrade(entry.Options["version"], asked); err != nil {
			return "", err
		}
	}
	merged := make(map[string]string, len(entry.Options)+len(options))
	maps.Copy(merged, entry.Options)
	for name, value := range options {
		if value == "" {
			delete(merged, name)
		} else {
			merged[name] = value
		}
	}
	entry.Options = merged
	return warning, nil
}

func upgrade(have, asked string) (warning string, err error) {
	version := 0
	if asked != "" {
		if version, err = strconv.Atoi(asked); err != nil {
			return "", engines.Invalid("unable to parse options: strconv.ParseInt: parsing %q: invalid syntax", asked)
		}
	}
	before, _ := strconv.Atoi(have) // no version is the first, shown as 0
	switch {
	case version == before:
		return "", nil
	case version != 1 && version != 2:
		return "", engines.Invalid("invalid version provided: %d", version)
	case version < before:
		return "", engines.Invalid("cannot downgrade mount from version %d", before)
	}
	return "Upgrading mount from version " + strconv.Itoa(before) + " to version " + strconv.Itoa(version) +
		". This mount will be unavailable for a brief period and will resume service shortly.", nil
}
