package userpass

import (
	"context"
	"errors"
	"slices"

	"coffer/auth"
	"coffer/engines"
)

// loginParams are the parameters of a login.
type loginParams struct {
	Name     string `path:"username" help:"Name of the user."`
	Password string `param:"password" help:"Password of the user."`
}

// alias is the user's name, or "" for what no user is called.
func (p loginParams) alias() string {
	if !auth.ValidName(p.Name) {
		return ""
	}
	return engines.FoldASCII(p.Name)
}

// nameKey is where a login's token keeps the user's name.
const nameKey = "username"

// login compares the password. For a user who does not exist it takes as long and says the same.
func (e *engine) login(ctx context.Context, r *engines.Request, p loginParams) (*engines.Response, error) {
	u, err := e.user(ctx, p.Name)
	known := err == nil
	if err != nil && !errors.Is(err, errNoUser) {
		return nil, err
	}
	if p.Password == "" {
		return nil, engines.BadCredentials(known, "invalid credentials")
	}
	var hash []byte
	if known {
		hash = u.Hash
	}
	ok, err := e.hasher.Matches(ctx, r.Client.Addr, hash, []byte(p.Password))
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, engines.BadCredentials(known, "invalid username or password")
	case !u.Token.Admits(r.Client.Addr):
		return nil, engines.Denied("permission denied")
	}
	login := u.Token.Login()
	login.DisplayName, login.Alias = u.Name, u.Name
	login.Metadata = map[string]string{nameKey: u.Name}
	login.StillGood = auth.Unchanged(u, errNoUser, func(ctx context.Context) (*user, error) { return e.user(ctx, u.Name) })
	return &engines.Response{Login: login}, nil
}

// RenewLogin implements engines.LoginRenewer. It refuses when the user's policies are others now.
func (e *engine) RenewLogin(ctx context.Context, r *engines.Renewal) (*engines.Login, error) {
	u, err := e.user(ctx, r.Holder.Metadata[nameKey])
	if errors.Is(err, errNoUser) || errors.Is(err, engines.ErrUnsupportedPath) {
		return nil, engines.ErrNoRenewal
	}
	if err != nil {
		return nil, err
	}
	login := u.Token.Login()
	if !slices.Equal(withoutDefault(login.Policies), withoutDefault(auth.CleanPolicies(r.Holder.Policies))) {
		return nil, engines.Failed("policies have changed, not renewing")
	}
	return login, nil
}

// withoutDefault leaves the default policy out, which tokens have without being asked.
func withoutDefault(policies []string) []string {
	return slices.DeleteFunc(policies, func(name string) bool { return name == "default" })
}
