package policy

import "slices"

// Restricted returns an ACL that permits what a permits whichever of others is added to its policies. A policy that is
// added can take away: by a deny, by conditions on a path, and by a rule for a narrower path, which decides then.
// It is for a token of which nobody knows whether it has these policies as well. A root ACL stays as it is.
func (a *ACL) Restricted(others []*ACL) *ACL {
	if a.root != nil || len(others) == 0 {
		return a
	}
	restricted := *a
	restricted.others = others
	return &restricted
}

// decideRestricted is Decide for an ACL with others; e is the rule that decides without them.
func (a *ACL) decideRestricted(e *entry, r *Request) Decision {
	d := e.decide(r)
	for _, o := range a.others {
		with := o.deciding(r)
		if with == nil {
			continue
		}
		switch restricted := joined(e, with).decide(r); {
		case d.Allowed && !restricted.Allowed:
			return Decision{Reason: "a policy that may be the token's: " + restricted.Reason, Rule: restricted.Rule}
		case !restricted.Sudo:
			d.Sudo = false
		}
	}
	return d
}

// joined is the rule that decides when the policies of two ACLs are those of one: the one that counts more, or both
// where they are for the same path.
func joined(e, other *entry) *entry {
	switch c := e.compare(&other.pattern); {
	case c > 0:
		return e
	case c < 0:
		return other
	}
	both := &entry{pattern: e.pattern, timed: slices.Concat(e.timed, other.timed)}
	both.always.join(&e.always)
	both.always.join(&other.always)
	return both
}
