package engines

import (
	"context"
	"fmt"
	"strings"

	"coffer/policy"
)

// form says which spellings of a pattern's variable are the same. The zero value is for one whose spellings all differ.
type form struct {
	fold func(context.Context, Engine) (bool, error)
	// letters is set when all letters are folded where fold says so, and not those of ASCII alone.
	letters bool
	trim    bool
	slash   bool
	// keep is set when the handler gets the value as the client wrote it.
	keep bool
}

// CaseInsensitive declares that upper and lower case ASCII letters are the same in a variable of the pattern. Its
// canonical form is in lower case. A pattern can have one such variable.
//
// Policies, audit and the handler see the canonical form of a path, whatever the client wrote.
func CaseInsensitive(variable string) Option {
	return formOption(variable, func(f *form) { f.fold = alwaysFold })
}

func alwaysFold(context.Context, Engine) (bool, error) { return true, nil }

// CaseInsensitiveIf is CaseInsensitive for a variable whose case matters or not by the configuration of the engine. An
// error of insensitive ends the request, see Match.Err.
func CaseInsensitiveIf[E Engine](variable string, insensitive func(E, context.Context) (bool, error)) Option {
	return formOption(variable, func(f *form) {
		f.fold = func(ctx context.Context, e Engine) (bool, error) {
			return insensitive(e.(E), ctx) //nolint:forcetypeassert // as in Method
		}
	})
}

// AllLetters lets a variable that is CaseInsensitive fold all letters, as the function FoldLetters
// does, and not those of ASCII alone.
func AllLetters(variable string) Option {
	return formOption(variable, func(f *form) { f.letters = true })
}

// IgnoreSpace declares that white space around a variable of the pattern makes no difference. Its canonical form has
// none.
func IgnoreSpace(variable string) Option {
	return formOption(variable, func(f *form) { f.trim = true })
}

// IgnoreSlash declares that a "/" after a variable at the end of the pattern makes no difference, but for List, whose
// paths end in one. Its canonical form has none.
func IgnoreSlash(variable string) Option {
	return formOption(variable, func(f *form) { f.slash = true })
}

// OptionalSlash declares that a "/" after the path makes no difference, for a pattern that ends in a literal. The
// canonical form has none, but for List, whose paths end in one.
func OptionalSlash() Option { return func(r *Route) { r.flags |= optionalSlash } }

// KeepSpelling hands the handler a variable of the pattern as the client wrote it, for a name that is shown as it was
// first written. Policies and audit see the canonical form all the same, and the handler must take all spellings of it
// for one.
func KeepSpelling(variable string) Option {
	return formOption(variable, func(f *form) { f.keep = true })
}

func formOption(variable string, set func(*form)) Option {
	return func(r *Route) {
		if r.forms == nil {
			r.forms = make(map[string]*form)
		}
		if r.forms[variable] == nil {
			r.forms[variable] = new(form)
		}
		set(r.forms[variable])
	}
}

// checkForms refuses forms of variables that are not in the pattern.
func (c *compiled) checkForms() error {
	c.varForms = make([]*form, len(c.names))
	known := 0
	for i, name := range c.names {
		if f := c.forms[name]; f != nil {
			c.varForms[i] = f
			known++
		}
	}
	if known != len(c.forms) {
		return fmt.Errorf("engines: route %q declares the form of a variable that it does not have", c.pattern)
	}
	if known == 0 {
		c.varForms = nil
	}
	return nil
}

// takesSlash reports whether the route serves an operation on its path with a "/" behind it.
func (m *Match) takesSlash(op Operation) bool {
	switch op {
	case Help:
		return true
	case List:
		return m.Supports(List)
	default:
		// A folder's own path has a "/". What it can do is list; the answer to anything else is that it is not supported.
		return m.route.flags&optionalSlash != 0 || m.Supports(List) && !m.Supports(op)
	}
}

// canonicalize sets the match's Path and Spellings. It reports false, with the canonical path in Path, when asked is
// not canonical.
func (m *Match) canonicalize(ctx context.Context, op Operation, asked string) bool {
	m.Path = asked
	if m.route.flags&optionalSlash != 0 && op != List {
		m.Spellings.Slash = true
		m.Path = strings.TrimSuffix(asked, "/")
		return m.Path == asked
	}
	if m.route.varForms == nil {
		return true
	}
	if m.Path, m.err = m.build(ctx, op, asked); m.err != nil {
		m.Path = asked
	}
	return m.Path == asked
}

// build returns the canonical form of the path that m matched, and sets m.Spellings. A path that is canonical costs no
// allocation.
func (m *Match) build(ctx context.Context, op Operation, path string) (string, error) {
	var values [maxVars]string
	changed, next, at := false, 0, 0
	for i := range m.route.segments {
		s := &m.route.segments[i]
		if i > 0 {
			at++ // the "/"
		}
		if !s.variable {
			at += len(s.text)
			continue
		}
		value, f := m.vars.values[next], m.route.varForms[next]
		if f != nil {
			folds, err := f.folds(ctx, m.engine)
			if err != nil {
				return "", err
			}
			value = f.canonical(value, op, folds)
			if folds {
				m.Spellings.FoldFrom, m.Spellings.FoldTo, m.Spellings.Letters = at, at+len(value), f.letters
			}
			m.Spellings.Slash = f.slash && op != List
		}
		changed = changed || value != m.vars.values[next]
		values[next] = value
		at += len(value)
		next++
	}
	if !changed {
		return path, nil
	}
	canonical := m.route.path(values[:])
	if op == List && strings.HasSuffix(path, "/") && !strings.HasSuffix(canonical, "/") {
		canonical += "/"
	}
	return canonical, nil
}

// path is the path with the values in the place of the pattern's variables.
func (c *compiled) path(values []string) string {
	var b strings.Builder
	next := 0
	for i := range c.segments {
		s := &c.segments[i]
		if i > 0 {
			b.WriteByte('/')
		}
		if !s.variable {
			b.WriteString(s.text)
			continue
		}
		b.WriteString(values[next])
		b.WriteString(s.tail)
		next++
	}
	return b.String()
}

// keepSpelling puts the values that first, a match of another spelling of the path, has for variables whose spelling
// is kept into m.
func (m *Match) keepSpelling(first *Match) {
	if m.route != first.route {
		return
	}
	for i, f := range m.route.varForms {
		if f != nil && f.keep {
			m.vars.values[i] = first.vars.values[i]
		}
	}
}

func (f *form) folds(ctx context.Context, e Engine) (bool, error) {
	if f.fold == nil {
		return false, nil
	}
	return f.fold(ctx, e)
}

// canonical is the canonical form of a value. A value of which nothing, or no clean path, would be left stays as it is:
// its handler refuses it.
func (f *form) canonical(value string, op Operation, fold bool) string {
	clean := value
	for {
		before := clean
		if f.slash && op != List {
			clean = strings.TrimSuffix(clean, "/")
		}
		if f.trim {
			clean = strings.TrimSpace(clean)
		}
		if clean == before {
			break
		}
	}
	if clean == "" || clean == "." || clean == ".." || strings.HasPrefix(clean, "/") {
		clean = value
	}
	if fold {
		if f.letters {
			return FoldLetters(clean)
		}
		clean = FoldASCII(clean)
	}
	return clean
}

// Schema tells policies how the handler of an operation reads its parameters; nil when there is no handler.
func (m Match) Schema(op Operation) policy.Schema {
	if h := m.route.handler(op); h != nil {
		return h.schema
	}
	return nil
}
