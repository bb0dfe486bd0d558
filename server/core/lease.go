package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/server/leases"
	"coffer/server/mounts"
)

// errSpent refuses a leased secret to a token in its last use: the secret would end with the token at once.
var errSpent = engines.Invalid("Secret cannot be returned; token had one use left, so leased credentials were " +
	"immediately revoked.")

// errNotLeasable is returned for a secret that the mount's engine could not take back.
var errNotLeasable = errors.New("core: a leased secret of an engine that cannot revoke it")

// lease gives the secret that an engine issues its lease, and returns the answer with it. The lease is stored before
// anything is made, so that nothing that was made is forgotten.
func (r *run) lease(ctx context.Context, resp *engines.Response) (*engines.Response, error) {
	if _, ok := r.mount.Leaser(); !ok {
		return nil, fmt.Errorf("%w: %s", errNotLeasable, r.mount.Entry.Type)
	}
	leased := *resp
	secret := *resp.Secret
	leased.Secret = &secret
	ttl, maxTTL, warnings := lifeOf(secret, r.mount.TTLs())
	leased.Warnings = append(leased.Warnings, warnings...)
	wanted := leases.Secret{Path: r.call.Path, TTL: ttl, MaxTTL: maxTTL, Internal: secret.Internal}
	changes := r.mount.Below(secret.Changes)
	l, err := r.register(ctx, wanted, func(ctx context.Context, s leases.Secret) (leases.Lease, error) {
		if secret.Make == nil {
			return r.session.leases.Register(ctx, s, secret.Renewable, changes...)
		}
		return r.session.leases.Announce(ctx, s, secret.Renewable, changes...)
	})
	if err != nil {
		return nil, err
	}
	if secret.Make != nil {
		var made engines.Made
		if made, l, err = r.realize(ctx, l, secret.Make); err != nil {
			return nil, err
		}
		leased.Data = merged(leased.Data, made.Data)
	} else if !r.session.mounts.Serves(r.mount) {
		return nil, errors.Join(r.gone(), r.session.leases.Forget(context.WithoutCancel(ctx), l.ID))
	}
	secret.LeaseID, secret.TTL = l.ID, l.TTL(r.session.now())
	secret.Changes, secret.Make = nil, nil
	return &leased, nil
}

// merged is a with the members of b.
func merged(a, b map[string]any) map[string]any {
	if len(a) == 0 {
		return b
	}
	a = maps.Clone(a)
	maps.Copy(a, b)
	return a
}

// gone is the answer for a mount that was removed since the request was routed to it.
func (r *run) gone() error {
	if r.session.ctx.Err() != nil {
		return errSessionOver
	}
	return engines.NotFoundf("no handler for route %q. route entry not found.", r.call.Path)
}

// realize makes what an announced lease stands for, and lets the lease live; or takes it back.
func (r *run) realize(
	ctx context.Context, announced leases.Lease, produce func(context.Context) (engines.Made, error),
) (made engines.Made, l leases.Lease, err error) {
	kept := false
	defer func() { // after a panic as well
		if !kept {
			r.session.leases.Withdraw(ctx, announced)
		}
	}()
	if !r.session.mounts.Serves(r.mount) {
		return made, l, r.gone() // whoever removed it may have looked for leases before this one
	}
	if made, err = produce(ctx); err != nil {
		return made, l, err
	}
	if l, err = r.session.leases.Confirm(ctx, announced, made.Internal); errors.Is(err, leases.ErrExpired) {
		return made, l, errBadToken
	}
	kept = err == nil
	return made, l, err
}

// register has a lease stored that ends with the token that asked for it.
func (r *run) register(
	ctx context.Context, s leases.Secret, store func(context.Context, leases.Secret) (leases.Lease, error),
) (l leases.Lease, err error) {
	switch {
	case r.entry == nil:
		return l, fmt.Errorf("core: a leased secret for nobody at %s", r.call.Path)
	case r.entry.Spent():
		return l, errSpent
	case r.entry.Caller.Batch:
		s.Token = r.entry.Parent
		if ends := r.entry.Life.Expires; !ends.IsZero() {
			s.Until = &ends
		}
	default:
		s.Token = r.entry.ID
	}
	if s.Token == "" {
		return store(ctx, s)
	}
	err = r.session.tokens.WhileAlive(ctx, s.Token, func() error {
		l, err = store(ctx, s)
		return err
	})
	if errors.Is(err, token.ErrBadToken) {
		err = errBadToken
	}
	return l, err
}

// lifeOf applies a mount's limits to what an engine wants a secret to live.
func lifeOf(s engines.Secret, mount engines.TTLs) (ttl, maxTTL time.Duration, warnings []string) {
	maxTTL = mount.MaxTTL()
	if s.MaxTTL > 0 {
		maxTTL = min(maxTTL, s.MaxTTL)
	}
	if ttl = s.TTL; ttl <= 0 {
		ttl = mount.DefaultTTL()
	}
	if ttl > maxTTL {
		if s.TTL > 0 {
			warnings = append(warnings, token.Capped("TTL", ttl, maxTTL))
		}
		ttl = maxTTL
	}
	return ttl, maxTTL, warnings
}

// leased takes leases back to the engines that issued the secrets.
type leased struct{ mounts *mounts.Table }

var _ leases.Secrets = leased{}

// errNoIssuer is returned for a lease at a path where nothing that issues leases is mounted.
var errNoIssuer = errors.New("core: no engine to take the secret back to")

func (s leased) issuer(l leases.Lease) (*mounts.Mounted, engines.Leaser, engines.Lease, error) {
	m, rest, ok := s.mounts.Issuer(l.Secret.Path)
	if ok {
		if leaser, ok := m.Leaser(); ok {
			return m, leaser, seenBy(l, rest), nil
		}
	}
	return nil, nil, engines.Lease{}, fmt.Errorf("%w: %s", errNoIssuer, l.Secret.Path)
}

// seenBy is the lease as its engine sees it.
func seenBy(l leases.Lease, path string) engines.Lease {
	return engines.Lease{ID: l.ID, Path: path, Issued: l.Issued, Expires: l.Expires, Internal: l.Secret.Internal}
}

// RevokeSecret implements leases.Secrets.
func (s leased) RevokeSecret(ctx context.Context, l leases.Lease) error {
	_, leaser, seen, err := s.issuer(l)
	if err != nil {
		return err
	}
	return leaser.RevokeSecret(ctx, seen)
}

// RenewSecret implements leases.Secrets. What the engine grants is cut at the mount's limits as they are now.
func (s leased) RenewSecret(ctx context.Context, l leases.Lease, increment time.Duration) (engines.LeaseGrant, error) {
	m, leaser, seen, err := s.issuer(l)
	if err != nil {
		return engines.LeaseGrant{}, err
	}
	r, err := leaser.RenewSecret(ctx, seen, increment)
	if err != nil {
		return engines.LeaseGrant{}, err
	}
	if r.TTL <= 0 {
		r.TTL = increment
	}
	if r.MaxTTL <= 0 {
		r.MaxTTL = l.Secret.MaxTTL
	}
	ttl, maxTTL, warnings := lifeOf(engines.Secret{TTL: r.TTL, MaxTTL: r.MaxTTL}, m.TTLs())
	r.TTL, r.MaxTTL, r.Warnings = ttl, maxTTL, append(r.Warnings, warnings...)
	return r, nil
}

// needsLease reports whether an answer holds a secret that was just issued.
func needsLease(resp *engines.Response) bool {
	return resp.Secret != nil && !resp.Secret.Unleased && resp.Secret.LeaseID == ""
}
