package token

import (
	"errors"
	"strings"
	"testing"

	"coffer/auth"
	"coffer/engines"
)

// A role that is tightened binds its tokens from their next renewal on, and one that is loosened gives them nothing.
func TestRenewalBindsToTheNetworksOfTheRole(t *testing.T) {
	f := newFixture(t)
	f.write(f.root, "roles/r", params{"token_bound_cidrs": "10.0.0.0/8,11.0.0.0/8"})
	e := f.makeAt(f.root, "create/r", params{"policies": []any{"p"}})
	for _, tc := range []struct{ role, want string }{
		{"10.1.0.0/16,11.0.0.0/8", "10.1.0.0/16 11.0.0.0/8"}, {"10.0.0.0/8", "10.1.0.0/16"}, {"", "10.1.0.0/16"},
	} {
		f.write(f.root, "roles/r", params{"token_bound_cidrs": tc.role})
		f.write(f.root, "renew", params{"token": e.Caller.Token.Reveal()})
		if got := strings.Join(auth.CIDRTexts(f.entry(e.Caller.Token).BoundCIDRs), " "); got != tc.want {
			t.Errorf("role bound to %q: the token to %q, want %q", tc.role, got, tc.want)
		}
	}
	f.write(f.root, "roles/r", params{"token_bound_cidrs": "12.0.0.0/8"})
	_, err := f.call(f.root, engines.Update, "renew", params{"token": e.Caller.Token.Reveal()})
	if !errors.Is(err, errNoNetwork) {
		t.Errorf("nothing in common: %v", err)
	}
}
