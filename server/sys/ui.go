package sys

import (
	"context"
	"errors"
	"strings"

	"coffer/engines"
	"coffer/policy"
	"coffer/server/mounts"
	"coffer/storage"
)

// The routes below internal/ui serve the CLI's preflight of `kv` commands and web interfaces. Those
// without a token are open to everybody and look for themselves who asks.
func (e *engine) uiRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("internal/ui/mounts", "List the mounts the caller can see.",
			engines.Unauthenticated(), engines.OnRead(e.visibleMounts)),
		engines.Path("internal/ui/mounts/{path+}", "Tell which mount serves a path.",
			engines.Unauthenticated(), engines.OnRead(e.mountOf)),
		engines.Path("internal/ui/resultant-acl", "Tell the sum of the caller's policies.", engines.OnRead(e.resultantACL)),
		engines.Path("internal/ui/namespaces", "List the namespaces: there is one.",
			engines.Unauthenticated(), engines.OnRead(e.namespaces)),
		engines.Path("internal/ui/feature-flags", "List the feature flags of the web interface: there are none.",
			engines.Unauthenticated(), engines.OnRead(featureFlags)),
		engines.Path("internal/ui/authenticated-messages", "List the messages to users: there are none.",
			engines.OnRead(noMessages)),
		engines.Path("internal/ui/unauthenticated-messages", "List the messages to everybody: there are none.",
			engines.Unauthenticated(), engines.OnRead(noMessages)),
	}
}

var (
	errNoCaller = engines.Denied("permission denied")
	errBadToken = engines.Denied("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
)

// callerACL is the ACL of the caller on a route open to everybody. It returns errNoCaller or errBadToken
// for who has no valid token.
func (e *engine) callerACL(ctx context.Context, r *engines.Request) (*policy.ACL, error) {
	switch {
	case r.Caller != nil:
		return e.ACLs.OfCaller(ctx, r.Caller)
	case r.Token.IsZero():
		return nil, errNoCaller
	}
	if _, err := e.ACLs.OfToken(ctx, r.Token); errors.Is(err, engines.ErrDenied) {
		return nil, errNoCaller // the token is good, but its holder is refused
	}
	return nil, errBadToken
}

func (e *engine) visibleMounts(ctx context.Context, r *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	var acl *policy.ACL
	if r.Caller != nil || !r.Token.IsZero() {
		var err error
		if acl, err = e.callerACL(ctx, r); err != nil {
			return nil, err
		}
	}
	data := make(map[string]any, 2)
	for kind, name := range map[mounts.Kind]string{mounts.Secret: "secret", mounts.Auth: "auth"} {
		visible := make(map[string]any)
		for _, entry := range e.Mounts.Entries(kind) {
			public := entry.Tuning.ListingVisibility == "unauth"
			switch {
			case acl == nil && public:
				visible[entry.Name()] = map[string]any{
					"type": entry.Type, "description": entry.Description, "options": mountOptions(entry),
				}
			case acl != nil && (public || acl.Visible(entry.Path, e.Wall())):
				visible[entry.Name()] = e.resolvedInfo(entry)
			}
		}
		data[name] = visible
	}
	return &engines.Response{Data: data, NoMountType: true}, nil
}

// resolvedInfo is a mount with the TTLs in force.
func (e *engine) resolvedInfo(entry mounts.Entry) map[string]any {
	info := e.mountInfo(entry)
	defaultTTL, maxTTL := e.Mounts.TTLs(entry)
	info["config"] = mountConfigInfo(entry, defaultTTL, maxTTL)
	return info
}

// mountOf is the preflight check of the CLI. It says the same of a mount that does not exist and of one
// that the caller may not see.
func (e *engine) mountOf(ctx context.Context, r *engines.Request, p pathParams) (*engines.Response, error) {
	acl, err := e.callerACL(ctx, r)
	if err != nil {
		return nil, err
	}
	path := strings.Trim(p.Path, "/") + "/"
	entry, ok := e.mountServing(path)
	if !ok || !acl.Visible(entry.Path, e.Wall()) {
		return nil, engines.Denied(
			"preflight capability check returned 403, please ensure client's policies grant access to path %q", path)
	}
	info := e.resolvedInfo(entry)
	info["path"] = entry.Name()
	return &engines.Response{Data: info, NoMountType: true}, nil
}

// mountServing finds the mount with the longest path that begins path, which ends in "/".
func (e *engine) mountServing(path string) (mounts.Entry, bool) {
	for i := len(path); i > 0; i = strings.LastIndexByte(path[:i-1], '/') + 1 {
		if entry, ok := e.Mounts.Find(path[:i]); ok {
			return entry, true
		}
	}
	return mounts.Entry{}, false
}

func (e *engine) resultantACL(ctx context.Context, r *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	acl, err := e.callerACL(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := storage.Spend(ctx, acl.SummarySize()); err != nil {
		return nil, err
	}
	return read(acl.Summary(e.Wall()))
}

func (e *engine) namespaces(_ context.Context, r *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	switch {
	case r.Caller != nil:
		return &engines.Response{Data: map[string]any{"keys": []string{""}}, NoMountType: true}, nil
	case r.Token.IsZero():
		return nil, engines.Failed("client token empty")
	default:
		return nil, errBadToken
	}
}

func featureFlags(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return &engines.Response{Raw: &engines.Raw{
		ContentType: "application/json", Body: []byte(`{"feature_flags":null}` + "\n"),
	}}, nil
}

func noMessages(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return &engines.Response{Data: map[string]any{}, NoMountType: true}, nil
}
