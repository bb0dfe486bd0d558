package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
)

// asCoffer in the environment makes the test's program the command itself: hidden, or visible to who started it.
const (
	asCoffer = "COFFER_TEST_IS_COFFER"
	hidden   = "hidden"
	visible  = "visible"
)

func TestMain(m *testing.M) {
	switch os.Getenv(asCoffer) {
	case hidden:
		main()
	case visible:
		os.Exit(command(nil))
	default:
		os.Exit(m.Run())
	}
}

// nobody is a user without privileges, as which a test of root runs a server: root's own files tell nothing.
const nobody = 65534

// startProcess starts the command in a process of its own, and returns it once its output matches.
func startProcess(t *testing.T, as, pattern string, args ...string) (pid int, found string) {
	t.Helper()
	var out output
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", &out, &out
	cmd.Env = []string{asCoffer + "=" + as}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 && as == hidden {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	found = out.match(t, pattern)
	return cmd.Process.Pid, found
}

// TestMemoryIsHidden looks at servers from outside: whether the kernel would dump them, and whether it gives their
// files in /proc, and with them ptrace, to the user who runs them.
func TestMemoryIsHidden(t *testing.T) {
	folder, err := os.MkdirTemp("", "coffer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	config := filepath.Join(folder, "a.hcl")
	text := "storage \"inmem\" {}\ndisable_mlock = true\nlistener \"tcp\" {\naddress = \"127.0.0.1:0\"\ntls_disable = true\n}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{folder: 0o755, config: 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, args := range map[string][]string{
		"without mlock": {"server", "-config=" + config},
		"development":   {"server", "-dev", "-dev-listen-address=127.0.0.1:0", "-dev-no-store-token"},
	} {
		t.Run(name, func(t *testing.T) {
			pid, _ := startProcess(t, hidden, "server started", args...)
			limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
			if err != nil {
				t.Fatal(err)
			}
			if !regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits) {
				t.Errorf("core dumps are possible:\n%s", limits)
			}
			info, err := os.Stat(fmt.Sprintf("/proc/%d/mem", pid))
			if err != nil {
				t.Fatal(err)
			}
			mine := uint32(os.Getuid())
			if mine == 0 {
				mine = nobody
			}
			if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid == mine {
				t.Errorf("the memory belongs to the user %d who runs the server", mine)
			}
		})
	}
}
