package policy

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Spellings says which ways of writing a request's path mean the same to the engine that serves it. Rules are
// compared accordingly, so that no spelling of a request or of a rule passes a rule that denies.
type Spellings struct {
	// FoldFrom and FoldTo bound the part of the canonical path, in bytes, in which upper and lower case ASCII
	// letters are the same. The canonical path has lower case there. They are equal where case matters everywhere.
	FoldFrom, FoldTo int
	// Letters is set when not only ASCII letters are folded there, but all that FoldLetters folds.
	Letters bool
	// Slash is set when a "/" at the end of the path makes no difference. The canonical path has none.
	Slash bool
	// Asked is the path as the client wrote it, or "" where that is the canonical one. A rule that denies it
	// denies the request, too.
	Asked string
}

func (s *Spellings) folds() bool { return s.FoldFrom < s.FoldTo }

// hasUpper reports whether a rule's path can be equal to a canonical path only by folding.
func hasUpper(path string) bool {
	return strings.ContainsFunc(path, func(r rune) bool { return foldLetter(r) != r })
}

// next compares the character that the rest of a rule begins with to the one at a position of the canonical path. It
// returns their lengths in bytes, which may differ, or false when they are not the same.
func (s *Spellings) next(rule, path string, at int) (ofRule, ofPath int, same bool) {
	folds := at >= s.FoldFrom && at < s.FoldTo
	if c := rule[0]; c < utf8.RuneSelf || !folds || !s.Letters {
		if folds && isUpper(c) {
			c += 'a' - 'A'
		}
		return 1, 1, at < len(path) && c == path[at]
	}
	r, size := utf8.DecodeRuneInString(rule)
	letter := rule[:size]
	if low := foldLetter(r); low != r {
		letter = string(low)
	}
	return size, len(letter), strings.HasPrefix(path[at:], letter)
}

// matches reports whether the pattern fits the canonical path. It is for the few rules that hold upper-case
// letters; the others are found through the maps and trees of an ACL.
func (s *Spellings) matches(p *pattern, path string) bool {
	rule := p.path
	if p.glob {
		rule = strings.TrimSuffix(rule, "*")
	}
	return s.fits(rule, p.glob, path)
}

// fits is matches for a rule's path without the "*" at its end; glob tells that there was one.
func (s *Spellings) fits(rule string, glob bool, path string) bool {
	at := 0
	for i := 0; i < len(rule); {
		if isPlus(rule, i) {
			for at < len(path) && path[at] != '/' {
				at++
			}
			i++
			continue
		}
		ofRule, ofPath, same := s.next(rule[i:], path, at)
		if !same {
			return false
		}
		i, at = i+ofRule, at+ofPath
	}
	return glob || at == len(path)
}

// isPlus reports whether a segment of the rule that is "+" stands at i.
func isPlus(rule string, i int) bool {
	return rule[i] == '+' && (i == 0 || rule[i-1] == '/') && (i+1 == len(rule) || rule[i+1] == '/')
}

// exactly returns the rule without wildcards for a path, or nil. Of several that differ in case one that denies
// counts.
func (a *ACL) exactly(path string, s *Spellings) *entry {
	found := a.exact[path]
	if !s.folds() {
		return found
	}
	for _, e := range a.mixed {
		if e.glob || e.plus > 0 || !s.matches(&e.pattern, path) {
			continue
		}
		found = both(found, e)
	}
	return found
}

// both is the sum of two rules that mean the same path in two spellings: as for rules on one path, a deny wins, and
// what one restricts the other does not free. Either may be nil.
func both(a, b *entry) *entry {
	switch {
	case a == nil || b != nil && b.denies():
		return b
	case b == nil || a.denies():
		return a
	}
	sum := &entry{pattern: a.pattern, timed: slices.Concat(a.timed, b.timed)}
	sum.always.join(&a.always)
	sum.always.join(&b.always)
	sum.always.sources = slices.Concat(a.always.sources, b.always.sources)
	return sum
}

// patternOf returns the rule with wildcards that decides about a path, or nil.
func (a *ACL) patternOf(path string, s *Spellings) *entry {
	found := a.segments.match(path, false, a.globs.longest(path))
	if !s.folds() {
		return found
	}
	for _, e := range a.mixed {
		if !e.glob && e.plus == 0 || !s.matches(&e.pattern, path) {
			continue
		}
		if found != nil && strings.EqualFold(found.path, e.path) {
			found = both(found, e)
			continue
		}
		found = better(found, e)
	}
	return found
}

// slashedPatternOf returns the rule with wildcards, and a "/" at its end, that decides about a path without one. It
// returns nil for none.
func (a *ACL) slashedPatternOf(path string, s *Spellings) *entry {
	found := a.slashed.match(path, false, nil)
	if !s.folds() {
		return found
	}
	for _, e := range a.mixed {
		name, ok := strings.CutSuffix(e.path, "/")
		if !ok || e.plus == 0 || !s.fits(name, false, path) {
			continue
		}
		if found != nil && strings.EqualFold(found.path, e.path) {
			found = both(found, e)
			continue
		}
		found = better(found, e)
	}
	return found
}

// sameButSlash reports whether the rule b is the rule a with a "/" behind it, in any case of its letters.
func sameButSlash(a, b *entry) bool { return FoldASCII(a.path)+"/" == FoldASCII(b.path) }
