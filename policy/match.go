package policy

import (
	"cmp"
	"strings"
)

// pattern is a rule's path with what decides which of several matching paths counts.
type pattern struct {
	path string
	// first is the position of the first wildcard; the length of a path without one.
	first int
	// plus counts the segments that are "+".
	plus int
	// glob is set when the path ends in "*".
	glob bool
}

func newPattern(path string) pattern {
	p := pattern{path: path, first: len(path), glob: strings.HasSuffix(path, "*")}
	if p.glob {
		p.first = len(path) - 1
	}
	start := 0
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "+" {
			p.plus++
			p.first = min(p.first, start)
		}
		start += len(segment) + 1
	}
	return p
}

// compare is above zero when p counts more than o: its first wildcard is further right, it has no "*" at
// the end, it has fewer "+", it is longer, it is greater. This is Vault's order
// (developer.hashicorp.com/vault/docs/concepts/policies, "Priority matching").
func (p *pattern) compare(o *pattern) int {
	return cmp.Or(
		cmp.Compare(p.first, o.first),
		compareBool(o.glob, p.glob),
		cmp.Compare(o.plus, p.plus),
		cmp.Compare(len(p.path), len(o.path)),
		cmp.Compare(p.path, o.path),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// better returns the entry that counts more; either may be nil.
func better(a, b *entry) *entry {
	if a == nil || (b != nil && b.compare(&a.pattern) > 0) {
		return b
	}
	return a
}

// find returns the entry that decides about a path, or nil.
func (a *ACL) find(path string, s *Spellings) *entry {
	found := a.exactly(path, s)
	if s.Slash {
		found = both(found, a.exactly(path+"/", s))
	}
	if found != nil {
		return found
	}
	found = a.patternOf(path, s)
	if !s.Slash || found != nil && found.denies() {
		return found
	}
	// Of the rules with wildcards those that end in "/" mean the same path. Those that end in "/+" or "/*" mean what is
	// below it.
	switch e := a.slashedPatternOf(path, s); {
	case e == nil:
		return found
	case e.denies():
		return e
	case found != nil && sameButSlash(found, e):
		return both(found, e)
	default:
		return better(found, e)
	}
}

// findList returns the entry that decides about listing a folder, whose path ends in "/". As in Vault
// rules on the folder's name with and without the slash count: exact ones first, then patterns that match
// the name. Unlike in Vault a pattern that denies the folder's content ("m/r/*") denies its listing too.
func (a *ACL) findList(path string, s *Spellings) *entry {
	if e := a.exactly(path, s); e != nil {
		return e
	}
	name := strings.TrimSuffix(path, "/")
	if e := a.exactly(name, s); e != nil {
		return e
	}
	content := a.patternOf(path, s)
	if content != nil && content.denies() {
		return content
	}
	if e := a.patternOf(name, s); e != nil {
		return e
	}
	return content
}

// tree is a radix tree over the fixed parts of paths that end in "*".
type tree struct {
	label string
	entry *entry
	// heads are the first bytes of the labels of next.
	heads []byte
	next  []*tree
}

// insert adds an entry whose path begins with key. It is only called while an ACL is built.
func (t *tree) insert(key string, e *entry) {
	for key != "" {
		i := t.child(key[0])
		if i < 0 {
			t.heads = append(t.heads, key[0])
			t.next = append(t.next, &tree{label: key, entry: e})
			return
		}
		child := t.next[i]
		n := commonPrefix(child.label, key)
		if n < len(child.label) {
			lower := *child
			lower.label = child.label[n:]
			*child = tree{label: child.label[:n], heads: []byte{lower.label[0]}, next: []*tree{&lower}}
		}
		t, key = child, key[n:]
	}
	t.entry = e
}

// longest returns the entry with the longest key that begins path, or nil.
func (t *tree) longest(path string) *entry {
	best := t.entry
	for path != "" {
		i := t.child(path[0])
		if i < 0 || !strings.HasPrefix(path, t.next[i].label) {
			break
		}
		t = t.next[i]
		path = path[len(t.label):]
		if t.entry != nil {
			best = t.entry
		}
	}
	return best
}

func (t *tree) child(head byte) int {
	for i, b := range t.heads {
		if b == head {
			return i
		}
	}
	return -1
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// segmentNode is a tree over the segments of paths with a "+".
type segmentNode struct {
	literal map[string]*segmentNode
	plus    *segmentNode
	// end is the entry whose path ends here.
	end *entry
	// globs are the last segments of paths that end in "*", without it.
	globs tree
}

// insert adds an entry under its path, or under another one that means the same.
func (n *segmentNode) insert(path string, e *entry) {
	segments := strings.Split(path, "/")
	last := len(segments) - 1
	for i, segment := range segments {
		if i == last && e.glob {
			n.globs.insert(strings.TrimSuffix(segment, "*"), e)
			return
		}
		n = n.under(segment)
	}
	n.end = e
}

func (n *segmentNode) under(segment string) *segmentNode {
	if segment == "+" {
		if n.plus == nil {
			n.plus = new(segmentNode)
		}
		return n.plus
	}
	if n.literal == nil {
		n.literal = make(map[string]*segmentNode)
	}
	child, ok := n.literal[segment]
	if !ok {
		child = new(segmentNode)
		n.literal[segment] = child
	}
	return child
}

// match returns the better of best and all entries below n that match rest. With atEnd there is no
// segment left; otherwise rest begins with a segment, which may be empty. It visits no node twice.
func (n *segmentNode) match(rest string, atEnd bool, best *entry) *entry {
	if atEnd {
		return better(best, n.end)
	}
	best = better(best, n.globs.longest(rest))
	if n.literal == nil && n.plus == nil {
		return best
	}
	segment, next, more := strings.Cut(rest, "/")
	if child := n.literal[segment]; child != nil {
		best = child.match(next, !more, best)
	}
	if n.plus != nil {
		best = n.plus.match(next, !more, best)
	}
	return best
}
