package token

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"coffer/engines"
)

// limits is what decides how long a token lives. Durations of 0 set nothing.
type limits struct {
	mount engines.TTLs
	// requested is the life that was asked for.
	requested time.Duration
	// period makes the token periodic: every grant is the period.
	period time.Duration
	// explicit bounds the life whatever the mount says, of periodic tokens too; login is the auth
	// method's limit.
	explicit, login time.Duration
	// networks bind the token besides its own; none for everywhere.
	networks []netip.Prefix
	// start is when the token was made; zero for now.
	start time.Time
}

// grant is how long a token may live from now on.
type grant struct {
	// ttl is what the client is told, in whole seconds when it is the rest of a bounded life.
	ttl     time.Duration
	expires time.Time
}

// grant decides, and warns where it gives less than was asked for. The bounds count from the token's
// beginning; expires never lies past them.
func (l limits) grant(now time.Time) (g grant, warnings []string, err error) {
	what, ttl := "TTL", l.requested
	bound := l.mount.MaxTTL()
	var end time.Time
	if l.period > 0 {
		what, ttl = "period", l.period
		if l.login > 0 {
			bound = min(bound, l.login) // of each grant, not of the whole life
		}
		if l.explicit > 0 {
			end = l.begin(now).Add(l.explicit)
		}
	} else {
		if ttl == 0 {
			ttl = l.mount.DefaultTTL()
		}
		for _, m := range [...]time.Duration{l.explicit, l.login} {
			if m > 0 {
				bound = min(bound, m)
			}
		}
		end = l.begin(now).Add(bound)
	}
	if !end.IsZero() {
		rest := end.Sub(now)
		if rest <= 0 {
			return g, nil, engines.Invalid("past the max TTL, cannot renew")
		}
		if !l.start.IsZero() {
			// Vault counts the rest of the life from the beginning of the present second.
			rest = max(end.Sub(now.Truncate(time.Second)).Truncate(time.Second), min(rest, time.Second))
		}
		bound = min(bound, rest)
	}
	if ttl > bound {
		warnings = append(warnings, Capped(what, ttl, bound))
		ttl = bound
	}
	g = grant{ttl: ttl, expires: now.Add(ttl)}
	if !end.IsZero() && g.expires.After(end) {
		g.expires = end
	}
	return g, warnings, nil
}

func (l limits) begin(now time.Time) time.Time {
	if l.start.IsZero() {
		return now
	}
	return l.start
}

// Capped is Vault's warning of a life ("TTL" or "period") that was cut at a limit.
func Capped(what string, wanted, limit time.Duration) string {
	return fmt.Sprintf("%s of %q exceeded the effective max_ttl of %q; %s value is capped accordingly",
		what, brief(wanted), brief(limit), what)
}

// brief writes a duration without the zero units at its end: "768h", "1h30m".
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
