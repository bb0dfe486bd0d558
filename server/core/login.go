package core

import (
	"context"
	"errors"
	"strconv"
	"time"

	"coffer/engines"
	"coffer/server/lockout"
	"coffer/server/mounts"
)

// errNoAlias is the answer to a login that does not say whose it is.
var errNoAlias = engines.Failed("failed to determine alias name from login request")

// login runs the handler of a login unless the user is locked out, and counts how it ended.
func (r *run) login(ctx context.Context) (*engines.Response, error) {
	s := r.session
	policy := s.lockoutAt(&r.mount.Entry)
	if policy.Disabled {
		return r.match.Call(ctx, &r.request)
	}
	name, err := r.match.LoginAs(&r.request)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, errNoAlias
	}
	user := lockout.NewUser(r.mount.Entry.Accessor, name)
	if s.lockouts.Locked(user, policy) {
		return nil, r.refuseLocked()
	}
	resp, err := r.match.Call(ctx, &r.request)
	how, counts := outcome(resp, err)
	if !counts {
		return resp, err
	}
	locked, settleErr := s.lockouts.Settle(ctx, user, policy, how)
	if settleErr != nil {
		s.logger.Error("a lockout could not be stored", "request_id", r.call.ID, "error", settleErr)
	}
	if locked {
		if resp != nil && resp.Login != nil && resp.Login.Release != nil {
			resp.Login.Release()
		}
		return nil, r.refuseLocked()
	}
	return resp, err
}

func (r *run) refuseLocked() error {
	r.session.logger.Warn("login attempts exceeded, user is locked out", "request_id", r.call.ID,
		"mount", r.mount.Entry.Path)
	return errNoToken
}

// outcome is how a login ended, if it says something of the credentials.
func outcome(resp *engines.Response, err error) (how lockout.Outcome, counts bool) {
	switch {
	case errors.Is(err, engines.ErrNoUser):
		return lockout.FailedUnknown, true
	case errors.Is(err, engines.ErrCredentials):
		return lockout.Failed, true
	}
	return lockout.Succeeded, err == nil && resp != nil && resp.Login != nil
}

// lockoutAt is when users are locked out at a mount: by its tuning, completed by the configuration.
func (s *session) lockoutAt(e *mounts.Entry) lockout.Policy {
	if s.cfg.Lockout == nil {
		return lockout.Policy{Disabled: true}
	}
	p := s.cfg.Lockout(e.Type)
	tuned := e.Tuning.UserLockout
	if len(tuned) == 0 {
		return p
	}
	// What is stored was checked when the mount was tuned; what cannot be read changes nothing.
	if n, err := strconv.ParseUint(tuned[mounts.LockoutThreshold], 10, 64); err == nil && n > 0 {
		p.Threshold = n
	}
	for name, to := range map[string]*time.Duration{
		mounts.LockoutDuration: &p.Duration, mounts.LockoutCounterReset: &p.CounterReset,
	} {
		if n, err := strconv.ParseInt(tuned[name], 10, 64); err == nil && n > 0 {
			if d, err := engines.Seconds(n); err == nil {
				*to = d
			}
		}
	}
	p.Disabled = p.Disabled || tuned[mounts.LockoutDisable] == "true" && !p.Forced
	return p
}
