package servers

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// oidcOnce builds the OpenID provider of api-tests/stock/oidc, at most once in the life of a test process.
var oidcOnce = sync.OnceValues(func() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "api-tests", "stock", "oidc")
	hash := sha256.New()
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		content, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(content), content)
	}
	target, unlock, err := lockCache("oidc-" + hex.EncodeToString(hash.Sum(nil)[:6]))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	partial := target + ".partial"
	if err := goBuild(source, partial, "."); err != nil {
		return "", err
	}
	return target, os.Rename(partial, target)
})

// OIDCProvider runs the OpenID provider of api-tests/stock/oidc, which sends browsers to the given addresses, until the
// test ends. It returns its issuer URL.
func OIDCProvider(ctx context.Context, t testing.TB, redirects ...string) string {
	t.Helper()
	binary, err := oidcOnce()
	if err != nil {
		t.Fatal(err)
	}
	log := &strings.Builder{}
	cmd := exec.CommandContext(ctx, binary, redirects...)
	cmd.Env, cmd.Stderr = CleanEnv(), log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // The provider ends with it.
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the provider's log:\n%s", log)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}
