package engines_test

import (
	"context"
	"errors"
	"testing"

	"coffer/engines"
	"coffer/policy"
)

// TestCanonicalPaths walks paths through routes whose variables have forms.
func TestCanonicalPaths(t *testing.T) {
	type name struct {
		Name string `path:"name"`
	}
	var handled string
	handle := func(_ context.Context, _ *engines.Request, p name) (*engines.Response, error) {
		handled = p.Name
		return &engines.Response{}, nil
	}
	errConfig := errors.New("no configuration")
	all := []engines.Option{engines.OnRead(handle), engines.OnList(handle)}
	path := func(pattern string, options ...engines.Option) engines.Route {
		return engines.Path(pattern, "A route.", append(options, all...)...)
	}
	router, err := engines.NewRouter(declared{
		path("case/{name}", engines.CaseInsensitive("name")),
		path("case/{name}/below", engines.CaseInsensitive("name")),
		path("kept/{name+}", engines.CaseInsensitive("name"), engines.KeepSpelling("name")),
		path("space/{name+}", engines.IgnoreSpace("name")),
		path("slash/{name+}/tune"),
		path("slash/{name+}", engines.IgnoreSlash("name")),
		path("all/{name+}", engines.CaseInsensitive("name"), engines.IgnoreSpace("name"), engines.IgnoreSlash("name")),
		path("exact/{name+}"),
		path("when/{name}", engines.CaseInsensitiveIf("name",
			func(declared, context.Context) (bool, error) { return false, nil })),
		path("error/{name}", engines.CaseInsensitiveIf("name",
			func(declared, context.Context) (bool, error) { return true, errConfig })),
	})
	if err != nil {
		t.Fatal(err)
	}
	fold := func(from, to int) policy.Spellings { return policy.Spellings{FoldFrom: from, FoldTo: to} }
	asked := func(s policy.Spellings, path string) policy.Spellings { s.Asked = path; return s }
	slash := policy.Spellings{Slash: true}
	for _, tc := range []struct {
		op              engines.Operation
		path, want, got string
		spellings       policy.Spellings
	}{
		{engines.Read, "case/ops", "case/ops", "ops", fold(5, 8)},
		{engines.Read, "case/Ops", "case/ops", "ops", asked(fold(5, 8), "case/Ops")},
		{engines.Read, "case/OPS/below", "case/ops/below", "ops", asked(fold(5, 8), "case/OPS/below")},
		{engines.Read, "case/O\u212aS", "case/o\u212as", "o\u212as", asked(fold(5, 10), "case/O\u212aS")},
		{engines.List, "case/OPS/", "case/ops/", "ops", asked(fold(5, 8), "case/OPS/")},
		{engines.Read, "kept/Ops", "kept/ops", "Ops", asked(fold(5, 8), "kept/Ops")},
		{engines.Read, "space/ a b\u00a0", "space/a b", "a b", asked(policy.Spellings{}, "space/ a b\u00a0")},
		{engines.Read, "space/ ", "space/ ", " ", policy.Spellings{}},
		{engines.Read, "space/ ..", "space/ ..", " ..", policy.Spellings{}},
		{engines.Read, "slash/a/b/", "slash/a/b", "a/b", asked(slash, "slash/a/b/")},
		{engines.List, "slash/a/b/", "slash/a/b/", "a/b/", policy.Spellings{}},
		{engines.Read, "slash/a/tune/", "slash/a/tune", "a", asked(policy.Spellings{}, "slash/a/tune/")},
		{engines.Read, "all/ A /", "all/a", "a", asked(policy.Spellings{FoldFrom: 4, FoldTo: 5, Slash: true}, "all/ A /")},
		{engines.Read, "exact/A /", "exact/A /", "A /", policy.Spellings{}},
		{engines.Read, "when/A", "when/A", "A", policy.Spellings{}},
	} {
		m, ok := router.Match(t.Context(), tc.op, tc.path)
		if !ok || m.Path != tc.want || m.Spellings != tc.spellings || m.Err() != nil {
			t.Errorf("%s %q: %q %+v %v, want %q %+v", tc.op, tc.path, m.Path, m.Spellings, m.Err(), tc.want, tc.spellings)
			continue
		}
		if _, err := m.Call(t.Context(), &engines.Request{Operation: tc.op}); err != nil || handled != tc.got {
			t.Errorf("%s %q: the handler got %q, %v", tc.op, tc.path, handled, err)
		}
	}
	m, ok := router.Match(t.Context(), engines.Read, "error/x")
	if _, err := m.Call(t.Context(), &engines.Request{Operation: engines.Read}); !ok || !errors.Is(err, errConfig) || m.Err() == nil {
		t.Errorf("without a configuration: %v, %v", ok, err)
	}
	if _, err := engines.NewRouter(declared{path("x/{name}", engines.CaseInsensitive("other"))}); err == nil {
		t.Error("the form of a variable that is not there is accepted")
	}
}
