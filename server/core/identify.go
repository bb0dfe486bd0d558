package core

import (
	"context"
	"errors"
	"slices"

	"coffer/engines"
	"coffer/policy"
	"coffer/server/identity"
	"coffer/server/identity/oidc"
	"coffer/server/mfa"
	"coffer/server/policies"
)

func (s *session) buildIdentity(ctx context.Context) (err error) {
	s.identity, err = identity.New(ctx, identity.Config{
		Storage: s.barrier, Prefix: s.builtinFolder(identityPath), Mounts: s.mounts,
		Logger: s.logger, Now: s.now,
	})
	return err
}

// newIdentity makes the engine at identity/ with what signs identity tokens.
func (s *session) newIdentity(ctx context.Context, cfg engines.Config) (engines.Engine, error) {
	var err error
	s.oidc, err = oidc.New(ctx, oidc.Config{
		Storage: cfg.Storage, Holders: s.identity, Address: s.cfg.APIAddress, Logger: cfg.Logger,
		Now: cfg.Now, Wall: cfg.Wall,
	})
	if err != nil {
		return nil, err
	}
	s.mfa, err = mfa.New(ctx, mfa.Config{
		Storage: cfg.Storage, Identities: s.identity, Mounts: authMounts{s.mounts},
		Now: cfg.Now, Wall: cfg.Wall, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	return s.identity.Engine(slices.Concat(s.oidc.Routes(), s.mfa.Routes())...), nil
}

// errNoHolder is returned for a token whose entity is disabled or gone.
var errNoHolder = &engines.Error{Kind: engines.ErrDenied, Message: engines.ErrDenied.Error()}

// holder finds who holds a token: nil for a token without an entity, errNoHolder for one that must be
// refused.
func (s *session) holder(ctx context.Context, caller *engines.Caller) (*identity.Holder, error) {
	if caller.EntityID == "" {
		return nil, nil //nolint:nilnil // most tokens have no entity
	}
	h, err := s.identity.Holder(ctx, caller.EntityID)
	if identity.Refused(err) {
		return nil, errNoHolder
	}
	return h, err
}

// aclOf is what a token may do: by its own policies and by those of its holder, nil for none. Where one of them cannot
// be read it returns policies.ErrLost.
func (s *session) aclOf(ctx context.Context, caller *engines.Caller, holder *identity.Holder) (*policy.ACL, error) {
	if holder == nil {
		return s.policies.ACL(ctx, caller.Policies)
	}
	return s.policies.ACLOf(ctx, caller.Policies, holder)
}

// acl is aclOf for a caller whose holder is not known yet.
func (s *session) acl(ctx context.Context, caller *engines.Caller) (*policy.ACL, error) {
	h, err := s.holder(ctx, caller)
	if err != nil {
		return nil, err
	}
	acl, err := s.aclOf(ctx, caller, h)
	if errors.Is(err, policies.ErrLost) {
		return policy.Compile(), nil // it may do nothing
	}
	return acl, err
}
