package limits

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"coffer/api-tests/servers"
)

// dev is a running "server -dev".
type dev struct {
	cmd    *exec.Cmd
	addr   string
	home   string
	output string // Up to the line with the root token.
}

// startDev runs "server -dev" with args in a home of its own and reads what it prints up to the root token.
func startDev(t *testing.T, args ...string) *dev {
	t.Helper()
	binary, err := servers.Binary(t.Context(), kind())
	if err != nil {
		t.Fatal(err)
	}
	place, err := servers.Prepare(t.Context(), kind(), servers.Options{}) // For its port only.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := place.Close(); err != nil {
			t.Error(err)
		}
	})
	d := &dev{addr: place.Addr(), home: t.TempDir()}
	args = append([]string{"server", "-dev", "-dev-listen-address=" + place.HostPort()}, args...)
	d.cmd = exec.Command(binary, args...)
	d.cmd.Env = append(servers.CleanEnv(), "HOME="+d.home)
	servers.DieWithParent(d.cmd)
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.cmd.Stderr = d.cmd.Stdout
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // It may have ended.
		_ = d.cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for !strings.Contains(d.output, "Root Token: ") {
		if !lines.Scan() {
			t.Fatalf("the output ends before the root token: %v\n%s", lines.Err(), d.output)
		}
		d.output += lines.Text() + "\n"
	}
	go func() {
		for lines.Scan() { // So that it never waits for us.
		}
	}()
	return d
}

func (d *dev) value(t *testing.T, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(d.output)
	if m == nil {
		t.Fatalf("no %q in:\n%s", pattern, d.output)
	}
	return m[1]
}

// lookup says what auth/token/lookup-self answers to token.
func (d *dev) lookup(t *testing.T, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.addr+"/v1/auth/token/lookup-self", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestDev(t *testing.T) {
	d := startDev(t)
	if got := d.value(t, `(?m)export VAULT_ADDR='?([^'\s]+)'?$`); got != d.addr {
		t.Errorf("the export line says %s, want %s", got, d.addr)
	}
	if key := d.value(t, `(?m)^Unseal Key: (\S+)$`); len(key) != 44 {
		t.Errorf("the unseal key is %d characters long, want 44 of base64", len(key))
	}
	token := d.value(t, `(?m)^Root Token: (hvs\.\S+)$`)
	if got := d.lookup(t, token); got != http.StatusOK {
		t.Errorf("the root token is answered with %d", got)
	}
	stored, err := os.ReadFile(filepath.Join(d.home, ".vault-token"))
	if err != nil || string(stored) != token {
		t.Errorf("the token in the home folder is not the root token: %v", err)
	}
	if err := d.cmd.Process.Signal(sigTerm); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the exit after SIGTERM: %v", err)
	}
}

func TestDevOptions(t *testing.T) {
	d := startDev(t, "-dev-root-token-id=chosen", "-dev-no-store-token")
	if got := d.value(t, `(?m)^Root Token: (\S+)$`); got != "chosen" {
		t.Errorf("the root token is %q, want the chosen one", got)
	}
	if got := d.lookup(t, "chosen"); got != http.StatusOK {
		t.Errorf("the chosen root token is answered with %d", got)
	}
	if got := d.lookup(t, "other"); got != http.StatusForbidden {
		t.Errorf("another token is answered with %d, want 403", got)
	}
	if _, err := os.Stat(filepath.Join(d.home, ".vault-token")); err == nil {
		t.Error("the token was stored although it must not")
	}
}
