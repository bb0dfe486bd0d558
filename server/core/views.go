package core

import (
	"context"
	"errors"
	"strings"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/policy"
	"coffer/server/sys"
)

// acls tells the sys engine and the token store what tokens may do.
type acls struct{ *session }

var _ sys.ACLs = acls{}

// OfCaller implements sys.ACLs.
func (a acls) OfCaller(ctx context.Context, caller *engines.Caller) (*policy.ACL, error) {
	return a.acl(ctx, caller)
}

// OfToken implements sys.ACLs.
func (a acls) OfToken(ctx context.Context, t engines.Token) (*policy.ACL, error) {
	return a.ofEntry(ctx)(a.tokens.Authenticate(ctx, t))
}

// OfAccessor implements sys.ACLs.
func (a acls) OfAccessor(ctx context.Context, accessor string) (*policy.ACL, error) {
	return a.ofEntry(ctx)(a.tokens.ByAccessor(ctx, accessor))
}

// Use implements sys.ACLs.
func (a acls) Use(ctx context.Context, caller *engines.Caller) (end func(), err error) {
	end = func() {}
	if !caller.LimitedUses {
		return end, nil
	}
	entry, err := a.tokens.Authenticate(ctx, caller.Token)
	if err == nil {
		entry, err = a.tokens.Use(ctx, entry)
	}
	if errors.Is(err, token.ErrBadToken) {
		return nil, sys.ErrNoToken
	}
	if err != nil {
		return nil, err
	}
	return func() { a.endUse(entry) }, nil
}

func (a acls) ofEntry(ctx context.Context) func(*token.Entry, error) (*policy.ACL, error) {
	return func(e *token.Entry, err error) (*policy.ACL, error) {
		if errors.Is(err, token.ErrBadToken) {
			return nil, sys.ErrNoToken
		}
		if err != nil {
			return nil, err
		}
		return a.acl(ctx, e.Caller)
	}
}

// Canonical implements sys.ACLs.
func (a acls) Canonical(ctx context.Context, path string) (string, policy.Spellings, error) {
	mount, rest, ok := a.mounts.Route(path)
	if !ok {
		return path, policy.Spellings{}, nil
	}
	op := engines.Read
	if strings.HasSuffix(path, "/") {
		op = engines.List
	}
	match, ok := mount.Router.Match(ctx, op, rest)
	if ok && op == engines.List && !match.Supports(engines.List) {
		match, ok = mount.Router.Match(ctx, engines.Read, rest)
	}
	if !ok {
		return path, policy.Spellings{}, nil
	}
	if match.Path != rest {
		path = mount.Entry.Path + match.Path
	}
	return path, spellings(match.Spellings, mount.Entry.Path), match.Err()
}

// Sudo implements token.Sudoer.
func (a acls) Sudo(ctx context.Context, caller *engines.Caller, path string) (bool, error) {
	acl, err := a.acl(ctx, caller)
	if err != nil {
		return false, err
	}
	decision := acl.Decide(policy.Request{Capability: policy.Update, Path: path, Now: a.wall()})
	return decision.Root || decision.Sudo, nil
}
