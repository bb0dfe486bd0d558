package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSecurityPageNamesRealTests holds docs/security.md to the code: each test in its table of attacks exists in the
// package that it is said to be in.
func TestSecurityPageNamesRealTests(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	part := regexp.MustCompile("`([a-z0-9/-]+)` ((?:Test|Fuzz)[A-Za-z0-9]+(?:, (?:Test|Fuzz)[A-Za-z0-9]+)*)")
	for _, found := range part.FindAllStringSubmatch(string(page), -1) {
		code := testsOf(t, filepath.Join(root, filepath.FromSlash(found[1])))
		for name := range strings.SplitSeq(found[2], ", ") {
			named++
			if !strings.Contains(code, "\nfunc "+name+"(") {
				t.Errorf("%s has no %s", found[1], name)
			}
		}
	}
	if named < 40 {
		t.Errorf("only %d tests were found on the page", named)
	}
}

// testsOf returns the text of a package's tests.
func testsOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
