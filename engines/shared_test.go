package engines_test

import (
	"context"
	"testing"

	"coffer/engines"
)

// named is an engine of which there may be many.
type named struct {
	name  string
	folds bool
}

type namedParams struct {
	Name string `path:"name"`
}

func (*named) Routes() *engines.Routes {
	return engines.RoutesOf[*named](func() []engines.Route {
		return []engines.Route{engines.Path("of/{name}", "Who answers.", engines.CaseInsensitiveIf("name", (*named).fold),
			engines.Exists(engines.Method((*named).exists)), engines.OnRead(engines.Method((*named).read)),
			engines.OnUpdate(engines.Method((*named).read)))}
	})
}

func (n *named) fold(context.Context) (bool, error) { return n.folds, nil }

func (n *named) exists(_ context.Context, _ *engines.Request, p namedParams) (bool, error) {
	return p.Name == n.name, nil
}

func (n *named) read(_ context.Context, _ *engines.Request, p namedParams) (*engines.Response, error) {
	return &engines.Response{Data: map[string]any{"engine": n.name, "path": p.Name}}, nil
}

// TestSharedRoutes asks two engines that share their routes: each answers for itself, in handlers and in what they say
// of paths.
func TestSharedRoutes(t *testing.T) {
	a, b := &named{name: "a", folds: true}, &named{name: "b"}
	if a.Routes() != b.Routes() {
		t.Error("the engines have routes of their own")
	}
	for _, tc := range []struct {
		engine *named
		path   string
		exists bool
		want   string
	}{{a, "of/A", true, "a"}, {b, "of/A", false, "A"}, {b, "of/b", true, "b"}, {a, "of/b", false, "b"}} {
		router, err := engines.NewRouter(tc.engine)
		if err != nil {
			t.Fatal(err)
		}
		m, ok := router.Match(t.Context(), engines.Update, tc.path)
		if !ok {
			t.Fatalf("no route for %s", tc.path)
		}
		req := &engines.Request{Operation: engines.Update}
		if exists, err := m.Exists(t.Context(), req); err != nil || exists != tc.exists {
			t.Errorf("%s in %s exists: %v, %v", tc.path, tc.engine.name, exists, err)
		}
		resp, err := m.Call(t.Context(), req)
		if err != nil || resp.Data["engine"] != tc.engine.name || resp.Data["path"] != tc.want {
			t.Errorf("%s in %s: %v, %v", tc.path, tc.engine.name, resp, err)
		}
	}
}

// TestRoutesOfAnotherType refuses an engine whose routes are those of a type that it is not.
func TestRoutesOfAnotherType(t *testing.T) {
	if _, err := engines.NewRouter(struct{ *named }{&named{}}); err == nil {
		t.Error("an engine with the routes of another type was accepted")
	}
}
