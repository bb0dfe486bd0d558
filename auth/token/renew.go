package token

import (
	"context"
	"errors"
	"time"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage/keylock"
)

// errNoNetwork refuses the renewal of a token that could be used nowhere.
var errNoNetwork = engines.Invalid("the role no longer allows the networks that the token is bound to, not renewing")

var errNoToken = engines.Invalid("token not found")

// renew extends a token by what is granted of the increment (0: what it was granted last). mount are the
// limits of auth/token, client is where the wish came from.
func (s *Store) renew(
	ctx context.Context, e *Entry, increment time.Duration, mount engines.TTLs, client engines.Client,
) (*Entry, []string, error) {
	switch {
	case e.Caller.Batch:
		return nil, nil, engines.Invalid("batch tokens cannot be renewed")
	case e.Unleased:
		return nil, nil, engines.Invalid("invalid lease ID")
	case !e.Life.Renewable || e.Life.Expires.IsZero():
		return nil, nil, engines.Invalid("lease is not renewable")
	}
	l, err := s.renewLimits(ctx, e, mount, client)
	if err != nil {
		return nil, nil, err
	}
	if l.requested == 0 {
		l.requested = e.Life.TTL
	}
	if increment > 0 {
		l.requested = increment
	}
	var warnings []string
	renewed, err := keylock.Write(ctx, s.locks, e.ID, func(ctx context.Context) (renewed *Entry, err error) {
		renewed, warnings, err = s.renewLocked(ctx, e, l)
		return renewed, err
	})
	return renewed, warnings, err
}

func (s *Store) renewLocked(ctx context.Context, e *Entry, l limits) (*Entry, []string, error) {
	current, err := s.readLocked(ctx, e.ID)
	if errors.Is(err, ErrBadToken) {
		return nil, nil, errNoToken
	}
	if err != nil {
		return nil, nil, err
	}
	now := s.now()
	if current.ended(now) || current.NumUses == spent {
		return nil, nil, errNoToken
	}
	g, warnings, err := l.grant(now)
	if err != nil {
		return nil, nil, err
	}
	renewed := *current.withToken(e.Caller.Token)
	renewed.Life.Renewed, renewed.Life.Expires, renewed.Life.TTL = now, g.expires, g.ttl
	// A role that was tightened since binds the token from now on.
	var ok bool
	if renewed.BoundCIDRs, ok = auth.Intersect(current.BoundCIDRs, l.networks); !ok {
		return nil, nil, errNoNetwork
	}
	renewed.complete()
	if err := s.putLocked(ctx, &renewed); err != nil {
		return nil, nil, err
	}
	s.watch(&renewed)
	return &renewed, warnings, nil
}

// renewLimits is what bounds a token's renewal: its role's or its auth method's settings as they are now,
// or what it was made with.
func (s *Store) renewLimits(
	ctx context.Context, e *Entry, mount engines.TTLs, client engines.Client,
) (limits, error) {
	l := limits{
		mount: mount, period: e.Life.Period, explicit: e.Life.ExplicitMax, login: e.Life.Max, start: e.Life.Created,
	}
	switch {
	case e.Role != "":
		r, err := s.role(ctx, e.Role)
		if errors.Is(err, errNoRole) {
			return l, engines.Failed("%s", engines.Numbered("failed to renew entry: original token role \""+e.Role+
				"\" could not be found, not renewing"))
		}
		if err != nil {
			return l, err
		}
		l.networks = r.Token.CIDRs
		l.period, l.explicit = r.Token.Period, lesser(r.Token.ExplicitMax, l.explicit)
	case s.cfg.Methods != nil && !madeHere(e.Caller.Path):
		login, ttls, err := s.cfg.Methods.RenewLogin(ctx,
			&engines.Renewal{Holder: e.Caller, Internal: e.Internal, Client: client})
		if err != nil {
			return l, notRenewing(err)
		}
		l = loginLimits(login, ttls, e.Life.Created)
		l.networks = login.BoundCIDRs
		l.explicit = e.Life.ExplicitMax // what a token was made with bounds it for ever
	}
	return l, nil
}

// notRenewing puts a method's reason not to renew into Vault's words.
func notRenewing(err error) error {
	var public *engines.Error
	if errors.As(err, &public) && errors.Is(err, engines.ErrFailed) {
		return engines.Failed("%s", engines.Numbered("failed to renew entry: "+public.Message))
	}
	return err
}
