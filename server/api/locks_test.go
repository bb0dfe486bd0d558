package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"coffer/engines"
	"coffer/server/core"
	"coffer/storage"
	"coffer/storage/memory"
)

// greedy is a storage all of whose values and lists are charged for, as if they were large.
type greedy struct{ storage.Storage }

// Get implements storage.Storage.
func (g greedy) Get(ctx context.Context, key string) ([]byte, error) {
	if err := storage.Spend(ctx, storage.LargeValue+1); err != nil {
		return nil, err
	}
	return g.Storage.Get(ctx, key)
}

// List implements storage.Storage.
func (g greedy) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := storage.Spend(ctx, storage.LargeValue+1); err != nil {
		return nil, err
	}
	return g.Storage.List(ctx, prefix, after, limit)
}

// held are the lines of a source file between which a lock is held.
type held struct {
	from, to int
	lock     string
}

// watch is a Budget that finds out whether who would wait for it holds a lock: by the lines on the stack, and what the
// source says is held there.
type watch struct {
	locks map[string][]held // by the path of the file

	mu    sync.Mutex
	found map[string]bool // guarded by mu, like spent
	spent int
}

// Spend implements storage.Budget.
func (w *watch) Spend(context.Context, int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spent++
	var pcs [128]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		for _, h := range w.locks[source(frame.File)] {
			if h.from < frame.Line && frame.Line <= h.to {
				w.found[fmt.Sprintf("%s:%d holds %s", source(frame.File), frame.Line, h.lock)] = true
			}
		}
		if !more {
			return nil
		}
	}
}

// source is a file's path in the module, whether the test was built with -trimpath or not.
func source(file string) string {
	root, err := filepath.Abs("../..")
	if err == nil {
		file = strings.TrimPrefix(filepath.ToSlash(file), filepath.ToSlash(root)+"/")
	}
	return strings.TrimPrefix(file, "coffer/")
}

// heldLocks finds where locks are held in the sources of the module.
func heldLocks(t *testing.T) map[string][]held {
	t.Helper()
	all := make(map[string][]held)
	files := token.NewFileSet()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, filepath.FromSlash("../../")))
		ast.Inspect(parsed, func(n ast.Node) bool {
			if block, ok := n.(*ast.BlockStmt); ok {
				all[name] = append(all[name], heldIn(files, block)...)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// heldIn finds the locks that a block takes, each up to where the same block frees it, or to its end.
func heldIn(files *token.FileSet, block *ast.BlockStmt) (list []held) {
	end := files.Position(block.End()).Line
	for i, statement := range block.List {
		lock, verb := lockCall(statement)
		if verb != "Lock" && verb != "RLock" && verb != "hold" && verb != "Hold" {
			continue
		}
		h := held{from: files.Position(statement.Pos()).Line, to: end, lock: lock}
		for _, later := range block.List[i+1:] {
			if other, verb := lockCall(later); other == lock && strings.HasSuffix(verb, "Unlock") {
				h.to = files.Position(later.Pos()).Line
				break
			}
		}
		list = append(list, h)
	}
	return list
}

// lockCall is the receiver and the method of a statement that is a call, as "x.mu" and "Lock"; "" for any other. Of a
// deferred call of what a call returned, as "defer e.hold(at)()", it is the inner one.
func lockCall(s ast.Stmt) (receiver, method string) {
	var call *ast.CallExpr
	switch s := s.(type) {
	case *ast.ExprStmt:
		call, _ = s.X.(*ast.CallExpr)
	case *ast.AssignStmt:
		call, _ = s.Rhs[0].(*ast.CallExpr)
	case *ast.DeferStmt:
		call, _ = s.Call.Fun.(*ast.CallExpr)
	}
	if call == nil {
		return "", ""
	}
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	return path(selector.X), selector.Sel.Name
}

func path(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return path(e.X) + "." + e.Sel.Name
	default:
		return fmt.Sprintf("%T", e)
	}
}

// TestNobodyWaitsForMemoryWithALock calls every route of every engine while all that is stored counts as large, and
// finds no lock held where a request would wait for memory.
func TestNobodyWaitsForMemoryWithALock(t *testing.T) {
	w := &watch{locks: heldLocks(t), found: map[string]bool{}}
	h := newFullHouseOver(t, greedy{memory.New()})
	ctx := context.WithValue(t.Context(), storage.BudgetKey{}, storage.Budget(w))
	var body map[string]any
	decoder := json.NewDecoder(strings.NewReader(eager))
	decoder.UseNumber()
	if err := decoder.Decode(&body); err != nil {
		t.Fatal(err)
	}
	body["password"], body["token"], body["accessor"], body["lease_id"] = "canary", "canary", "canary", "canary"
	calls := 0
	for _, op := range []engines.Operation{engines.Read, engines.List, engines.Update, engines.Patch, engines.Read,
		engines.Delete} {
		for _, pattern := range h.routes(t) {
			call := core.Call{ID: "x", Operation: op, Path: variable.ReplaceAllString(pattern, "task"),
				Token: engines.NewToken(h.root), Client: engines.Client{Addr: netip.MustParseAddr("127.0.0.1")}}
			switch {
			case strings.HasPrefix(call.Path, "sys/seal"), strings.HasPrefix(call.Path, "sys/pprof/"): // takes 30 seconds
				continue
			case strings.Contains(call.Path, "revoke") || strings.HasPrefix(call.Path, "sys/wrapping"):
				call.Token = engines.NewToken(h.token(t, `path "*" { capabilities = ["update", "sudo"] }`))
			case op == engines.List:
				call.Path += "/"
			}
			if op == engines.Update || op == engines.Patch {
				call.Params = body
			}
			_, _ = h.core.Handle(ctx, call) // what becomes of it is for other tests
			calls++
		}
	}
	t.Logf("%d calls waited %d times", calls, w.spent)
	if w.spent < calls/4 {
		t.Error("hardly anything was charged for")
	}
	if len(w.found) > 0 {
		places := make([]string, 0, len(w.found))
		for place := range w.found {
			places = append(places, place)
		}
		slices.Sort(places)
		t.Errorf("requests wait for memory while\n%s", strings.Join(places, "\n"))
	}
}
