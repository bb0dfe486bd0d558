package engines

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// Routes are routes ready for matching. They are immutable and safe for concurrent use.
type Routes struct {
	byFirst map[string][]*compiled // by the literal first segment
	rest    []*compiled            // patterns that begin with a variable, and the empty one
	all     []*compiled
	// of is the type of the engines that share them; nil for the routes of one engine.
	of reflect.Type
	// err says what is wrong with the declaration.
	err error
}

// Compile makes routes ready. Where several match a path, literals win over variables by their order in the
// declaration. A mistake in the declaration is the error of NewRouter.
func Compile(routes ...Route) *Routes {
	r := &Routes{byFirst: make(map[string][]*compiled)}
	seen := make(map[string]bool, len(routes))
	for i := range routes {
		c, err := compile(&routes[i])
		if err != nil {
			return &Routes{err: err}
		}
		if seen[c.pattern] {
			return &Routes{err: fmt.Errorf("engines: route %q is declared twice", c.pattern)}
		}
		seen[c.pattern] = true
		r.all = append(r.all, c)
		if len(c.segments) == 0 || c.segments[0].variable {
			r.rest = append(r.rest, c)
			continue
		}
		first := c.segments[0].text
		r.byFirst[first] = append(r.byFirst[first], c)
	}
	return r
}

// shared holds the routes of each type of engine that was asked for, as schemas holds those of parameters.
var shared sync.Map // of reflect.Type to *Routes

// RoutesOf returns the routes of the engines of type E, which all of them share: declare is called for the first one,
// and its result must not depend on an engine. Handlers get theirs by Method.
func RoutesOf[E Engine](declare func() []Route) *Routes {
	t := reflect.TypeFor[E]()
	r, ok := shared.Load(t)
	if !ok {
		compiled := Compile(declare()...)
		compiled.of = t
		r, _ = shared.LoadOrStore(t, compiled)
	}
	return r.(*Routes) //nolint:forcetypeassert // nothing else is put into it
}

// Router finds the route of a path in one engine. It is immutable and safe for concurrent use.
type Router struct {
	*Routes
	engine Engine
}

// NewRouter returns the router of an engine, or what is wrong with the declaration of its routes.
func NewRouter(e Engine) (*Router, error) {
	r := &Router{Routes: e.Routes(), engine: e}
	if r.err == nil && r.of != nil && r.of != reflect.TypeOf(e) {
		return nil, fmt.Errorf("engines: a %T has the routes of %s", e, r.of)
	}
	return r, r.err
}

// Match finds the route of a path below the mount. The "/" at the end of a List path does not count
// where the pattern has nothing to take it and the route can be listed. What is matched in the end is the
// canonical form of the path.
func (r *Router) Match(ctx context.Context, op Operation, path string) (Match, bool) {
	m, ok := r.find(op, path)
	m.engine = r.engine
	if !ok || m.canonicalize(ctx, op, path) {
		return m, ok
	}
	first := m
	for {
		canonical := m.Path // it is shorter or has fewer capital letters than before, so this ends
		if m, ok = r.find(op, canonical); !ok {
			return m, false
		}
		m.engine = r.engine
		if m.canonicalize(ctx, op, canonical) {
			m.Spellings.Asked = path
			m.keepSpelling(&first)
			return m, true
		}
	}
}

func (r *Routes) find(op Operation, path string) (Match, bool) {
	if m, ok := r.match(path); ok {
		return m, true
	}
	if trimmed, cut := strings.CutSuffix(path, "/"); cut {
		if m, ok := r.match(trimmed); ok && m.takesSlash(op) {
			return m, true
		}
	}
	return Match{}, false
}

func (r *Routes) match(path string) (Match, bool) {
	first, _, _ := strings.Cut(path, "/")
	var m Match
	for _, c := range r.byFirst[first] {
		if c.match(path, &m.vars) {
			m.route = c
			return m, true
		}
	}
	for _, c := range r.rest {
		if c.match(path, &m.vars) {
			m.route = c
			return m, true
		}
	}
	return Match{}, false
}

// RouteHelp describes a route for `vault path-help`.
type RouteHelp struct {
	Pattern    string
	Synopsis   string
	Operations []Operation
	Parameters []ParameterHelp
}

// ParameterHelp describes one parameter of a route.
type ParameterHelp struct {
	Name string
	Type string
	Text string
}

// Help describes every route in the order of declaration.
func (r *Routes) Help() []RouteHelp {
	help := make([]RouteHelp, 0, len(r.all))
	for _, c := range r.all {
		help = append(help, c.help())
	}
	return help
}

// Help describes the matched route.
func (m Match) Help() RouteHelp { return m.route.help() }

func (c *compiled) help() RouteHelp {
	h := RouteHelp{Pattern: c.pattern, Synopsis: c.synopsis}
	seen := make(map[string]bool)
	for op, handler := range c.handlers {
		if handler == nil {
			continue
		}
		h.Operations = append(h.Operations, Operation(op))
		for _, f := range handler.schema.fields {
			if f.name != "*" && !seen[f.name] {
				seen[f.name] = true
				h.Parameters = append(h.Parameters, ParameterHelp{Name: f.name, Type: f.typeName(), Text: f.help})
			}
		}
	}
	return h
}
