// Package auth is what all auth methods share: the token_* parameters of their roles, how these are stored
// and shown, and what a login makes of them. With it a method needs only its own code: routes, and one
// function that turns what it verified into an engines.Login.
package auth

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"coffer/engines"
)

// Policies that are treated apart.
const rootPolicy = "root"

// TokenParams are the parameters by which a role says what tokens its logins yield. A method embeds it in the
// parameters of its role. What is not sent stays as it is.
type TokenParams struct {
	BoundCIDRs      *[]string      `param:"token_bound_cidrs" as:"network" help:"Networks that tokens may be used from."`
	ExplicitMaxTTL  *time.Duration `param:"token_explicit_max_ttl" help:"Longest life of tokens, whatever the mount says."`
	MaxTTL          *time.Duration `param:"token_max_ttl" help:"Longest life of tokens, renewals included."`
	NoDefaultPolicy *bool          `param:"token_no_default_policy" help:"Whether tokens go without the default policy."`
	NumUses         *int           `param:"token_num_uses" help:"How often a token may be used; 0 for without limit."`
	Period          *time.Duration `param:"token_period" help:"Life that each renewal of a token gives."`
	Policies        *[]string      `param:"token_policies" as:"name" help:"Policies of the tokens."`
	TTL             *time.Duration `param:"token_ttl" help:"First life of tokens."`
	Type            *string        `param:"token_type" as:"tokentype" help:"service, batch, or default for the mount's."`
}

// OldTokenParams are older names of some of TokenParams. A method embeds it, or fills in the names it knows.
// The newer name wins.
type OldTokenParams struct {
	BoundCIDRs *[]string      `param:"bound_cidrs" old:"token_bound_cidrs" as:"network"`
	MaxTTL     *time.Duration `param:"max_ttl" old:"token_max_ttl"`
	NumUses    *int           `param:"num_uses" old:"token_num_uses"`
	Period     *time.Duration `param:"period" old:"token_period"`
	Policies   *[]string      `param:"policies" old:"token_policies" as:"name"`
	TTL        *time.Duration `param:"ttl" old:"token_ttl"`
}

// TokenSettings are the stored form of TokenParams. Durations and numbers of 0 set nothing.
type TokenSettings struct {
	BoundCIDRs      []netip.Prefix `json:"cidrs,omitempty"`
	ExplicitMaxTTL  time.Duration  `json:"explicit_max_ttl,omitempty"`
	MaxTTL          time.Duration  `json:"max_ttl,omitempty"`
	NoDefaultPolicy bool           `json:"no_default_policy,omitempty"`
	NumUses         int            `json:"num_uses,omitempty"`
	Period          time.Duration  `json:"period,omitempty"`
	Policies        []string       `json:"policies,omitempty"`
	TTL             time.Duration  `json:"ttl,omitempty"`
	Type            string         `json:"type,omitempty"`
	// Old are the settings that were last set by their older names, which are shown by both.
	Old []string `json:"old,omitempty"`
}

// Set puts in what was sent. It returns an ErrInvalid in Vault's words for what cannot be a token, and leaves
// s in an undefined state then. As in Vault, only what goes by the newer names is checked against each other,
// and only names of policies that go by the older name are made canonical here: Login does it for all.
func (s *TokenSettings) Set(p TokenParams, old OldTokenParams) error {
	if p.BoundCIDRs != nil {
		cidrs, err := ParseCIDRs(*p.BoundCIDRs)
		if err != nil {
			return err
		}
		s.BoundCIDRs = cidrs
	}
	put(&s.Policies, p.Policies)
	put(&s.ExplicitMaxTTL, p.ExplicitMaxTTL)
	put(&s.NoDefaultPolicy, p.NoDefaultPolicy)
	put(&s.MaxTTL, p.MaxTTL)
	put(&s.NumUses, p.NumUses)
	put(&s.Period, p.Period)
	put(&s.TTL, p.TTL)
	put(&s.Type, p.Type)
	if err := s.check(); err != nil {
		return err
	}
	return s.setOld(p, old)
}

// setOld puts in what was sent by its older name alone, and notes by which names the settings were set.
func (s *TokenSettings) setOld(p TokenParams, old OldTokenParams) error {
	if older(s, "bound_cidrs", p.BoundCIDRs != nil, old.BoundCIDRs) {
		cidrs, err := ParseCIDRs(*old.BoundCIDRs)
		if err != nil {
			return err
		}
		s.BoundCIDRs = cidrs
	}
	if older(s, "policies", p.Policies != nil, old.Policies) {
		s.Policies = CleanPolicies(*old.Policies)
	}
	for _, d := range []struct {
		name string
		now  *time.Duration
		then *time.Duration
		to   *time.Duration
	}{
		{"max_ttl", p.MaxTTL, old.MaxTTL, &s.MaxTTL},
		{"period", p.Period, old.Period, &s.Period},
		{"ttl", p.TTL, old.TTL, &s.TTL},
	} {
		if older(s, d.name, d.now != nil, d.then) {
			*d.to = *d.then
		}
	}
	if older(s, "num_uses", p.NumUses != nil, old.NumUses) {
		s.NumUses = *old.NumUses
	}
	if s.NumUses < 0 {
		return errNegativeUses
	}
	return nil
}

// older notes whether a setting was sent by its older name, and reports whether that is what counts.
func older[T any](s *TokenSettings, name string, newer bool, then *T) bool {
	if !newer && then == nil {
		return false
	}
	s.Old = slices.DeleteFunc(s.Old, func(n string) bool { return n == name })
	if then != nil {
		s.Old = append(s.Old, name)
	}
	return !newer
}

func put[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

var errNegativeUses = engines.Invalid("'token_num_uses' cannot be negative")

func (s *TokenSettings) check() error {
	switch s.Type {
	case "", typeDefault:
		s.Type = ""
	case engines.ServiceToken, engines.BatchToken:
	default:
		return engines.Invalid("invalid 'token_type' value %q", s.Type)
	}
	if s.NumUses < 0 {
		return errNegativeUses
	}
	if s.Type == engines.BatchToken {
		switch {
		case s.Period > 0:
			return engines.Invalid("'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens")
		case s.NumUses > 0:
			return engines.Invalid(
				"'token_type' cannot be 'batch' or 'default_batch' when set to generate tokens with limited use count")
		}
	}
	if s.TTL > 0 && s.MaxTTL > 0 && s.TTL > s.MaxTTL {
		return engines.Invalid("'token_ttl' cannot be greater than 'token_max_ttl'")
	}
	return nil
}

// typeDefault is how the default type is shown.
const typeDefault = "default"

// Show adds the settings to what a read of the role answers: durations in seconds, lists never null, and by
// the older name too what was set by it.
func (s *TokenSettings) Show(data map[string]any) {
	data["token_bound_cidrs"] = CIDRTexts(s.BoundCIDRs)
	data["token_explicit_max_ttl"] = engines.WholeSeconds(s.ExplicitMaxTTL)
	data["token_max_ttl"] = engines.WholeSeconds(s.MaxTTL)
	data["token_no_default_policy"] = s.NoDefaultPolicy
	data["token_num_uses"] = s.NumUses
	data["token_period"] = engines.WholeSeconds(s.Period)
	data["token_policies"] = append([]string{}, s.Policies...)
	data["token_ttl"] = engines.WholeSeconds(s.TTL)
	data["token_type"] = typeDefault
	if s.Type != "" {
		data["token_type"] = s.Type
	}
	for _, name := range s.Old {
		if s.isSet(name) {
			data[name] = data["token_"+name]
		}
	}
}

// isSet reports whether a setting with two names holds anything.
func (s *TokenSettings) isSet(name string) bool {
	switch name {
	case "bound_cidrs":
		return len(s.BoundCIDRs) > 0
	case "policies":
		return len(s.Policies) > 0
	case "max_ttl":
		return s.MaxTTL > 0
	case "num_uses":
		return s.NumUses > 0
	case "period":
		return s.Period > 0
	default:
		return s.TTL > 0
	}
}

// Login is what a login by the role asks the server to issue. The method adds who it was.
func (s *TokenSettings) Login() *engines.Login {
	return &engines.Login{
		Policies: CleanPolicies(s.Policies), TTL: s.TTL, MaxTTL: s.MaxTTL, ExplicitMaxTTL: s.ExplicitMaxTTL, Period: s.Period,
		NumUses: s.NumUses, BoundCIDRs: s.BoundCIDRs, NoDefaultPolicy: s.NoDefaultPolicy, Type: s.Type,
	}
}

// Admits reports whether a login from addr is allowed: a token could not be used from elsewhere anyway.
func (s *TokenSettings) Admits(addr netip.Addr) bool { return Admits(s.BoundCIDRs, addr) }

// CleanPolicies makes policy names canonical: trimmed, in lower case (FoldASCII), sorted, each once. Root stands
// alone.
func CleanPolicies(names []string) []string {
	clean := make([]string, 0, len(names))
	for _, name := range names {
		if name = engines.FoldASCII(strings.TrimSpace(name)); name != "" {
			clean = append(clean, name)
		}
	}
	slices.Sort(clean)
	clean = slices.Compact(clean)
	if slices.Contains(clean, rootPolicy) {
		return []string{rootPolicy}
	}
	return clean
}

// roleName is what the name of a role or a user may look like.
var roleName = regexp.MustCompile(`^\w(([\w.-]+)?\w)?$`)

// ValidName reports whether a role or a user can have that name. Vault answers for others as for paths that
// are not there.
func ValidName(name string) bool { return roleName.MatchString(name) }
