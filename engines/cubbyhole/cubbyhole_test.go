package cubbyhole_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
	"coffer/engines/cubbyhole"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

type params = map[string]any

// hole is an engine, and who asks it.
type hole struct {
	router *engines.Router
	caller *engines.Caller
}

func newHole(t *testing.T, s storage.Storage) *hole {
	t.Helper()
	e, err := cubbyhole.Factory(t.Context(), engines.Config{Storage: s})
	if err != nil {
		t.Fatal(err)
	}
	router, err := engines.NewRouter(e)
	if err != nil {
		t.Fatal(err)
	}
	return &hole{router: router, caller: holder("h1")}
}

// holder is the holder of a token with a cubbyhole.
func holder(id string) *engines.Caller { return &engines.Caller{CubbyholeID: id} }

// as is the same engine for another token.
func (h *hole) as(c *engines.Caller) *hole { return &hole{router: h.router, caller: c} }

func (h *hole) do(ctx context.Context, op engines.Operation, path string, p params) (*engines.Response, error) {
	m, ok := h.router.Match(ctx, op, path)
	if !ok {
		return nil, engines.ErrUnsupportedPath
	}
	req := &engines.Request{Operation: op, Path: path, Params: p, Caller: h.caller}
	if op == engines.Update && m.ChecksExistence() {
		exists, err := m.Exists(ctx, req)
		if err != nil {
			return nil, err
		}
		if !exists {
			req.Operation = engines.Create
		}
	}
	return m.Call(ctx, req)
}

func (h *hole) must(t *testing.T, op engines.Operation, path string, p params) *engines.Response {
	t.Helper()
	resp, err := h.do(t.Context(), op, path, p)
	if err != nil {
		t.Fatalf("%s %q: %v", op, path, err)
	}
	return resp
}

func text(t *testing.T, data map[string]any) string {
	t.Helper()
	b, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	h := newHole(t, memory.New())
	written := params{"a": "b", "n": json.Number("1.50"), "list": []any{"x", nil}, "deep": params{"k": true}}
	h.must(t, engines.Update, "a/b", written)
	got := text(t, h.must(t, engines.Read, "a/b", nil).Data)
	if want := `{"a":"b","deep":{"k":true},"list":["x",null],"n":1.50}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	h.must(t, engines.Update, "a/b", params{"c": "d"}) // replaces the whole
	if got := text(t, h.must(t, engines.Read, "a/b", nil).Data); got != `{"c":"d"}` {
		t.Errorf("after another write: %s", got)
	}
	h.must(t, engines.Delete, "a/b", nil)
	h.must(t, engines.Delete, "a/b", nil) // what is not there is deleted
	if _, err := h.do(t.Context(), engines.Read, "a/b", nil); !errors.Is(err, engines.ErrNotFound) {
		t.Errorf("after the deletion: %v", err)
	}
}

func TestListsShowOneLevel(t *testing.T) {
	h := newHole(t, memory.New())
	for _, path := range []string{"a", "b/c", "b/d/e", "b"} {
		h.must(t, engines.Update, path, params{"k": "v"})
	}
	for path, want := range map[string][]string{"": {"a", "b", "b/"}, "b/": {"c", "d/"}, "b": {"c", "d/"}, "b/d/": {"e"}} {
		if diff := cmp.Diff(want, h.must(t, engines.List, path, nil).Data["keys"]); diff != "" {
			t.Errorf("list of %q (-want +got):\n%s", path, diff)
		}
	}
	if _, err := h.do(t.Context(), engines.List, "none/", nil); !errors.Is(err, engines.ErrNotFound) {
		t.Errorf("list of nothing: %v", err)
	}
}

// Two tokens must not meet, whatever they name.
func TestTokensDoNotSeeEachOther(t *testing.T) {
	s := memory.New()
	mine := newHole(t, s)
	theirs := mine.as(holder("h2"))
	mine.must(t, engines.Update, "a", params{"k": "mine"})
	theirs.must(t, engines.Update, "a", params{"k": "theirs"})
	for _, path := range []string{"h1/a", "../h1/a", "/h1/a", "a/../../h1/a", "./a"} {
		if resp, err := theirs.do(t.Context(), engines.Read, path, nil); err == nil {
			t.Errorf("%q reads %v", path, resp.Data)
		}
		_, _ = theirs.do(t.Context(), engines.Update, path, params{"k": "overwritten"})
		_, _ = theirs.do(t.Context(), engines.Delete, path, nil)
	}
	if got := text(t, mine.must(t, engines.Read, "a", nil).Data); got != `{"k":"mine"}` {
		t.Errorf("it reads %s", got)
	}
	for _, path := range []string{"", "../", "h1/"} {
		if resp, err := theirs.do(t.Context(), engines.List, path, nil); err == nil && strings.Contains(text(t, resp.Data), "mine") {
			t.Errorf("list of %q: %v", path, resp.Data)
		}
	}
}

// The folder of a token is what its revocation removes: nothing may lie elsewhere.
func TestEverythingLiesInTheTokensFolder(t *testing.T) {
	s := memory.New()
	h := newHole(t, s)
	for _, path := range []string{"a", "b/c", "h2/x", ".hidden", "%2e"} {
		h.must(t, engines.Update, path, params{"k": "v"})
	}
	for _, op := range s.Contents() {
		if !strings.HasPrefix(op.Key, "h1/") {
			t.Errorf("stored at %s", op.Key)
		}
	}
}

func TestRefusals(t *testing.T) {
	h := newHole(t, memory.New())
	data := params{"k": "v"}
	const onlyService = `cubbyhole operations are only supported by "service" type tokens`
	numbered := func(text string) string { return "1 error occurred:\n\t* " + text + "\n\n" }
	for name, tc := range map[string]struct {
		by   *engines.Caller
		op   engines.Operation
		path string
		data params
		kind error
		text string
	}{
		"batch token reads":      {&engines.Caller{Batch: true, CubbyholeID: "h1"}, engines.Read, "a", nil, engines.ErrInvalid, onlyService},
		"batch token writes":     {&engines.Caller{Batch: true}, engines.Update, "a", data, engines.ErrInvalid, onlyService},
		"batch token lists":      {&engines.Caller{Batch: true}, engines.List, "", nil, engines.ErrInvalid, onlyService},
		"batch token deletes":    {&engines.Caller{Batch: true}, engines.Delete, "a", nil, engines.ErrInvalid, onlyService},
		"nobody":                 {nil, engines.Read, "a", nil, engines.ErrInvalid, onlyService},
		"no folder":              {&engines.Caller{}, engines.Read, "a", nil, engines.ErrInvalid, onlyService},
		"read of no path":        {h.caller, engines.Read, "", nil, engines.ErrFailed, numbered("missing path")},
		"write of no path":       {h.caller, engines.Update, "", data, engines.ErrFailed, numbered("missing path")},
		"write to a folder":      {h.caller, engines.Update, "a/", data, engines.ErrInvalid, "cannot write to a path ending in '/'"},
		"write of nothing":       {h.caller, engines.Update, "a", nil, engines.ErrFailed, numbered("missing data fields")},
		"read of a relative":     {h.caller, engines.Read, "a..b", nil, engines.ErrInvalid, numbered("read failed: relative paths not supported")},
		"write of a relative":    {h.caller, engines.Update, "a/../b", data, engines.ErrFailed, numbered("internal error")},
		"list of a relative":     {h.caller, engines.List, "../", nil, engines.ErrInvalid, numbered("relative paths not supported")},
		"deletion of a relative": {h.caller, engines.Delete, "..", nil, engines.ErrInvalid, numbered("relative paths not supported")},
		"bytes that are no text": {h.caller, engines.Update, "a\xff", data, engines.ErrFailed,
			numbered("failed to write: key contains invalid UTF-8 characters")},
		"too long a path": {h.caller, engines.Update, strings.Repeat("a", 1<<16), data, engines.ErrInvalid,
			"the path is too long or malformed"},
		"too large a secret": {h.caller, engines.Update, "a", params{"k": strings.Repeat("x", storage.MaxValueSize+1)},
			engines.ErrInvalid, "the secret is too large"},
		"patch": {h.caller, engines.Patch, "a", data, engines.ErrUnsupported, ""},
	} {
		_, err := h.as(tc.by).do(t.Context(), tc.op, tc.path, tc.data)
		if !errors.Is(err, tc.kind) || (tc.text != "" && err.Error() != tc.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCreateIsToldFromUpdate(t *testing.T) {
	h := newHole(t, memory.New())
	m, _ := h.router.Match(t.Context(), engines.Update, "a")
	req := &engines.Request{Operation: engines.Update, Path: "a", Caller: h.caller}
	if exists, err := m.Exists(t.Context(), req); exists || err != nil {
		t.Errorf("before the first write: %v, %v", exists, err)
	}
	h.must(t, engines.Update, "a", params{"k": "v"})
	if exists, err := m.Exists(t.Context(), req); !exists || err != nil {
		t.Errorf("after it: %v, %v", exists, err)
	}
}

// A damaged record is an error that shows neither its bytes nor the token's folder.
func TestDamagedRecord(t *testing.T) {
	s := memory.New()
	h := newHole(t, s)
	for _, bytes := range []string{"", "canary", "null", "[1]", `{"k":`, `"canary"`} {
		if err := s.Apply(t.Context(), storage.Put("h1/a", []byte(bytes))); err != nil {
			t.Fatal(err)
		}
		resp, err := h.do(t.Context(), engines.Read, "a", nil)
		if err == nil {
			t.Errorf("%q reads %v", bytes, resp.Data)
		} else if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "h1") {
			t.Errorf("%q: %v", bytes, err)
		}
	}
}

// TestFaults makes every call to storage fail: a write that was reported as done is there, and nothing is half done.
func TestFaults(t *testing.T) {
	open := func(*testing.T) storage.Storage { return memory.New() }
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
		h := newHole(t, faulty)
		_, wrote := h.do(t.Context(), engines.Update, "a", params{"k": "1"})
		_, rewrote := h.do(t.Context(), engines.Update, "a", params{"k": "2"})
		_, _ = h.do(t.Context(), engines.List, "", nil)
		got := ""
		if resp, err := newHole(t, base).do(t.Context(), engines.Read, "a", nil); err == nil {
			got = text(t, resp.Data)
		}
		allowed := map[string]bool{`{"k":"2"}`: true, `{"k":"1"}`: rewrote != nil, "": wrote != nil && rewrote != nil}
		if !allowed[got] {
			t.Errorf("after %v, %v it reads %q of %v", wrote, rewrote, got, slices.Collect(maps.Keys(allowed)))
		}
		_, removed := h.do(t.Context(), engines.Delete, "a", nil)
		if _, err := newHole(t, base).do(t.Context(), engines.Read, "a", nil); removed == nil && !errors.Is(err, engines.ErrNotFound) {
			t.Errorf("deleted, and it is there: %v", err)
		}
	})
}

func FuzzReadsAnyRecord(f *testing.F) {
	for _, seed := range []string{`{"a":"b"}`, `{}`, `null`, `[]`, ``, `{"a":1e400}`, "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		s := memory.New()
		if err := s.Apply(t.Context(), storage.Put("h1/a", record)); err != nil {
			return
		}
		resp, err := newHole(t, s).do(t.Context(), engines.Read, "a", nil)
		if err == nil && !json.Valid([]byte(text(t, resp.Data))) {
			t.Errorf("%q reads as no JSON", record)
		}
	})
}
