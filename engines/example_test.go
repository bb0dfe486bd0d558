package engines_test

import (
	"context"
	"fmt"
	"log"

	"coffer/engines"
)

type greetParams struct {
	Name  string `path:"name"`
	Words string `param:"words" default:"hello" help:"What to say."`
}

// greeter is a whole engine: one route, whose parameters arrive in a struct.
type greeter struct{}

// Routes implements engines.Engine. They are compiled once and shared by all mounts of the type.
func (greeter) Routes() *engines.Routes { return engines.RoutesOf[greeter](greeterRoutes) }

func greeterRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("greet/{name}", "Greet somebody.", engines.CaseInsensitive("name"),
			engines.OnUpdate(engines.Method(greeter.greet))),
	}
}

func (greeter) greet(_ context.Context, _ *engines.Request, p greetParams) (*engines.Response, error) {
	if p.Name == "nobody" {
		return nil, engines.Invalid("nobody is there")
	}
	return &engines.Response{Data: map[string]any{"greeting": p.Words + ", " + p.Name}}, nil
}

// The server compiles an engine's routes once. A match has the canonical path, which policies and audit see.
func ExamplePath() {
	router, err := engines.NewRouter(greeter{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	match, found := router.Match(ctx, engines.Update, "greet/Anna")
	fmt.Println(found, match.Path)
	resp, err := match.Call(ctx, &engines.Request{Operation: engines.Update, Params: map[string]any{"words": "welcome"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.Data["greeting"])
	// Output:
	// true greet/anna
	// welcome, anna
}
