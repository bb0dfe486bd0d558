package engines

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"coffer/policy"
)

// Route is one path pattern of an engine with its handlers. Path makes it.
//
// A pattern is made of segments: literals, {name} for exactly one segment, {name...} for everything that
// is left, which may be empty, and {name+} for everything that is left, which may not: "data/{path...}"
// matches "data/" and "data/a/b", not "data". Only literals may follow the last two, and they stand at
// the end of the path: "mounts/{path+}/tune" matches "mounts/a/b/tune".
type Route struct {
	pattern  string
	synopsis string
	handlers [Help + 1]*handler
	exists   func(context.Context, *Request, vars) (bool, error)
	loginAs  func(*Request, vars) (string, error)
	flags    flag
	// forms are those of the pattern's variables, by their names.
	forms map[string]*form
}

type flag uint8

const (
	unauthenticated flag = 1 << iota
	sudo
	anyParameters
	optionalSlash
)

// handler is one operation of a route: its parameters' schema and the function behind it.
type handler struct {
	schema *schema
	call   func(context.Context, *Request, vars) (*Response, error)
	// check decodes the parameters and forgets them.
	check func(*Request, vars) error
}

// handler returns what serves an operation, or nil.
func (r *Route) handler(op Operation) *handler {
	if int(op) >= len(r.handlers) {
		return nil
	}
	return r.handlers[op]
}

// Option adds to a Route: a handler or a property.
type Option func(*Route)

// Path declares a route. The synopsis is one sentence for help.
func Path(pattern, synopsis string, options ...Option) Route {
	r := Route{pattern: pattern, synopsis: synopsis}
	for _, option := range options {
		option(&r)
	}
	return r
}

// HandlerFunc serves one operation with its parameters decoded into P, a struct.
type HandlerFunc[P any] func(context.Context, *Request, P) (*Response, error)

// Method is a handler of routes that the engines of type E share: f is called with the engine that serves the request.
func Method[E Engine, P, R any](
	f func(E, context.Context, *Request, P) (R, error),
) func(context.Context, *Request, P) (R, error) {
	return func(ctx context.Context, req *Request, p P) (R, error) {
		return f(req.engine.(E), ctx, req, p) //nolint:forcetypeassert // the routes of a type are served by engines of it
	}
}

// On registers the handler of an operation. The fields of P say what it takes: `path:"name"` for a
// segment of the pattern, `param:"name"` for a parameter, `param:"*"` for all of them in a
// map[string]any; `default:"…"` and `help:"…"` add to both. Two more tags tell policies which values of a parameter
// are the same: `as:"name"`, `as:"duration"` and others (see comparison) say what the handler makes of a text, and
// `old:"…"` names the parameter of which this is an older name.
func On[P any](op Operation, f HandlerFunc[P]) Option {
	s := schemaOf[P]()
	return func(r *Route) {
		if r.handlers[op] != nil {
			panic(fmt.Sprintf("engines: route %q has two handlers for %s", r.pattern, op))
		}
		r.handlers[op] = &handler{schema: s, call: func(ctx context.Context, req *Request, v vars) (*Response, error) {
			var p P
			warnings, err := s.decode(&p, req, v, r.flags&anyParameters != 0)
			if err != nil {
				return nil, invalidField(err)
			}
			resp, err := f(ctx, req, p)
			if len(warnings) > 0 && err == nil {
				resp = withWarnings(resp, warnings)
			}
			return resp, err
		}, check: func(req *Request, v vars) error {
			var p P
			_, err := s.decode(&p, req, v, true)
			return err
		}}
	}
}

// withWarnings adds warnings to an answer that says something; a 204 stays one, as Vault's do, and a 404
// with data has none.
func withWarnings(resp *Response, warnings []string) *Response {
	if resp == nil || resp.empty() || resp.Status >= http.StatusBadRequest {
		return resp
	}
	resp.Warnings = append(resp.Warnings, warnings...)
	return resp
}

// OnRead registers the handler of GET.
func OnRead[P any](f HandlerFunc[P]) Option { return On(Read, f) }

// OnList registers the handler of LIST and of GET with ?list=true.
func OnList[P any](f HandlerFunc[P]) Option { return On(List, f) }

// OnCreate registers the handler of PUT and POST where Exists said no.
func OnCreate[P any](f HandlerFunc[P]) Option { return On(Create, f) }

// OnUpdate registers the handler of PUT and POST.
func OnUpdate[P any](f HandlerFunc[P]) Option { return On(Update, f) }

// OnPatch registers the handler of PATCH; Params hold the merge patch (RFC 7396).
func OnPatch[P any](f HandlerFunc[P]) Option { return On(Patch, f) }

// OnDelete registers the handler of DELETE.
func OnDelete[P any](f HandlerFunc[P]) Option { return On(Delete, f) }

// OnWrite registers one handler for both Create and Update.
func OnWrite[P any](f HandlerFunc[P]) Option {
	create, update := On(Create, f), On(Update, f)
	return func(r *Route) { create(r); update(r) }
}

// Exists tells whether what the request would write is there already, so that the policy can tell
// create from update. Without it every write is an Update.
func Exists[P any](f func(context.Context, *Request, P) (bool, error)) Option {
	s := schemaOf[P]()
	return func(r *Route) {
		r.exists = func(ctx context.Context, req *Request, v vars) (bool, error) {
			var p P
			if _, err := s.decode(&p, req, v, true); err != nil {
				return false, Invalid("%v", err)
			}
			return f(ctx, req, p)
		}
	}
}

// LoginAs makes the route a login whose failures are counted: f tells whose login it is, "" when the request does
// not say. The server counts every ErrCredentials against that name and locks it out after too many.
func LoginAs[P any](f func(P) string) Option {
	s := schemaOf[P]()
	return func(r *Route) {
		r.loginAs = func(req *Request, v vars) (string, error) {
			var p P
			if _, err := s.decode(&p, req, v, true); err != nil {
				return "", invalidField(err)
			}
			return f(p), nil
		}
	}
}

// Unauthenticated lets the route be called without a token.
func Unauthenticated() Option { return func(r *Route) { r.flags |= unauthenticated } }

// Sudo makes the route ask for the sudo capability besides the operation's own.
func Sudo() Option { return func(r *Route) { r.flags |= sudo } }

// AnyParameters silences the warning for parameters the route does not declare.
func AnyParameters() Option { return func(r *Route) { r.flags |= anyParameters } }

// NoParams is for handlers that take no parameters.
type NoParams struct{}

// Match is a route that serves a path.
type Match struct {
	// Path is the canonical path below the mount.
	Path string
	// Spellings are the other ways of writing it; their positions count from the mount's end.
	Spellings policy.Spellings

	engine Engine
	route  *compiled
	vars   vars
	err    error
}

// Err returns why the canonical form of the path is not known, or nil. Nothing must be decided about such a path.
func (m Match) Err() error { return m.err }

// Unauthenticated reports whether the route can be called without a token.
func (m Match) Unauthenticated() bool { return m.route.flags&unauthenticated != 0 }

// Sudo reports whether the route asks for the sudo capability.
func (m Match) Sudo() bool { return m.route.flags&sudo != 0 }

// Supports reports whether the route has a handler for op; Create counts where Update is served.
func (m Match) Supports(op Operation) bool { return m.route.handler(op) != nil }

// ChecksExistence reports whether the route tells create from update.
func (m Match) ChecksExistence() bool { return m.route.exists != nil }

// IsLogin reports whether the route is a login whose failures are counted.
func (m Match) IsLogin() bool { return m.route.loginAs != nil }

// LoginAs returns whose login the request is, or "" when it does not say; call it when IsLogin. Parameters that
// cannot be decoded are an ErrInvalid.
func (m Match) LoginAs(req *Request) (string, error) { return m.route.loginAs(req, m.vars) }

// Exists asks the route whether what the request would write is there; call it when ChecksExistence.
// Parameters that Update cannot decode are an ErrInvalid here already, as in Vault, where they are found
// before the policy decides and are reported in other words than later.
func (m Match) Exists(ctx context.Context, req *Request) (bool, error) {
	req.engine = m.engine
	if h := m.route.handlers[Update]; h != nil {
		if err := h.check(req, m.vars); err != nil {
			return false, Invalid("%v", err)
		}
	}
	return m.route.exists(ctx, req, m.vars)
}

// Call decodes the parameters and runs the operation's handler. It returns ErrUnsupported when the
// route has none.
func (m Match) Call(ctx context.Context, req *Request) (*Response, error) {
	if m.err != nil {
		return nil, m.err
	}
	h := m.route.handler(req.Operation)
	if h == nil {
		return nil, ErrUnsupported
	}
	req.engine = m.engine
	return h.call(ctx, req, m.vars)
}

// vars are the values of a pattern's variables, in their order in the pattern.
type vars struct {
	names  []string
	values [maxVars]string
}

// maxVars is how many variables a pattern may have.
const maxVars = 4

func (v *vars) lookup(name string) (string, bool) {
	for i, n := range v.names {
		if n == name {
			return v.values[i], true
		}
	}
	return "", false
}

// segment is one part of a compiled pattern.
type segment struct {
	text     string
	variable bool
	rest     bool
	// nonEmpty is set for a rest that needs at least one character.
	nonEmpty bool
	// tail are the literals after a rest, with the "/" before them.
	tail string
}

// compiled is a Route ready for matching.
type compiled struct {
	*Route
	segments []segment
	names    []string
	// varForms are the forms of the variables in their order, nil where a variable has none.
	varForms []*form
}

func compile(r *Route) (*compiled, error) {
	c := &compiled{Route: r}
	if r.pattern == "" {
		return c, nil
	}
	parts := strings.Split(r.pattern, "/")
	for i, part := range parts {
		name, isVar := strings.CutPrefix(part, "{")
		if !isVar {
			c.segments = append(c.segments, segment{text: part})
			continue
		}
		name, closed := strings.CutSuffix(name, "}")
		name, rest := strings.CutSuffix(name, "...")
		name, nonEmpty := strings.CutSuffix(name, "+")
		if !closed || name == "" || len(c.names) == maxVars {
			return nil, fmt.Errorf("engines: bad route pattern %q", r.pattern)
		}
		s := segment{text: name, variable: true, rest: rest || nonEmpty, nonEmpty: nonEmpty}
		c.names = append(c.names, name)
		if s.rest {
			for _, literal := range parts[i+1:] {
				s.tail += "/" + literal
			}
		}
		c.segments = append(c.segments, s)
		if !s.rest {
			continue
		}
		if strings.Contains(s.tail, "{") {
			return nil, fmt.Errorf("engines: bad route pattern %q", r.pattern)
		}
		break
	}
	return c, c.checkForms()
}

// match fills v and reports whether path fits the pattern.
func (c *compiled) match(path string, v *vars) bool {
	n := 0
	for i := range c.segments {
		s := &c.segments[i]
		if s.rest {
			left, ok := strings.CutSuffix(path, s.tail)
			if !ok || (left == "" && s.nonEmpty) {
				return false
			}
			v.values[n] = left
			v.names = c.names
			return true
		}
		part, tail, more := strings.Cut(path, "/")
		if s.variable {
			if part == "" {
				return false
			}
			v.values[n] = part
			n++
		} else if part != s.text {
			return false
		}
		if last := i == len(c.segments)-1; last == more {
			return false
		}
		path = tail
	}
	v.names = c.names
	return len(c.segments) > 0 || path == ""
}
