package approle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
)

// loginParams are the parameters of a login.
type loginParams struct {
	RoleID   string `param:"role_id" help:"What names the role."`
	SecretID string `param:"secret_id" help:"What proves that the caller may be the role."`
}

func (p loginParams) roleID() string { return strings.TrimSpace(p.RoleID) }

// errNoNetwork refuses a login whose token could be used nowhere.
var errNoNetwork = engines.Invalid("token_bound_cidrs of the secret ID have nothing in common with those of the role")

// invalidLogin is the answer to wrong credentials, whichever of them is wrong.
const invalidLogin = "invalid role or secret ID"

// roleKey is where a login's token keeps the name of its role.
const roleKey = "role_name"

// login checks the credentials. A use of the secret id is spent with the token or not at all.
func (e *engine) login(ctx context.Context, r *engines.Request, p loginParams) (*engines.Response, error) {
	if p.roleID() == "" {
		return nil, engines.Invalid("invalid credentials")
	}
	role, err := e.roleOfID(ctx, p.roleID())
	if errors.Is(err, errNoRole) {
		return nil, engines.BadCredentials(false, invalidLogin)
	}
	if err != nil {
		return nil, err
	}
	login := role.Token.Login()
	if role.BindSecretID {
		if err := e.prove(ctx, r, role, p, login); err != nil {
			return nil, err
		}
	}
	if err := role.admit(r); err != nil {
		if login.Release != nil {
			login.Release()
		}
		return nil, err
	}
	metadata := make(map[string]string, len(login.Metadata)+1)
	maps.Copy(metadata, login.Metadata)
	metadata[roleKey] = role.Name
	login.Metadata = metadata
	login.Alias, login.AliasMetadata = role.RoleID, metadata
	login.Internal = map[string]any{roleKey: role.Name}
	login.StillGood = auth.All(login.StillGood, e.unchanged(role))
	return &engines.Response{Login: login}, nil
}

// unchanged is a check that a role is what it was.
func (e *engine) unchanged(r *role) func(context.Context) error {
	return auth.Unchanged(r, errNoRole, func(ctx context.Context) (*role, error) { return e.roleOfID(ctx, r.RoleID) })
}

// admit checks where the login comes from.
func (r *role) admit(req *engines.Request) error {
	ok, err := admits(r.Secret.CIDRs, req.Client.Addr)
	if err == nil && !ok {
		return engines.Invalid("source address %q unauthorized by CIDR restrictions on the role", req.Client.Addr)
	}
	return err
}

// prove checks the secret id and puts what follows from it into the login. Unless it returns an error,
// login.Release has to be called.
func (e *engine) prove(
	ctx context.Context, r *engines.Request, role *role, p loginParams, login *engines.Login,
) error {
	id := strings.TrimSpace(p.SecretID)
	switch {
	case id == "":
		return missing("secret_id")
	case len(id) > maxID:
		return engines.Failed("failed to create HMAC of secret_id: value is longer than maximum of %d bytes", maxID)
	}
	at := e.place(role, id)
	s, err := e.secretID(ctx, at)
	if err != nil {
		return refused(err)
	}
	if s.NumUses == 0 {
		// Of one with limited uses nobody can tell whether it was destroyed or others have spent it.
		login.StillGood = auth.Unchanged(s, errNoSecretID,
			func(ctx context.Context) (*secretID, error) { return e.secretID(ctx, at) })
		return s.permit(r, role, login)
	}
	// Who uses a limited secret id waits for the others to have spent theirs.
	return refused(storage.Prepay(ctx, func(ctx context.Context) error {
		release := e.hold(at)
		err := e.spend(ctx, at, login, func(s *secretID) error { return s.permit(r, role, login) })
		if err != nil {
			release()
			return err
		}
		login.Release = release
		return nil
	}))
}

// refused is the answer for a secret id that is not there.
func refused(err error) error {
	if errors.Is(err, errNoSecretID) {
		return engines.BadCredentials(true, invalidLogin)
	}
	return err
}

// spend puts into the login what one use of the secret id changes. The caller holds the secret id.
func (e *engine) spend(ctx context.Context, at place, login *engines.Login, permit func(*secretID) error) error {
	s, err := e.secretID(ctx, at)
	if err != nil {
		return err
	}
	if err := permit(s); err != nil {
		return err
	}
	if s.NumUses == 1 {
		login.Spend = e.removing(at, s)
		return nil
	}
	s.NumUses--
	s.Updated = e.now().UTC()
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("approle: %w", err)
	}
	login.Spend = []storage.Op{storage.Put(at.key(), b)}
	return nil
}

// permit checks where a login with the secret id comes from, and puts what it says of tokens into the login.
func (s *secretID) permit(r *engines.Request, role *role, login *engines.Login) error {
	if err := within(role.Secret.CIDRs, s.CIDRs); err != nil {
		return engines.Failed("%v", err)
	}
	ok, err := admits(s.CIDRs, r.Client.Addr)
	switch {
	case err != nil:
		return err
	case !ok:
		return engines.Invalid("source address %q unauthorized through CIDR restrictions on the secret ID", r.Client.Addr)
	}
	networks, err := prefixes(s.TokenCIDRs)
	if err != nil {
		return err
	}
	// The role may have been tightened since the secret id was issued.
	if login.BoundCIDRs, ok = auth.Intersect(role.Token.BoundCIDRs, networks); !ok {
		return errNoNetwork
	}
	login.Metadata = s.Metadata
	return nil
}

// RenewLogin implements engines.LoginRenewer.
func (e *engine) RenewLogin(ctx context.Context, r *engines.Renewal) (*engines.Login, error) {
	name, _ := r.Internal[roleKey].(string)
	role, err := e.role(ctx, name)
	if errors.Is(err, errNoRole) || errors.Is(err, engines.ErrUnsupportedPath) {
		return nil, engines.Failed("role %q does not exist during renewal", name)
	}
	if err != nil {
		return nil, err
	}
	return role.Token.Login(), nil
}
