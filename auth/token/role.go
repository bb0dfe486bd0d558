package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
)

// errNoRole is returned for a token role that does not exist.
var errNoRole = errors.New("token: no such role")

// Token types that only roles have: what is made unless the request says otherwise.
const (
	typeDefaultService = "default-service"
	typeDefaultBatch   = "default-batch"
)

// role is a token role: what tokens made at auth/token/create/<role> may be and are.
type role struct {
	Name       string       `json:"-"`
	Policies   rolePolicies `json:"policies"`
	Orphan     bool         `json:"orphan,omitempty"`
	Renewable  bool         `json:"renewable,omitempty"`
	PathSuffix string       `json:"path_suffix,omitempty"`
	// Aliases are the entity aliases that requests may name, globs among them; nil for none set.
	Aliases []string   `json:"aliases,omitempty"`
	Token   roleToken  `json:"token"`
	Old     roleLegacy `json:"old"`
}

type rolePolicies struct {
	Allowed         []string `json:"allowed,omitempty"`
	Disallowed      []string `json:"disallowed,omitempty"`
	AllowedGlobs    []string `json:"allowed_globs,omitempty"`
	DisallowedGlobs []string `json:"disallowed_globs,omitempty"`
}

type roleToken struct {
	CIDRs           []netip.Prefix `json:"cidrs,omitempty"`
	ExplicitMax     time.Duration  `json:"explicit_max,omitempty"`
	Period          time.Duration  `json:"period,omitempty"`
	NoDefaultPolicy bool           `json:"no_default_policy,omitempty"`
	NumUses         int            `json:"num_uses,omitempty"`
	Type            string         `json:"type"`
}

// roleLegacy repeats what was set by the older names, which only matters for reading it back.
type roleLegacy struct {
	CIDRs       []netip.Prefix `json:"cidrs,omitempty"`
	ExplicitMax time.Duration  `json:"explicit_max,omitempty"`
	Period      time.Duration  `json:"period,omitempty"`
}

// role returns the role of that name, or errNoRole.
func (s *Store) role(ctx context.Context, name string) (*role, error) {
	b, err := s.cfg.Storage.Get(ctx, roleFolder+name)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey) {
		return nil, errNoRole
	}
	if err != nil {
		return nil, err
	}
	r, err := decodeRole(name, b)
	if err != nil {
		storage.SetAside(s.cfg.Storage, roleFolder+name, err)
	}
	return r, err
}

func decodeRole(name string, b []byte) (*role, error) {
	r := &role{Name: name}
	if len(b) == 0 || b[0] != recordVersion {
		return nil, fmt.Errorf("%w: role %s", ErrCorrupt, name)
	}
	if err := json.Unmarshal(b[1:], r); err != nil {
		return nil, fmt.Errorf("%w: role %s", ErrCorrupt, name)
	}
	return r, nil
}

func (s *Store) putRole(ctx context.Context, r *role) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("token: role %s: %w", r.Name, err)
	}
	return s.cfg.Storage.Apply(ctx, storage.Put(roleFolder+r.Name, append([]byte{recordVersion}, b...)))
}

// lowered makes a list canonical: trimmed, in lower case, sorted, each once.
func lowered(list []string) []string {
	clean := make([]string, 0, len(list))
	for _, s := range list {
		if s = engines.FoldASCII(strings.TrimSpace(s)); s != "" {
			clean = append(clean, s)
		}
	}
	slices.Sort(clean)
	return slices.Compact(clean)
}

// restricts reports whether the role says which policies its tokens may have.
func (p *rolePolicies) restricts() bool { return len(p.Allowed) > 0 || len(p.AllowedGlobs) > 0 }

// forbids reports whether the role says which policies its tokens must not have.
func (p *rolePolicies) forbids() bool { return len(p.Disallowed) > 0 || len(p.DisallowedGlobs) > 0 }

func (p *rolePolicies) forbidden(name string) bool {
	return slices.Contains(p.Disallowed, name) || auth.MatchesAny(p.DisallowedGlobs, name)
}

// tokenPath is where the tokens of the role say they were made.
func (r *role) tokenPath(requested string) string {
	if r.PathSuffix == "" {
		return requested
	}
	return path.Join(requested, r.PathSuffix)
}

// fewer is the smaller of two numbers of uses, of which 0 limits nothing.
func fewer(a, b int) int {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// lesser is the smaller of two durations of which 0 means not set.
func lesser(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
