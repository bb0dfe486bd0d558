package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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

// readText returns a file of the repository.
func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// code returns the text of all Go files below folders of the repository, tests left out.
func code(t *testing.T, folders ...string) string {
	t.Helper()
	var all strings.Builder
	for _, folder := range folders {
		root := filepath.Join("..", "..", folder)
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// TestLinksOfPages follows the links between the pages, to files and to headings.
func TestLinksOfPages(t *testing.T) {
	root := filepath.Join("..", "..")
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md"))
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	followed := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			path, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			followed++
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), filepath.FromSlash(path))
			}
			if !leadsTo(target, anchor) {
				t.Errorf("%s: %s leads nowhere", page, found[1])
			}
		}
	}
	if followed < 15 {
		t.Errorf("only %d links were found", followed)
	}
}

// leadsTo reports whether a file is there and, unless anchor is "", has that heading as GitHub names it.
func leadsTo(target, anchor string) bool {
	if anchor == "" {
		_, err := os.Stat(target)
		return err == nil
	}
	text, err := os.ReadFile(target)
	if err != nil {
		return false
	}
	dropped := regexp.MustCompile(`[^a-z0-9 _-]`)
	for line := range strings.Lines(string(text)) {
		heading, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		name := dropped.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), "")
		if ok && strings.HasPrefix(line, "#") && strings.ReplaceAll(name, " ", "-") == anchor {
			return true
		}
	}
	return false
}

// TestPageHasEveryVariable holds docs/configuration.md to the code that reads variables of the environment, and to the
// entry point of the image, in both directions.
func TestPageHasEveryVariable(t *testing.T) {
	// Go's own libraries read these.
	read := []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}
	for _, in := range []struct{ text, pattern string }{
		{code(t, "cmd", "server", "auth", "barrier", "storage"), `(?:\b(?:env|or|Getenv|LookupEnv)\(|)"([A-Z]+(?:_[A-Z]+)*)"`},
		{readText(t, "deploy/docker-entrypoint.sh"), `\$\{([A-Z]+(?:_[A-Z]+)+)`},
	} {
		for _, found := range regexp.MustCompile(in.pattern).FindAllStringSubmatch(in.text, -1) {
			if strings.HasPrefix(found[1], "VAULT_") || !strings.HasPrefix(found[0], `"`) {
				read = append(read, found[1])
			}
		}
	}
	_, page, _ := strings.Cut(readText(t, "docs/configuration.md"), "## Environment")
	var said []string
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "| `") {
			for _, found := range regexp.MustCompile("`([A-Z_]{4,})`").FindAllStringSubmatch(line, -1) {
				said = append(said, found[1])
			}
		}
	}
	for _, name := range read {
		if !slices.Contains(said, name) {
			t.Errorf("docs/configuration.md does not have %s", name)
		}
	}
	for _, name := range said {
		if !slices.Contains(read, name) {
			t.Errorf("docs/configuration.md has %s, which nothing reads", name)
		}
	}
}

// TestAlertsNameRealMetrics holds the rules for Prometheus to the metrics that there are, and the page to the rules.
func TestAlertsNameRealMetrics(t *testing.T) {
	rules := readText(t, "deploy/prometheus/coffer-rules.yaml")
	metrics := code(t, "server/metrics", "cmd/coffer")
	for _, found := range regexp.MustCompile(`\b((?:vault|coffer)_[a-z_]+?)(?:_bucket)?\{`).FindAllStringSubmatch(rules, -1) {
		if !strings.Contains(metrics, `"`+found[1]+`"`) {
			t.Errorf("there is no metric %s", found[1])
		}
	}
	page := readText(t, "docs/operations.md")
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1)
	for _, found := range alerts {
		if !strings.Contains(page, "| "+found[1]+" |") {
			t.Errorf("docs/operations.md does not have the alert %s", found[1])
		}
	}
	if len(alerts) < 8 {
		t.Errorf("only %d alerts were found", len(alerts))
	}
}
