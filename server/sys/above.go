package sys

import (
	"context"
	"strings"

	"coffer/engines"
	"coffer/policy"
	"coffer/server/mounts"
)

// above finds the mount that path lies below, as Vault does in the reads of sys/mounts/PATH, sys/mounts/PATH/tune and
// sys/auth/PATH/tune. The caller must be allowed to read the same of the mount's own path: a rule on that one must not
// be passed by another path. tail is what follows PATH.
func (e *engine) above(
	ctx context.Context, r *engines.Request, kind mounts.Kind, path, tail string,
) (found mounts.Entry, ok bool, err error) {
	for {
		end := strings.LastIndexByte(strings.TrimSuffix(path, "/"), '/')
		if end < 0 {
			return mounts.Entry{}, false, nil
		}
		path = path[:end+1]
		if found, ok = e.Mounts.Find(path); ok {
			break
		}
	}
	acl, err := e.ACLs.OfCaller(ctx, r.Caller)
	if err != nil {
		return mounts.Entry{}, false, err
	}
	own := "sys/mounts/"
	if kind == mounts.Auth {
		own = "sys/auth/"
	}
	canonical, spellings, err := e.ACLs.Canonical(ctx, own+strings.TrimSuffix(found.Name(), "/")+tail)
	if err != nil {
		return mounts.Entry{}, false, err
	}
	decision := acl.Decide(policy.Request{Capability: policy.Read, Path: canonical, Spellings: spellings, Now: e.Wall()})
	if !decision.Allowed || kind == mounts.Auth && !decision.Sudo {
		return mounts.Entry{}, false, engines.Denied("%s", engines.Numbered(engines.ErrDenied.Error()))
	}
	return found, true, nil
}
