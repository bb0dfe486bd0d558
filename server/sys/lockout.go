package sys

import (
	"context"
	"slices"

	"coffer/engines"
	"coffer/server/lockout"
)

// Lockouts knows who is locked out.
type Lockouts interface {
	// Users returns who is locked out now, sorted by mount; at one mount, or with accessor "" at all.
	Users(accessor string) []lockout.User
	// Unlock lets a user log in again.
	Unlock(ctx context.Context, u lockout.User) error
}

func (e *engine) lockoutRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("locked-users", "Users that are locked out after failed logins.", engines.OnRead(e.lockedUsers)),
		engines.Path("locked-users/{mount_accessor}/unlock/{alias_identifier+}", "Let a user log in again.",
			engines.CaseInsensitive("alias_identifier"), engines.IgnoreSpace("alias_identifier"),
			engines.OnUpdate(e.unlockUser)),
	}
}

type lockedUsersParams struct {
	Accessor string `param:"mount_accessor" help:"Only users of the mount with this accessor."`
}

// lockedUsers counts by mount, the one with the most first. There is only the root namespace.
func (e *engine) lockedUsers(_ context.Context, _ *engines.Request, p lockedUsersParams) (*engines.Response, error) {
	type mount struct {
		Accessor string   `json:"mount_accessor"`
		Counts   int      `json:"counts"`
		Aliases  []string `json:"alias_identifiers"`
	}
	type namespace struct {
		ID     string  `json:"namespace_id"`
		Path   string  `json:"namespace_path"`
		Counts int     `json:"counts"`
		Mounts []mount `json:"mount_accessors"`
	}
	users := e.Lockouts.Users(p.Accessor)
	list := []mount{}
	if p.Accessor != "" {
		list = append(list, mount{Accessor: p.Accessor})
	}
	for _, u := range users {
		if n := len(list); n == 0 || list[n-1].Accessor != u.Accessor {
			list = append(list, mount{Accessor: u.Accessor})
		}
		m := &list[len(list)-1]
		m.Counts++
		m.Aliases = append(m.Aliases, u.Name)
	}
	slices.SortStableFunc(list, func(a, b mount) int { return b.Counts - a.Counts })
	all := []namespace{}
	if len(list) > 0 {
		all = append(all, namespace{ID: "root", Counts: len(users), Mounts: list})
	}
	return read(map[string]any{"by_namespace": all, "total": len(users)})
}

type unlockParams struct {
	Accessor string `path:"mount_accessor" help:"Accessor of the mount."`
	Alias    string `path:"alias_identifier" help:"Name of the user, or the role id."`
}

func (e *engine) unlockUser(ctx context.Context, _ *engines.Request, p unlockParams) (*engines.Response, error) {
	user := lockout.NewUser(p.Accessor, p.Alias)
	if user.Name == "" {
		return nil, engines.Invalid("missing alias_identifier")
	}
	if err := e.Lockouts.Unlock(ctx, user); err != nil {
		return nil, err
	}
	return done()
}
