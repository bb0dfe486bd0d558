package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// Types of role.
const (
	typeJWT  = "jwt"
	typeOIDC = "oidc"
)

// reservedMetadata is the key under which a token's metadata names the role.
const reservedMetadata = "role"

const roleFolder = "role/"

// role is a stored role.
type role struct {
	Type        string             `json:"type"`
	Token       auth.TokenSettings `json:"token"`
	Bounds      bounds             `json:"bounds"`
	Leeways     leeways            `json:"leeways"`
	OIDC        flowSettings       `json:"oidc"`
	UserClaim   string             `json:"user_claim"`
	UserPointer bool               `json:"user_pointer,omitempty"`
	GroupsClaim string             `json:"groups_claim,omitempty"`
	// GroupsOptional lets somebody in whose token has no groups claim, as a member of no group. Vault has no such
	// setting: there the login is refused.
	GroupsOptional bool `json:"groups_optional,omitempty"`
	// Mappings are from claims to keys of the token's metadata.
	Mappings map[string]string `json:"mappings"`
}

// bounds are what claims must be.
type bounds struct {
	Audiences  []string       `json:"audiences"`
	Subject    string         `json:"subject,omitempty"`
	Claims     map[string]any `json:"claims"`
	ClaimsType string         `json:"claims_type"`
}

// leeways of times: 0 is the usual one, below 0 none.
type leeways struct {
	Expiration time.Duration `json:"expiration,omitempty"`
	NotBefore  time.Duration `json:"not_before,omitempty"`
	ClockSkew  time.Duration `json:"clock_skew,omitempty"`
}

// flowSettings are for logins in the browser.
type flowSettings struct {
	Scopes    []string      `json:"scopes"`
	Redirects []string      `json:"redirects"`
	MaxAge    time.Duration `json:"max_age,omitempty"`
	Verbose   bool          `json:"verbose,omitempty"`
	// Callback is how the login comes back: see the modes in poll.go.
	Callback string        `json:"callback,omitempty"`
	Poll     time.Duration `json:"poll,omitempty"`
}

// roleParams are the settings of a role. What is not sent stays as it is, besides the two types.
type roleParams struct {
	Name string `path:"name" help:"Name of the role."`
	Type string `param:"role_type" help:"jwt or oidc; oidc unless it is said."`
	auth.TokenParams
	auth.OldTokenParams
	claimParams
	leewayParams
	flowParams
}

type claimParams struct {
	Audiences   *[]string          `param:"bound_audiences" help:"Audiences of which a token must name one."`
	Subject     *string            `param:"bound_subject" help:"What the sub claim must be."`
	Claims      *map[string]any    `param:"bound_claims" help:"What other claims must be: a value or a list of them."`
	ClaimsType  string             `param:"bound_claims_type" default:"string" help:"string, or glob with * for anything."`
	Mappings    *map[string]string `param:"claim_mappings" help:"Claims that become metadata, and under which key."`
	UserClaim   *string            `param:"user_claim" help:"Claim that says who it is."`
	UserPointer *bool              `param:"user_claim_json_pointer" help:"Whether user_claim is a JSON pointer."`
	GroupsClaim *string            `param:"groups_claim" help:"Claim that lists groups."`
	// GroupsOptional is coffer's own.
	GroupsOptional *bool `param:"groups_claim_optional" help:"Whether a token without groups_claim is in no group."`
}

type leewayParams struct {
	Expiration any `param:"expiration_leeway" as:"duration" help:"Life without exp; 0 for 150 s, below 0 for none."`
	NotBefore  any `param:"not_before_leeway" as:"duration" help:"Validity before exp; 0 for 150 s, below 0 for none."`
	ClockSkew  any `param:"clock_skew_leeway" as:"duration" help:"Difference of clocks; 0 for 60 s, below 0 for none."`
}

type flowParams struct {
	Scopes    *[]string      `param:"oidc_scopes" help:"Scopes to ask for besides openid."`
	Redirects *[]string      `param:"allowed_redirect_uris" help:"Where a login may come back."`
	MaxAge    *time.Duration `param:"max_age" help:"How long ago the user may have proved who he is."`
	Verbose   *bool          `param:"verbose_oidc_logging" help:"Whether claims are logged, at level debug."`
	Callback  *string        `param:"callback_mode" help:"client, direct or device."`
	Poll      *time.Duration `param:"poll_interval" help:"How often a client polls; 5 s unless it is said."`
}

// errNoRole is returned for a role that there is not.
var errNoRole = errors.New("jwt: no such role")

// canonical is the name under which a role is stored, or ErrUnsupportedPath.
func canonical(name string) (string, error) {
	if !auth.ValidName(name) {
		return "", engines.ErrUnsupportedPath
	}
	return engines.FoldASCII(name), nil
}

// role reads a role. It returns errNoRole for one that there is not.
func (m *method) role(ctx context.Context, name string) (*role, error) {
	raw, err := m.storage.Get(ctx, roleFolder+name)
	if isMissing(err) {
		return nil, errNoRole
	}
	if err != nil {
		return nil, err
	}
	r := &role{}
	if err := decodeJSON(raw, r); err != nil {
		return nil, fmt.Errorf("jwt: stored role: %w", err)
	}
	return r, nil
}

// set puts in what was sent. It returns an ErrInvalid in Vault's words.
func (r *role) set(p *roleParams) error {
	if r.Type = p.Type; r.Type == "" {
		r.Type = typeOIDC
	}
	if r.Type != typeJWT && r.Type != typeOIDC {
		return engines.Invalid("invalid 'role_type': %s", r.Type)
	}
	if err := r.Token.Set(p.TokenParams, p.OldTokenParams); err != nil {
		return err
	}
	if err := r.Leeways.set(&p.leewayParams); err != nil {
		return err
	}
	put(&r.Bounds.Audiences, p.Audiences)
	put(&r.Bounds.Subject, p.Subject)
	if err := r.setClaims(&p.claimParams); err != nil {
		return err
	}
	if err := r.OIDC.set(&p.flowParams); err != nil {
		return err
	}
	// What goes by the older names is compared here alone.
	if r.Token.MaxTTL > 0 && r.Token.TTL > r.Token.MaxTTL {
		return engines.Invalid("ttl should not be greater than max ttl")
	}
	if r.Type == typeOIDC {
		if len(r.OIDC.Redirects) == 0 && r.OIDC.Callback != callbackDevice {
			return engines.Invalid("'allowed_redirect_uris' must be set if 'role_type' is 'oidc' or unspecified.")
		}
		return nil
	}
	b := &r.Bounds
	if len(b.Audiences) == 0 && len(r.Token.BoundCIDRs) == 0 && b.Subject == "" && len(b.Claims) == 0 {
		return engines.Invalid("must have at least one bound constraint when creating/updating a role")
	}
	return nil
}

func (r *role) setClaims(p *claimParams) error {
	switch p.ClaimsType {
	case boundString, boundGlob:
		r.Bounds.ClaimsType = p.ClaimsType
	default:
		return engines.Invalid("invalid 'bound_claims_type': %s", p.ClaimsType)
	}
	if p.Claims != nil {
		if err := checkGlobs(p.ClaimsType, *p.Claims); err != nil {
			return err
		}
		r.Bounds.Claims = *p.Claims
	}
	if p.Mappings != nil {
		if err := checkMappings(*p.Mappings); err != nil {
			return err
		}
		r.Mappings = *p.Mappings
	}
	put(&r.UserClaim, p.UserClaim)
	put(&r.UserPointer, p.UserPointer)
	put(&r.GroupsClaim, p.GroupsClaim)
	put(&r.GroupsOptional, p.GroupsOptional)
	if r.UserClaim == "" {
		return engines.Invalid("a user claim must be defined on the role")
	}
	return nil
}

// checkGlobs returns an ErrInvalid for bound claims that cannot be globs.
func checkGlobs(claimsType string, claims map[string]any) error {
	if claimsType != boundGlob {
		return nil
	}
	for _, raw := range claims {
		list, ok := values(raw)
		if !ok {
			return engines.Invalid("claim is not a string or list: %v", raw)
		}
		for _, item := range list {
			if _, ok := item.(string); !ok {
				return engines.Invalid("claim is not a string: %v", item)
			}
		}
	}
	return nil
}

func checkMappings(mappings map[string]string) error {
	seen := make(map[string]bool, len(mappings))
	for _, key := range mappings {
		if key == reservedMetadata {
			return engines.Invalid("metadata key %q is reserved and may not be a mapping destination", key)
		}
		if seen[key] {
			return engines.Invalid("multiple keys are mapped to metadata key %q", key)
		}
		seen[key] = true
	}
	return nil
}

func (l *leeways) set(p *leewayParams) error {
	for _, f := range []struct {
		name string
		to   *time.Duration
		from any
	}{
		{"expiration_leeway", &l.Expiration, p.Expiration},
		{"not_before_leeway", &l.NotBefore, p.NotBefore},
		{"clock_skew_leeway", &l.ClockSkew, p.ClockSkew},
	} {
		if f.from == nil {
			continue
		}
		d, err := engines.ParseDuration(f.from)
		if err != nil {
			return engines.Invalid("error converting input for field %q: %v", f.name, err)
		}
		*f.to = d
	}
	return nil
}

func (f *flowSettings) set(p *flowParams) error {
	put(&f.Scopes, p.Scopes)
	put(&f.Redirects, p.Redirects)
	put(&f.MaxAge, p.MaxAge)
	put(&f.Verbose, p.Verbose)
	put(&f.Callback, p.Callback)
	put(&f.Poll, p.Poll)
	if !slices.Contains([]string{"", callbackClient, callbackDirect, callbackDevice}, f.Callback) {
		return engines.Invalid("invalid 'callback_mode': %s", f.Callback)
	}
	return nil
}

func put[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// show is the answer to a read.
func (r *role) show() map[string]any {
	data := map[string]any{
		"allowed_redirect_uris":   r.OIDC.Redirects,
		"bound_audiences":         r.Bounds.Audiences,
		"bound_claims":            r.Bounds.Claims,
		"bound_claims_type":       r.Bounds.ClaimsType,
		"bound_subject":           r.Bounds.Subject,
		"claim_mappings":          r.Mappings,
		"clock_skew_leeway":       int64(r.Leeways.ClockSkew / time.Second),
		"expiration_leeway":       int64(r.Leeways.Expiration / time.Second),
		"groups_claim":            r.GroupsClaim,
		"max_age":                 int64(r.OIDC.MaxAge / time.Second),
		"not_before_leeway":       int64(r.Leeways.NotBefore / time.Second),
		"oidc_scopes":             r.OIDC.Scopes,
		"role_type":               r.Type,
		"user_claim":              r.UserClaim,
		"user_claim_json_pointer": r.UserPointer,
		"verbose_oidc_logging":    r.OIDC.Verbose,
	}
	// Vault does not have these settings, so what is not set is not shown.
	if r.GroupsOptional {
		data["groups_claim_optional"] = true
	}
	if r.OIDC.Callback != "" {
		data["callback_mode"] = r.OIDC.Callback
		data["poll_interval"] = int64(r.OIDC.interval() / time.Second)
	}
	r.Token.Show(data)
	return data
}

type roleNameParams struct {
	Name string `path:"name" help:"Name of the role."`
}

func (m *method) listRoles(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	names, err := m.storage.List(ctx, roleFolder, "", 0)
	if err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}

func (m *method) roleExists(ctx context.Context, _ *engines.Request, p roleParams) (bool, error) {
	name, err := canonical(p.Name)
	if err != nil {
		return false, err
	}
	_, err = m.role(ctx, name)
	if errors.Is(err, errNoRole) {
		return false, nil
	}
	return err == nil, err
}

func (m *method) readRole(ctx context.Context, _ *engines.Request, p roleNameParams) (*engines.Response, error) {
	name, err := canonical(p.Name)
	if err != nil {
		return nil, err
	}
	r, err := m.role(ctx, name)
	if errors.Is(err, errNoRole) {
		return nil, engines.NotFound()
	}
	if err != nil {
		return nil, err
	}
	return &engines.Response{Data: r.show()}, nil
}

func (m *method) deleteRole(ctx context.Context, _ *engines.Request, p roleNameParams) (*engines.Response, error) {
	name, err := canonical(p.Name)
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, m.storage.Apply(ctx, storage.Delete(roleFolder+name))
}

func (m *method) writeRole(ctx context.Context, _ *engines.Request, p roleParams) (*engines.Response, error) {
	name, err := canonical(p.Name)
	if err != nil {
		return nil, err
	}
	return keylock.Write(ctx, m.locks, name, func(ctx context.Context) (*engines.Response, error) {
		r, err := m.role(ctx, name)
		if errors.Is(err, errNoRole) {
			r, err = &role{}, nil
		}
		if err != nil {
			return nil, err
		}
		if err := r.set(&p); err != nil {
			return nil, err
		}
		limit := m.ttls.MaxTTL()
		if r.Token.Period > limit {
			return nil, engines.Invalid("'period' of '%q' is greater than the backend's maximum lease TTL of '%q'",
				r.Token.Period.String(), limit.String())
		}
		value, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("jwt: role: %w", err)
		}
		if err := m.storage.Apply(ctx, storage.Put(roleFolder+name, value)); err != nil {
			return nil, err
		}
		return &engines.Response{Warnings: r.warnings(limit)}, nil
	})
}

// warnings are what the writer of a role should know.
func (r *role) warnings(limit time.Duration) []string {
	var list []string
	if r.Token.MaxTTL > limit {
		list = append(list, "token max ttl is greater than the system or backend mount's maximum TTL value; "+
			"issued tokens' max TTL value will be truncated")
	}
	if r.OIDC.Verbose {
		list = append(list, "verbose_oidc_logging has been enabled for this role. This is not recommended in production "+
			"since sensitive information may be present in OIDC responses.")
	}
	return list
}
