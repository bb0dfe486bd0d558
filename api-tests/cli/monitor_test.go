package cli

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

// standardLine is a line of the log in Vault's own format.
var standardLine = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[(?:TRACE|DEBUG|INFO|WARN|ERROR)\] +\S+: \S`)

// TestMonitor follows the log of the server with "vault monitor" in both formats. Of coffer the streams end when it
// seals, of Vault they go on.
func TestMonitor(t *testing.T) {
	t.Parallel()
	vault, err := servers.Binary(t.Context(), servers.Vault)
	if err != nil {
		t.Fatal(err)
	}
	s := servers.ReadyForTest(t, servers.Kind(*against), servers.Options{Storage: servers.InMemory})
	env := []string{"HOME=" + t.TempDir(), "VAULT_ADDR=" + s.Addr(), "VAULT_TOKEN=" + s.RootToken}
	nobody := strings.TrimSpace(run(t, vault, env, "token", "create", "-policy=default", "-field=token"))
	standard := monitor(t, vault, env, "-log-level=debug")
	inJSON := monitor(t, vault, env, "-log-level=debug", "-log-format=json")
	// When a monitor begins to follow nobody tells, so there is something in the log until both have a line.
	got := make(chan string, 2)
	for _, follower := range []*bufio.Reader{standard, inJSON} {
		go func() {
			line, _ := follower.ReadString('\n') // an error leaves a line that does not match
			got <- line
		}()
	}
	var lines []string
	for deadline := time.Now().Add(pollFor); len(lines) < 2 && time.Now().Before(deadline); {
		// Vault logs the first two, coffer the third.
		mustSay(t, run(t, vault, env, "secrets", "enable", "-path=task", "kv"), "Success!")
		mustSay(t, run(t, vault, env, "secrets", "disable", "task"), "Success!")
		mustSay(t, run(t, vault, append(env, "VAULT_TOKEN="+nobody), "read", "sys/mounts"), "permission denied")
		select {
		case line := <-got:
			lines = append(lines, line)
		case <-time.After(pollEvery):
		}
	}
	plain, structured := 0, 0
	for _, line := range lines {
		var members map[string]any
		if json.Unmarshal([]byte(line), &members) == nil && members["@level"] != nil && members["@message"] != nil &&
			members["@module"] != nil && members["@timestamp"] != nil {
			structured++
		} else if standardLine.MatchString(line) {
			plain++
		}
	}
	if plain != 1 || structured != 1 {
		t.Errorf("the first lines are %q", lines)
	}
	if servers.Kind(*against) != servers.Coffer {
		return
	}
	mustSay(t, run(t, vault, env, "operator", "seal"), "Success! Vault is sealed.")
	for _, follower := range []*bufio.Reader{standard, inJSON} {
		if _, err := io.Copy(io.Discard, follower); err != nil {
			t.Errorf("at the end: %v", err)
		}
	}
}

// monitor starts "vault monitor" and returns what it prints. The test's end is its own.
func monitor(t *testing.T, vault string, env []string, flags ...string) *bufio.Reader {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), vault, append([]string{"monitor"}, flags...)...)
	cmd.Env = append(servers.CleanEnv(), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // killed by the context, unless it has ended
	return bufio.NewReader(out)
}
