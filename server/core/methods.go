package core

import (
	"context"

	"coffer/auth/token"
	"coffer/engines"
)

// methods asks the auth methods what they grant when their tokens are renewed.
type methods struct{ *session }

var _ token.Methods = methods{}

// errNotRenewing refuses to renew what nobody vouches for any more.
var errNotRenewing = engines.Invalid("lease is not renewable")

// RenewLogin implements token.Methods.
func (m methods) RenewLogin(ctx context.Context, r *engines.Renewal) (*engines.Login, engines.TTLs, error) {
	mount, _, ok := m.mounts.Route(r.Holder.Path)
	if !ok || !mount.Enter() {
		return nil, nil, errNotRenewing
	}
	defer mount.Leave()
	renewer, ok := mount.Engine().(engines.LoginRenewer)
	if !ok {
		return nil, nil, errNotRenewing
	}
	login, err := renewer.RenewLogin(ctx, r)
	if err == nil && login.GroupAliases != nil && r.Holder.EntityID != "" {
		err = m.identity.Regroup(ctx, r.Holder.EntityID, mount.Entry.Accessor, login.GroupAliases)
	}
	return login, mount.TTLs(), err
}
