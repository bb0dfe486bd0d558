package policy

import (
	"strings"
	"time"
)

// Capabilities returns what the policies permit on a path, as sys/capabilities answers: ["root"],
// ["deny"], or the names in alphabetical order. A path that ends in "/" is taken for a folder. The path is
// canonical; s are the other ways of writing it.
func (a *ACL) Capabilities(path string, s Spellings, now time.Time) []string {
	if a.root != nil {
		return []string{RootName}
	}
	path = strings.TrimPrefix(path, "/")
	capability := Read
	if strings.HasSuffix(path, "/") {
		capability = List
	}
	e := a.deciding(&Request{Capability: capability, Path: path, Spellings: s})
	if e == nil {
		return Deny.Names()
	}
	caps := e.capsAt(now)
	for _, o := range a.others {
		if with := o.deciding(&Request{Capability: capability, Path: path, Spellings: s}); with != nil {
			caps &= joined(e, with).capsAt(now)
		}
	}
	return capsOrDeny(caps).Names()
}

// capsOrDeny shows a rule that grants nothing as Deny.
func capsOrDeny(caps Capability) Capability {
	if caps == 0 {
		return Deny
	}
	return caps
}

// Visible reports whether anything but a deny is granted on a mount's path or below it. It decides which
// mounts sys/internal/ui/mounts shows.
func (a *ACL) Visible(prefix string, now time.Time) bool {
	if a.root != nil {
		return true
	}
	if !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	if e := a.findList(prefix, &Spellings{}); e != nil && e.capsAt(now)&^Deny != 0 {
		return true
	}
	// The best of the patterns that match everything below the prefix hides all lesser ones.
	var cover *entry
	for _, e := range a.entries {
		if e.covers(prefix) {
			cover = better(cover, e)
		}
	}
	for _, e := range a.entries {
		hidden := cover != nil && (e.glob || e.plus > 0) && cover.compare(&e.pattern) > 0
		if !hidden && e.touches(prefix) && e.capsAt(now)&^Deny != 0 {
			return true
		}
	}
	return false
}

// covers reports whether the pattern matches every path below prefix, which ends in "/".
func (p *pattern) covers(prefix string) bool {
	if !p.glob {
		return false
	}
	rest, fixed, ok := p.cutSegments(prefix)
	return ok && fixed != "" && strings.HasPrefix(rest, strings.TrimSuffix(fixed, "*")) && !strings.Contains(fixed, "/")
}

// touches reports whether the pattern matches the prefix, which ends in "/", its name without the slash,
// or some path below it.
func (p *pattern) touches(prefix string) bool {
	if p.covers(prefix) {
		return true
	}
	rest, _, ok := p.cutSegments(prefix)
	return ok && rest == ""
}

// cutSegments takes away the segments of prefix one by one as long as the pattern matches them literally
// or with "+", and returns what is left of both. When the pattern comes to its last segment, that of a
// "*" is left. It is not ok when the pattern does not match.
func (p *pattern) cutSegments(prefix string) (rest, pattern string, ok bool) {
	rest, pattern = prefix, p.path
	for rest != "" {
		want, below, more := strings.Cut(pattern, "/")
		if !more && p.glob {
			return rest, pattern, strings.HasPrefix(rest, strings.TrimSuffix(pattern, "*"))
		}
		segment, next, _ := strings.Cut(rest, "/")
		if want != "+" && want != segment {
			return rest, pattern, false
		}
		rest, pattern = next, below
		if !more {
			return rest, pattern, rest == ""
		}
	}
	return rest, pattern, true
}

// SummarySize is about how many bytes Summary takes.
func (a *ACL) SummarySize() int {
	const perRule = 512
	size := perRule * len(a.entries)
	for _, e := range a.entries {
		size += len(e.path)
	}
	return size
}

// Summary returns the data of sys/internal/ui/resultant-acl: every rule's path with what it grants at
// now. The maps are the caller's; the lists and values in them must not be changed.
func (a *ACL) Summary(now time.Time) map[string]any {
	data := map[string]any{"chroot_namespace": "", "root": a.root != nil}
	if a.root != nil {
		return data
	}
	exact, glob := make(map[string]any), make(map[string]any)
	for _, e := range a.entries {
		switch {
		case e.plus > 0:
			glob[e.path] = e.summary(now)
		case e.glob:
			glob[strings.TrimSuffix(e.path, "*")] = e.summary(now)
		default:
			exact[e.path] = e.summary(now)
		}
	}
	data["exact_paths"], data["glob_paths"] = exact, glob
	return data
}

func (e *entry) summary(now time.Time) map[string]any {
	caps := capsOrDeny(e.capsAt(now))
	data := map[string]any{"capabilities": summaryNames(caps)}
	if caps.Has(Deny) {
		return data
	}
	sum := grant{}
	sum.join(&e.always)
	for i := range e.timed {
		if t := &e.timed[i]; t.rule.activeAt(now) {
			sum.join(&t.grant)
		}
	}
	if len(sum.allowed) > 0 {
		data["allowed_parameters"] = sum.allowed
	}
	if len(sum.denied) > 0 {
		data["denied_parameters"] = sum.denied
	}
	if len(sum.required) > 0 {
		data["required_parameters"] = sum.required
	}
	if sum.minWrap > 0 {
		data["min_wrapping_ttl"] = int64(sum.minWrap / time.Second)
	}
	if sum.maxWrap > 0 {
		data["max_wrapping_ttl"] = int64(sum.maxWrap / time.Second)
	}
	return data
}

// join adds the conditions of another grant.
func (g *grant) join(o *grant) {
	g.add("", &Rule{Capabilities: o.caps, Allowed: o.allowed, Denied: o.denied, Required: o.required,
		MinWrappingTTL: o.minWrap, MaxWrappingTTL: o.maxWrap})
}

// summaryNames returns the names in the order of sys/internal/ui/resultant-acl, which is alphabetical
// only for the older ones.
func summaryNames(caps Capability) []string {
	order := [...]Capability{Create, Deny, Delete, List, Read, Sudo, Update, Patch, Subscribe, Recover}
	names := make([]string, 0, len(order))
	for _, c := range order {
		if caps.Has(c) {
			names = append(names, c.String())
		}
	}
	return names
}
