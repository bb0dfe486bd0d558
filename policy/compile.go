package policy

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// ACL is what a set of policies permits. It is immutable and safe for concurrent use.
type ACL struct {
	// root holds the name "root" when that policy is among the compiled ones.
	root []string
	// exact holds the rules whose path has no wildcard.
	exact map[string]*entry
	// globs holds those that end in "*" and have no "+" segment.
	globs tree
	// segments holds those with a "+" segment.
	segments segmentNode
	// slashed holds those of them that end in "/", without it.
	slashed segmentNode
	// mixed holds those with upper-case letters, which Spellings may match in lower case.
	mixed []*entry
	// entries are all of them, sorted by path.
	entries []*entry
	// others are ACLs any of which may have to be added; see Restricted. Nil for nearly every ACL.
	others []*ACL
}

// entry is the sum of all rules on one path.
type entry struct {
	pattern
	// always is what holds at every time; timed what holds at times.
	always grant
	timed  []timedGrant
}

// denies reports whether a rule on the path denies. A deny holds always.
func (e *entry) denies() bool { return e.always.caps.Has(Deny) }

// capsAt returns what the path grants at now, or Deny, or nothing.
func (e *entry) capsAt(now time.Time) Capability {
	caps := e.always.caps
	if caps.Has(Deny) {
		return Deny
	}
	for i := range e.timed {
		if t := &e.timed[i]; t.rule.activeAt(now) {
			caps |= t.caps
		}
	}
	return caps
}

// grant is what one rule, or several together, permit on a path and on which conditions.
type grant struct {
	caps     Capability
	allowed  map[string][]any
	denied   map[string][]any
	required []string
	minWrap  time.Duration
	maxWrap  time.Duration
	sources  []source
}

// source is a policy that contributed to a grant.
type source struct {
	caps Capability
	// name holds the policy's name alone, so that a decision with one source need not build a list.
	name []string
}

// timedGrant is the grant of one rule with time windows or an expiration.
type timedGrant struct {
	grant
	rule *Rule
}

// conditional reports whether parameters have to be looked at.
func (g *grant) conditional() bool {
	return len(g.allowed) > 0 || len(g.denied) > 0 || len(g.required) > 0
}

// Compile makes one ACL of policies. Where several have a rule on the same path the rules add up: a deny
// wins, parameter rules of one restrict the others too, and the shorter wrapping times count. A policy
// named "root" makes the ACL of a root token. Rules with a {{selector}} must have been expanded: as they
// stand they grant nothing, and a deny denies everything below the part in front of the selector.
func Compile(policies ...*Policy) *ACL {
	a := &ACL{exact: make(map[string]*entry)}
	byPath := make(map[string]*entry)
	for _, p := range policies {
		if p.Name == RootName {
			a.root = []string{RootName}
		}
		for i := range p.Rules {
			addRule(byPath, p.Name, &p.Rules[i])
		}
	}
	a.entries = make([]*entry, 0, len(byPath))
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		e := byPath[path]
		a.entries = append(a.entries, e)
		if hasUpper(path) {
			a.mixed = append(a.mixed, e)
		}
		switch {
		case e.plus > 0:
			a.segments.insert(e.path, e)
			if name, ok := strings.CutSuffix(path, "/"); ok {
				a.slashed.insert(name, e)
			}
		case e.glob:
			a.globs.insert(strings.TrimSuffix(path, "*"), e)
		default:
			a.exact[path] = e
		}
	}
	return a
}

func addRule(byPath map[string]*entry, name string, rule *Rule) {
	path := rule.Path
	if rule.Templated {
		if !rule.Capabilities.Has(Deny) {
			return
		}
		path = fixedPart(path) + "*"
	}
	e, ok := byPath[path]
	if !ok {
		e = &entry{pattern: newPattern(path)}
		byPath[path] = e
	}
	if rule.timed() {
		t := timedGrant{rule: rule}
		t.add(name, rule)
		e.timed = append(e.timed, t)
		return
	}
	e.always.add(name, rule)
}

func (g *grant) add(name string, rule *Rule) {
	if g.caps.Has(Deny) {
		return
	}
	if rule.Capabilities.Has(Deny) {
		*g = grant{caps: Deny, sources: []source{{caps: Deny, name: []string{name}}}}
		return
	}
	g.caps |= rule.Capabilities
	g.allowed = mergeParams(g.allowed, rule.Allowed)
	g.denied = mergeParams(g.denied, rule.Denied)
	for _, key := range rule.Required {
		if !slices.Contains(g.required, key) {
			g.required = append(g.required, key)
		}
	}
	g.minWrap = shorter(g.minWrap, rule.MinWrappingTTL)
	g.maxWrap = shorter(g.maxWrap, rule.MaxWrappingTTL)
	g.addSource(name, rule.Capabilities)
}

func (g *grant) addSource(name string, caps Capability) {
	for i := range g.sources {
		if g.sources[i].name[0] == name {
			g.sources[i].caps |= caps
			return
		}
	}
	g.sources = append(g.sources, source{caps: caps, name: []string{name}})
}

// mergeParams adds the keys and values of more to those of into, which may be nil.
func mergeParams(into, more map[string][]any) map[string][]any {
	if into == nil && len(more) > 0 {
		into = make(map[string][]any, len(more))
	}
	for key, values := range more {
		mergeKey(into, key, values)
	}
	return into
}

// shorter returns the smaller of two durations where zero stands for none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
