package jwt

import (
	"context"
	"errors"

	"coffer/auth"
	"coffer/engines"
)

// loginParams are what a client logs in with.
type loginParams struct {
	Role string `param:"role" help:"Role to log in as."`
	JWT  string `param:"jwt" help:"The signed token."`
	// AccessToken serves to ask Azure for groups that did not fit into the token.
	AccessToken string `param:"distributed_claim_access_token" help:"Token for asking Azure for the user's groups."`
}

var errConfiguration = engines.Invalid("could not load configuration")

func (m *method) login(ctx context.Context, req *engines.Request, p loginParams) (*engines.Response, error) {
	s, err := m.setup(ctx)
	if errors.Is(err, errUnconfigured) {
		return nil, errConfiguration
	}
	if err != nil {
		return nil, err
	}
	name, r, err := m.loginRole(ctx, s.config, p.Role)
	if err != nil {
		return nil, err
	}
	switch {
	case r.Type == typeOIDC:
		return nil, engines.Invalid("role with oidc role_type is not allowed")
	case p.JWT == "":
		return nil, engines.Invalid("missing token")
	case !r.Token.Admits(req.Client.Addr):
		return nil, engines.ErrDenied
	case s.config.OIDC.hasFlow():
		return nil, engines.Invalid("error configuring token validator: unsupported config type")
	}
	claims, err := validate(ctx, p.JWT, s.keys, &expected{
		issuer: s.config.Issuer, subject: r.Bounds.Subject, audiences: r.Bounds.Audiences,
		algorithms: s.config.Algorithms, leeways: r.Leeways, now: m.wall(),
	})
	if err != nil {
		return nil, engines.Invalid("error validating token: %v", err)
	}
	if len(r.Bounds.Audiences) == 0 && namesAudience(claims["aud"]) {
		return nil, engines.Invalid("audience claim found in JWT but no audiences bound to the role")
	}
	login, err := m.identify(ctx, s, name, r, claims, p.AccessToken)
	if err != nil {
		return nil, err
	}
	return &engines.Response{Login: login}, nil
}

// namesAudience reports whether a token is meant for somebody: it must not be used where nobody in particular is
// expected.
func namesAudience(aud any) bool {
	switch v := aud.(type) {
	case nil:
		return false
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	default:
		return true
	}
}

// loginRole finds the role of a login, which may be the default one.
func (m *method) loginRole(ctx context.Context, c *config, name string) (string, *role, error) {
	if name = engines.FoldASCII(name); name == "" {
		name = c.DefaultRole
	}
	if name == "" {
		return "", nil, engines.Invalid("missing role")
	}
	if len(name) > maxName {
		return "", nil, engines.Invalid("role could not be found")
	}
	r, err := m.role(ctx, name)
	if errors.Is(err, errNoRole) {
		return "", nil, engines.Invalid("role %q could not be found", name)
	}
	return name, r, err
}

// maxName bounds the names that an error repeats.
const maxName = 1024

// identify makes a login of verified claims, or an ErrInvalid when they are not what the role wants.
func (m *method) identify(
	ctx context.Context, s *setup, name string, r *role, claims map[string]any, access string,
) (*engines.Login, error) {
	user, err := r.user(claims)
	if err != nil {
		return nil, engines.Invalid("%v", err)
	}
	if s.google != nil {
		if err := s.google.addInfo(ctx, user, claims); err != nil {
			return nil, engines.Invalid("failed to fetch user info: %v", err)
		}
	}
	metadata, err := r.metadata(claims)
	if err != nil {
		return nil, engines.Invalid("%v", err)
	}
	metadata[reservedMetadata] = name
	if err := s.specialGroups(ctx, r, user, claims, access); err != nil {
		return nil, engines.Invalid("failed to fetch groups: %v", err)
	}
	groups, err := r.groups(claims)
	if err != nil {
		return nil, engines.Invalid("%v", err)
	}
	if err := r.Bounds.checkBound(claims); err != nil {
		return nil, engines.Invalid("error validating claims: %v", err)
	}
	if user == "" {
		return nil, engines.Failed("missing name in alias")
	}
	login := r.Token.Login()
	login.DisplayName, login.Alias, login.GroupAliases = user, user, groups
	login.Metadata, login.AliasMetadata = metadata, metadata
	login.Internal = map[string]any{internalRole: name}
	login.StillGood = auth.All(
		auth.Unchanged(s.config, errUnconfigured, m.loadConfig),
		auth.Unchanged(r, errNoRole, func(ctx context.Context) (*role, error) { return m.role(ctx, name) }))
	return login, nil
}

// internalRole is under which a token remembers its role.
const internalRole = "role"

// RenewLogin implements engines.LoginRenewer: the role must still be there, and its settings count as they are
// now.
func (m *method) RenewLogin(ctx context.Context, r *engines.Renewal) (*engines.Login, error) {
	name, ok := r.Internal[internalRole].(string)
	if !ok {
		return nil, engines.Invalid("lease is not renewable")
	}
	role, err := m.role(ctx, name)
	if errors.Is(err, errNoRole) {
		return nil, engines.Failed("role %s does not exist during renewal", name)
	}
	if err != nil {
		return nil, err
	}
	return role.Token.Login(), nil
}
