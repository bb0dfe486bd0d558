package policy

import (
	"fmt"
	"strings"
	"time"
)

// Request is what a policy decision is about.
type Request struct {
	// Capability is what the operation needs: exactly one.
	Capability Capability
	// Path is the canonical path from the root, without a leading "/"; that of a folder to be listed may
	// end in "/".
	Path string
	// Spellings are the other ways of writing Path; the zero value is for none.
	Spellings Spellings
	// Params are the request's parameters. They count for Create, Read, Update and Patch. Numbers are
	// json.Number.
	Params map[string]any
	// Schema tells how the engine reads Params; nil when it takes them as they are.
	Schema Schema
	// WrapTTL is the life of the wrapping token that the client asked for; 0 for none.
	WrapTTL time.Duration
	// Now is the time of the decision. Without it rules with time windows or an expiration grant nothing.
	Now time.Time
}

// Decision is the answer to a Request. The zero value refuses.
type Decision struct {
	Allowed bool
	// Sudo is set when the deciding rule grants sudo too. Paths that need root privileges ask for it.
	Sudo bool
	// Root is set when the root policy decided.
	Root bool
	// Reason says why a request was refused. It is for the audit and the server's log, not for the client.
	Reason string
	// Rule is the path of the rule that decided; "" for none.
	Rule string
	// Policies are the names of the policies that granted. The list must not be changed.
	Policies []string
}

// Decide tells whether the request may be done. What no rule grants is refused.
func (a *ACL) Decide(r Request) Decision {
	if a.root != nil {
		return Decision{Allowed: true, Sudo: true, Root: true, Policies: a.root}
	}
	e := a.deciding(&r)
	if e == nil {
		return Decision{Reason: "no rule matches the path"}
	}
	if a.others != nil {
		return a.decideRestricted(e, &r)
	}
	return e.decide(&r)
}

// deciding returns the rule that decides about a request, or nil.
func (a *ACL) deciding(r *Request) *entry {
	if asked := r.Spellings.Asked; asked != "" {
		if e := a.at(r.Capability, asked, &Spellings{}); e != nil && e.denies() {
			return e
		}
	}
	return a.at(r.Capability, r.Path, &r.Spellings)
}

// at returns the rule that decides about a path, or nil.
func (a *ACL) at(c Capability, path string, s *Spellings) *entry {
	if c != List {
		return a.find(path, s)
	}
	if path != "" && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	return a.findList(path, s)
}

// maxActive is how many grants of one path are looked at without an allocation.
const maxActive = 8

func (e *entry) decide(r *Request) Decision {
	d := Decision{Rule: e.path}
	if e.denies() {
		d.Reason = fmt.Sprintf("rule %q denies", e.path)
		return d
	}
	var buffer [maxActive]*grant
	active := append(buffer[:0], &e.always)
	caps := e.always.caps
	for i := range e.timed {
		if t := &e.timed[i]; t.rule.activeAt(r.Now) {
			active = append(active, &t.grant)
			caps |= t.caps
		}
	}
	d.Sudo = caps.Has(Sudo)
	if r.Capability == 0 || !caps.Has(r.Capability) {
		d.Reason = e.whyNot(r)
		return d
	}
	if why := checkWrapping(active, r.WrapTTL); why != "" {
		d.Reason = fmt.Sprintf("rule %q: %s", e.path, why)
		return d
	}
	if r.Capability&(Create|Read|Update|Patch) != 0 && conditional(active) {
		if why := checkParams(active, r.Params, r.Schema); why != "" {
			d.Reason = fmt.Sprintf("rule %q: %s", e.path, why)
			return d
		}
	}
	d.Allowed = true
	d.Policies = granting(active, r.Capability)
	return d
}

// whyNot tells a rule that never grants the capability from one that does not grant it now.
func (e *entry) whyNot(r *Request) string {
	for i := range e.timed {
		t := &e.timed[i]
		if r.Capability == 0 || !t.caps.Has(r.Capability) {
			continue
		}
		name := t.sources[0].name[0]
		switch {
		case r.Now.IsZero():
			return fmt.Sprintf("rule %q of policy %q depends on the time, which is not known", e.path, name)
		case !t.rule.Expiration.IsZero() && !r.Now.Before(t.rule.Expiration):
			return fmt.Sprintf("rule %q of policy %q expired at %s",
				e.path, name, t.rule.Expiration.UTC().Format(time.RFC3339))
		default:
			return fmt.Sprintf("rule %q of policy %q grants nothing outside %s", e.path, name, windows(t.rule.Hours))
		}
	}
	return fmt.Sprintf("rule %q does not grant %q", e.path, r.Capability)
}

func windows(hours []Window) string {
	texts := make([]string, len(hours))
	for i := range hours {
		texts[i] = hours[i].text
	}
	return strings.Join(texts, ", ")
}

func conditional(active []*grant) bool {
	for _, g := range active {
		if g.conditional() {
			return true
		}
	}
	return false
}

// checkWrapping returns why the life of the wrapping token is refused, or "". An unwrapped request (0) is
// refused by either bound.
func checkWrapping(active []*grant, ttl time.Duration) string {
	var shortest, longest time.Duration
	for _, g := range active {
		shortest, longest = shorter(shortest, g.minWrap), shorter(longest, g.maxWrap)
	}
	switch {
	case shortest == 0 && longest == 0:
		return ""
	case ttl <= 0:
		return "response wrapping is required"
	case shortest > 0 && ttl < shortest:
		return "the wrapping time is too short"
	case longest > 0 && ttl > longest:
		return "the wrapping time is too long"
	default:
		return ""
	}
}

// granting names the policies that granted a capability.
func granting(active []*grant, want Capability) []string {
	var names []string
	for _, g := range active {
		for i := range g.sources {
			s := &g.sources[i]
			switch {
			case !s.caps.Has(want):
			case names == nil:
				names = s.name[:1:1]
			default:
				names = append(names, s.name[0])
			}
		}
	}
	return names
}
