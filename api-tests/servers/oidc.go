package servers

import (
	"bufio"
	"context"
	"os/exec"
	"strings"
	"testing"
)

// OIDCProvider runs the OpenID provider of api-tests/stock/oidc, which sends browsers to the given addresses, until the
// test ends. It returns its issuer URL.
func OIDCProvider(ctx context.Context, t testing.TB, redirects ...string) string {
	t.Helper()
	binary, err := Binary(ctx, OpenIDProvider)
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
