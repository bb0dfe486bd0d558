package engines_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
)

type wide struct {
	Path     string            `path:"path"`
	Text     string            `param:"text" help:"Some text."`
	Flag     bool              `param:"flag"`
	Number   int               `param:"number" default:"7"`
	TTL      time.Duration     `param:"ttl"`
	List     []string          `param:"list"`
	Map      map[string]string `param:"map"`
	Optional *int              `param:"optional"`
	Any      any               `param:"any"`
}

// declared is an engine of these routes.
type declared []engines.Route

func (d declared) Routes() *engines.Routes { return engines.Compile(d...) }

func call(t *testing.T, path string, params map[string]any) (wide, *engines.Response, error) {
	t.Helper()
	var got wide
	router, err := engines.NewRouter(declared{
		engines.Path("things/{path...}", "Things.", engines.OnUpdate(
			func(_ context.Context, _ *engines.Request, p wide) (*engines.Response, error) {
				got = p
				return &engines.Response{Data: map[string]any{}}, nil
			})),
	})
	if err != nil {
		t.Fatal(err)
	}
	m, ok := router.Match(t.Context(), engines.Update, path)
	if !ok {
		t.Fatalf("no route for %q", path)
	}
	resp, err := m.Call(t.Context(), &engines.Request{Operation: engines.Update, Params: params})
	return got, resp, err
}

func TestLooseForms(t *testing.T) {
	two := 2
	for name, tc := range map[string]struct {
		params map[string]any
		want   wide
	}{
		"nothing":              {nil, wide{Number: 7}},
		"null is nothing":      {map[string]any{"text": nil, "number": nil}, wide{Number: 7}},
		"text from a number":   {map[string]any{"text": json.Number("1.50")}, wide{Text: "1.50", Number: 7}},
		"bool from a string":   {map[string]any{"flag": "true"}, wide{Flag: true, Number: 7}},
		"number from a string": {map[string]any{"number": "12"}, wide{Number: 12}},
		"zero is not absent":   {map[string]any{"number": json.Number("0")}, wide{}},
		"duration with a unit": {map[string]any{"ttl": "1h30m"}, wide{TTL: 90 * time.Minute, Number: 7}},
		"duration in days":     {map[string]any{"ttl": "2d"}, wide{TTL: 48 * time.Hour, Number: 7}},
		"duration in seconds":  {map[string]any{"ttl": json.Number("3600")}, wide{TTL: time.Hour, Number: 7}},
		"seconds as a string":  {map[string]any{"ttl": "3600"}, wide{TTL: time.Hour, Number: 7}},
		"list from a string":   {map[string]any{"list": "a, b,,c"}, wide{List: []string{"a", "b", "c"}, Number: 7}},
		"list from a list":     {map[string]any{"list": []any{"a,b", json.Number("1")}}, wide{List: []string{"a,b", "1"}, Number: 7}},
		"map from a pair":      {map[string]any{"map": "a=1,b=2"}, wide{Map: map[string]string{"a": "1,b=2"}, Number: 7}},
		"map from pairs":       {map[string]any{"map": []any{"a=1,b=2", "c= "}}, wide{Map: map[string]string{"a": "1,b=2", "c": " "}, Number: 7}},
		"map with null":        {map[string]any{"map": map[string]any{"a": nil}}, wide{Map: map[string]string{"a": ""}, Number: 7}},
		"optional":             {map[string]any{"optional": "2"}, wide{Optional: &two, Number: 7}},
		"anything":             {map[string]any{"any": []any{"x"}}, wide{Any: []any{"x"}, Number: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := call(t, "things/a/b", tc.params)
			if err != nil {
				t.Fatal(err)
			}
			tc.want.Path = "a/b"
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWrongFormsNameTheFieldAndNotTheValue(t *testing.T) {
	const canary = "s3cr3t-canary"
	for field, value := range map[string]any{
		"text": map[string]any{canary: canary}, "flag": canary, "number": canary, "ttl": canary,
		"list": map[string]any{canary: canary}, "map": canary, "optional": canary,
	} {
		_, _, err := call(t, "things/x", map[string]any{field: value})
		if !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", field, err)
			continue
		}
		if !strings.Contains(err.Error(), `"`+field+`"`) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the text is %q", field, err)
		}
	}
}

func TestNegativeDurationIsRefused(t *testing.T) {
	if _, _, err := call(t, "things/x", map[string]any{"ttl": "-1s"}); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("error = %v, want ErrInvalid", err)
	}
}

func TestWarnings(t *testing.T) {
	_, resp, err := call(t, "things/x", map[string]any{"zeta": 1, "alpha": 1, "path": "y"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Endpoint ignored these unrecognized parameters: [alpha zeta]",
		"Endpoint replaced the value of these parameters with the values captured from the endpoint's path: [path]",
	}
	if diff := cmp.Diff(want, resp.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestMatch(t *testing.T) {
	type none = engines.NoParams
	serve := func(pattern string) engines.Route {
		answer := func(_ context.Context, _ *engines.Request, _ none) (*engines.Response, error) {
			return &engines.Response{Data: map[string]any{"pattern": pattern}}, nil
		}
		return engines.Path(pattern, pattern, engines.OnRead(answer), engines.OnList(answer))
	}
	router, err := engines.NewRouter(declared{
		serve("roles"), serve("roles/{name}"), serve("roles/{name}/id"), serve("data/{path...}"), serve("a/{x}/b/{y...}"), serve(""),
		serve("mounts"), serve("mounts/{path+}/tune"), serve("mounts/{path+}"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		op   engines.Operation
		path string
		want string // "-" for none
	}{
		{engines.Read, "", ""},
		{engines.Read, "roles", "roles"},
		{engines.Read, "roles/", "-"},
		{engines.List, "roles/", "roles"},
		{engines.Read, "roles/x", "roles/{name}"},
		{engines.Read, "roles/x/", "-"},
		{engines.Read, "roles/x/id", "roles/{name}/id"},
		{engines.Read, "roles/x/y", "-"},
		{engines.Read, "data", "-"},
		{engines.Read, "data/", "data/{path...}"},
		{engines.Read, "data/a/b/c", "data/{path...}"},
		{engines.Read, "a/1/b/", "a/{x}/b/{y...}"},
		{engines.Read, "a//b/c", "-"},
		{engines.Read, "nothing", "-"},
		{engines.Read, "mounts/", "-"},
		{engines.List, "mounts/", "mounts"},
		{engines.Read, "mounts/x/y", "mounts/{path+}"},
		{engines.Read, "mounts/x/y/tune", "mounts/{path+}/tune"},
		{engines.Read, "mounts/tune", "mounts/{path+}"},
		{engines.Read, "mounts/tune/tune", "mounts/{path+}/tune"},
		{engines.List, "mounts/x/tune/", "mounts/{path+}"},
	} {
		got := "-"
		if m, ok := router.Match(t.Context(), tc.op, tc.path); ok {
			resp, err := m.Call(t.Context(), &engines.Request{Operation: engines.Read})
			if err != nil {
				t.Fatal(err)
			}
			got, _ = resp.Data["pattern"].(string)
		}
		if got != tc.want {
			t.Errorf("%s %q: pattern %q, want %q", tc.op, tc.path, got, tc.want)
		}
	}
}

func TestBadPatternsAreRefused(t *testing.T) {
	for _, pattern := range []string{"a/{b", "a/{}", "{a...}/{b}", "{a}/{b}/{c}/{d}/{e}"} {
		if _, err := engines.NewRouter(declared{engines.Path(pattern, "")}); err == nil {
			t.Errorf("pattern %q was accepted", pattern)
		}
	}
	read := engines.OnRead(func(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
		return &engines.Response{}, nil
	})
	if router, err := engines.NewRouter(declared{engines.Path("a", "", read)}); err != nil {
		t.Error(err)
	} else if _, ok := router.Match(t.Context(), engines.List, "a/"); ok {
		t.Error("a route that cannot be listed took the path of a folder")
	}
	if _, err := engines.NewRouter(declared{engines.Path("a", ""), engines.Path("a", "")}); err == nil {
		t.Error("the same pattern twice was accepted")
	}
}

func TestUnsupportedOperation(t *testing.T) {
	router, err := engines.NewRouter(declared{engines.Path("a", "")})
	if err != nil {
		t.Fatal(err)
	}
	m, _ := router.Match(t.Context(), engines.Read, "a")
	if _, err := m.Call(t.Context(), &engines.Request{Operation: engines.Read}); !errors.Is(err, engines.ErrUnsupported) {
		t.Errorf("error = %v, want ErrUnsupported", err)
	}
}

func TestTokenShowsItsTextNowhere(t *testing.T) {
	token := engines.NewToken("hvs.canary")
	text, err := json.Marshal(map[string]any{"t": token})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{string(text), token.String(), token.GoString(), token.LogValue().String()} {
		if strings.Contains(shown, "canary") {
			t.Errorf("the token shows itself in %q", shown)
		}
	}
}

func FuzzParams(f *testing.F) {
	f.Add(`{"text":"a","flag":"1","number":3,"ttl":"1h","list":["a"],"map":{"a":"b"},"any":null}`)
	f.Add(`{"ttl":"9999999999999h","number":"0x7f","list":{},"map":"a"}`)
	f.Add(`{"ttl":-1,"flag":[],"optional":1e99}`)
	f.Fuzz(func(t *testing.T, text string) {
		var params map[string]any
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		if dec.Decode(&params) != nil {
			return
		}
		got, _, err := call(t, "things/p", params)
		if err != nil && !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("error %v is not ErrInvalid", err)
		}
		if got.TTL < 0 {
			t.Errorf("a negative duration came through: %v", got.TTL)
		}
	})
}

func BenchmarkCall(b *testing.B) {
	type params struct {
		Path    string `path:"path"`
		Version int    `param:"version"`
	}
	resp := &engines.Response{}
	router, err := engines.NewRouter(declared{
		engines.Path("data/{path...}", "", engines.OnRead(
			func(context.Context, *engines.Request, params) (*engines.Response, error) { return resp, nil })),
	})
	if err != nil {
		b.Fatal(err)
	}
	req := &engines.Request{Operation: engines.Read}
	b.ReportAllocs()
	for b.Loop() {
		m, _ := router.Match(context.Background(), engines.Read, "data/app/config")
		if _, err := m.Call(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

// The path of a folder ends in "/". It lists, and says of everything else that it is not supported.
func TestFoldersOnlyList(t *testing.T) {
	list := func(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
		return &engines.Response{}, nil
	}
	router, err := engines.NewRouter(declared{
		engines.Path("folder", "Lists.", engines.OnList(list)),
		engines.Path("both", "Lists and reads.", engines.OnList(list), engines.OnRead(list)),
		engines.Path("plain", "Reads.", engines.OnRead(list)),
	})
	if err != nil {
		t.Fatal(err)
	}
	all := []engines.Operation{engines.Read, engines.List, engines.Create, engines.Update, engines.Patch, engines.Delete,
		engines.Header, engines.Options}
	for _, op := range all {
		m, ok := router.Match(t.Context(), op, "folder/")
		if !ok {
			t.Errorf("%s folder/: no route", op)
			continue
		}
		_, err := m.Call(t.Context(), &engines.Request{Operation: op})
		if (err == nil) != (op == engines.List) || err != nil && !errors.Is(err, engines.ErrUnsupported) {
			t.Errorf("%s folder/: %v", op, err)
		}
		// What can be read without the "/" is not read with it: rules are on the path without.
		if _, ok := router.Match(t.Context(), op, "both/"); ok != (op != engines.Read) {
			t.Errorf("%s both/: %v", op, ok)
		}
		if _, ok := router.Match(t.Context(), op, "plain/"); ok {
			t.Errorf("%s plain/ has a route", op)
		}
	}
}
