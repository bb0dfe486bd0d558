package sys

import (
	"context"
	"errors"
	"strings"

	"coffer/engines"
	"coffer/policy"
)

// ACLs finds out what somebody may do.
type ACLs interface {
	// OfCaller returns the ACL of who makes a request.
	OfCaller(ctx context.Context, caller *engines.Caller) (*policy.ACL, error)
	// OfToken returns the ACL of a token, ErrNoToken, or an ErrDenied for one whose holder is refused.
	OfToken(ctx context.Context, token engines.Token) (*policy.ACL, error)
	// OfAccessor returns the ACL of the token with that accessor, ErrNoToken, or an ErrDenied as OfToken does.
	OfAccessor(ctx context.Context, accessor string) (*policy.ACL, error)
	// Use counts a use of the caller's token on a route that is open to everybody, where the pipeline counts
	// none. It returns ErrNoToken when the token has no use left; otherwise end must be called when the
	// request is over.
	Use(ctx context.Context, caller *engines.Caller) (end func(), err error)
	// Canonical returns the canonical form of a path from the root and the other ways of writing it. A path that
	// ends in "/" is that of a folder.
	Canonical(ctx context.Context, path string) (string, policy.Spellings, error)
}

// ErrNoToken is returned by ACLs for a token that does not exist or is not valid any more.
var ErrNoToken = errors.New("sys: no such token")

func (e *engine) capabilityRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("capabilities", "Tell what a token may do at some paths.", engines.OnUpdate(e.capabilities)),
		engines.Path("capabilities-self", "Tell what the caller may do at some paths.", engines.OnUpdate(e.capabilitiesSelf)),
		engines.Path("capabilities-accessor", "Tell what the token of an accessor may do at some paths.",
			engines.OnUpdate(e.capabilitiesAccessor)),
	}
}

type capabilitiesSelfParams struct {
	Paths []string `param:"paths" help:"Paths to ask about."`
	Path  []string `param:"path" old:"paths" help:"Deprecated, use paths."`
}

type capabilitiesParams struct {
	Paths []string `param:"paths" help:"Paths to ask about."`
	Path  []string `param:"path" old:"paths" help:"Deprecated, use paths."`
	Token string   `param:"token" help:"Token to ask about."`
}

type capabilitiesAccessorParams struct {
	Paths    []string `param:"paths" help:"Paths to ask about."`
	Path     []string `param:"path" old:"paths" help:"Deprecated, use paths."`
	Accessor string   `param:"accessor" help:"Accessor of the token to ask about."`
}

func (e *engine) capabilities(
	ctx context.Context, _ *engines.Request, p capabilitiesParams,
) (*engines.Response, error) {
	return e.tell(ctx, p.Paths, p.Path, func() (*policy.ACL, error) {
		if p.Token == "" {
			return nil, engines.Failed("%s", engines.Numbered("no token found"))
		}
		acl, err := e.ACLs.OfToken(ctx, engines.NewToken(p.Token))
		if errors.Is(err, ErrNoToken) || errors.Is(err, engines.ErrDenied) {
			return nil, engines.Invalid("%s", engines.Numbered("invalid token"))
		}
		return acl, err
	})
}

func (e *engine) capabilitiesSelf(
	ctx context.Context, r *engines.Request, p capabilitiesSelfParams,
) (*engines.Response, error) {
	return e.tell(ctx, p.Paths, p.Path, func() (*policy.ACL, error) { return e.ACLs.OfCaller(ctx, r.Caller) })
}

func (e *engine) capabilitiesAccessor(
	ctx context.Context, _ *engines.Request, p capabilitiesAccessorParams,
) (*engines.Response, error) {
	if p.Accessor == "" {
		return nil, engines.Invalid("missing accessor")
	}
	return e.tell(ctx, p.Paths, p.Path, func() (*policy.ACL, error) {
		acl, err := e.ACLs.OfAccessor(ctx, p.Accessor)
		if errors.Is(err, ErrNoToken) || errors.Is(err, engines.ErrDenied) {
			return nil, engines.Invalid("%s", engines.Numbered("invalid accessor"))
		}
		return acl, err
	})
}

// Bounds of what is asked about at one time: the answer repeats the paths, and a text can become six times as long in
// it.
const (
	maxPaths     = 1000
	maxPathsText = 64 << 10 // bytes of all of them together
)

func checkPaths(paths []string) error {
	if len(paths) > maxPaths {
		return engines.Invalid("too many paths: %d at one time are allowed", maxPaths)
	}
	total := 0
	for _, path := range paths {
		if total += len(path); total > maxPathsText {
			return engines.Invalid("paths are too long: %d bytes of them at one time are allowed", maxPathsText)
		}
	}
	return nil
}

// tell answers with the capabilities at each path; those of a single path are repeated as "capabilities".
func (e *engine) tell(
	ctx context.Context, paths, old []string, find func() (*policy.ACL, error),
) (*engines.Response, error) {
	if len(paths) == 0 {
		paths = old
	}
	if len(paths) == 0 {
		return nil, engines.Invalid("paths must be supplied")
	}
	if err := checkPaths(paths); err != nil {
		return nil, err
	}
	acl, err := find()
	if err != nil {
		return nil, err
	}
	data := make(map[string]any, len(paths)+1)
	now := e.Wall()
	for _, path := range paths {
		if path == "" {
			return nil, engines.Invalid("%s", engines.Numbered("missing path"))
		}
		canonical, spellings, err := e.ACLs.Canonical(ctx, strings.TrimPrefix(path, "/"))
		if err != nil {
			return nil, err
		}
		data[path] = acl.Capabilities(canonical, spellings, now)
	}
	if len(paths) == 1 {
		data["capabilities"] = data[paths[0]]
	}
	return flat(data)
}
