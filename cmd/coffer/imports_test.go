package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "coffer"

// layers is the order of the packages: a package imports only what stands above it here.
//
//	storage ← barrier ← policy ← engines ← auth ← engines/X, auth/X ← server ← cmd
//
// The files are parsed instead of asking `go list`, so that the test cache knows what the test read.
var layers = []struct {
	name string
	// match tells whether the layer holds a package, by its path in the module.
	match func(pkg string) bool
}{
	{"storage", func(p string) bool { return under(p, "storage") }},
	{"barrier", func(p string) bool { return under(p, "barrier") }},
	{"policy", func(p string) bool { return under(p, "policy") }},
	{"engines", func(p string) bool { return p == "engines" }},
	{"auth", func(p string) bool { return p == "auth" || p == "auth/strictjson" }},
	{"engines/X and auth/X", func(p string) bool { return under(p, "engines") || under(p, "auth") }},
	{"server", func(p string) bool { return under(p, "server") }},
	{"cmd", func(p string) bool { return under(p, "cmd") }},
}

func under(pkg, folder string) bool { return pkg == folder || strings.HasPrefix(pkg, folder+"/") }

func layerOf(pkg string) int {
	for i, l := range layers {
		if l.match(pkg) {
			return i
		}
	}
	return -1
}

// room is the part of a package's path that makes it one thing: engines/kv of engines/kv/internal/x.
func room(pkg string) string {
	parts := strings.SplitN(pkg, "/", 3)
	return path.Join(parts[:min(2, len(parts))]...)
}

// violation says why importer may not import imported, both of this module; "" when it may.
func violation(importer, imported string) string {
	from, to := layerOf(importer), layerOf(imported)
	switch {
	case under(importer, "api-tests"):
		if !under(imported, "api-tests") {
			return "black-box tests see the product from outside"
		}
		return ""
	case from < 0:
		return "package stands in no layer"
	case to < 0:
		return "imports a package that stands in no layer"
	case to > from:
		return layers[from].name + " must not know of " + layers[to].name
	case layers[from].name == "engines/X and auth/X" && to == from && room(importer) != room(imported):
		return "engines and auth methods must not know each other"
	default:
		return ""
	}
}

// forbidden are imports from outside the module that a package, and what is below it, must do without.
var forbidden = map[string][]string{
	// A decision is pure: no I/O and no network.
	"policy":  {"os", "io/fs", "net", "net/http", "log", "log/slog"},
	"storage": {"net", "net/http"},
	"barrier": {"net", "net/http"},
	// server/api is the only room of the server that serves HTTP.
	"server/core":   {"net/http"},
	"server/mounts": {"net/http"},
	"server/leases": {"net/http"},
}

// Imports point one way.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for file, tree := range productFiles(t) {
		pkg := path.Dir(file)
		seen[room(pkg)] = true
		for _, spec := range tree.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			inside, ours := strings.CutPrefix(imported, module+"/")
			if ours {
				if why := violation(pkg, inside); why != "" {
					t.Errorf("%s imports %s: %s", file, imported, why)
				}
			}
			for folder, list := range forbidden {
				if under(pkg, folder) && slices.Contains(list, imported) {
					t.Errorf("%s imports %s: not in %s", file, imported, folder)
				}
			}
		}
	}
	for _, expected := range []string{"cmd/coffer", "server/config", "storage"} {
		if !seen[expected] {
			t.Errorf("the files of %s were not found", expected)
		}
	}
}

// The rule itself: what may import what.
func TestViolation(t *testing.T) {
	for _, test := range []struct {
		importer, imported string
		allowed            bool
	}{
		{"cmd/coffer", "server/core", true},
		{"cmd/coffer", "storage/bolt", true},
		{"server/core", "engines/kv", true},
		{"server/core", "server/mounts", true},
		{"engines/kv", "engines", true},
		{"engines/kv", "engines/kv/internal/x", true},
		{"engines/kv", "storage", true},
		{"auth/token", "auth", true},
		{"barrier", "storage", true},
		{"storage/bolt", "storage", true},
		{"api-tests/http", "api-tests/servers", true},
		{"server/core", "cmd/coffer", false},
		{"engines/kv", "server/core", false},
		{"engines/kv", "engines/transit", false},
		{"auth/token", "engines/kv", false},
		{"auth/token", "auth/approle", false},
		{"engines", "engines/kv", false},
		{"engines", "server/core", false},
		{"policy", "engines", false},
		{"barrier", "policy", false},
		{"storage", "barrier", false},
		{"misc", "storage", false},
		{"server/core", "misc", false},
		{"api-tests/http", "server/core", false},
	} {
		if why := violation(test.importer, test.imported); (why == "") != test.allowed {
			t.Errorf("%s imports %s: %q, want allowed %v", test.importer, test.imported, why, test.allowed)
		}
	}
}

// maxFields is a wall, not a target: structs have fewer than 15 fields. What a protocol prescribes, such as
// the parameters of one route or a record on disk, may reach the wall.
const maxFields = 30

func TestStructSizes(t *testing.T) {
	for file, tree := range productFiles(t) {
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok && s.Fields.NumFields() > maxFields {
				t.Errorf("%s: struct %s has %d fields, at most %d are possible", file, spec.Name, s.Fields.NumFields(), maxFields)
			}
			return true
		})
	}
}

// productFiles parses all Go files of the module but its tests, by their path in it.
func productFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	root := filepath.Join("..", "..")
	files := map[string]*ast.File{}
	set := token.NewFileSet()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		inside = filepath.ToSlash(inside)
		if d.IsDir() {
			return skipFolder(name, inside, d.Name())
		}
		if !strings.HasSuffix(inside, ".go") || strings.HasSuffix(inside, "_test.go") || !strings.Contains(inside, "/") {
			return nil
		}
		tree, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		files[inside] = tree
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// skipFolder passes over hidden folders, test data and nested modules.
func skipFolder(name, inside, base string) error {
	if inside == "." {
		return nil
	}
	if strings.HasPrefix(base, ".") || base == "testdata" || base == "bin" || base == "dist" {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}
