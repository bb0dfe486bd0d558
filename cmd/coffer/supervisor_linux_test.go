package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spawn starts the command in a process of its own, with its output where out says.
func spawn(t *testing.T, out *os.File, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", out, out
	cmd.Env = append([]string{asCoffer + "=" + visible}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// toFile is a file for the output of a process.
func toFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func ended(t *testing.T, cmd *exec.Cmd) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("the process does not end")
		return nil
	}
}

// A service manager, here the test, hears from a real process that it is ready, alive, reloading and stopping.
func TestServiceManager(t *testing.T) {
	for _, name := range []string{
		filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@coffer-%d-%d", os.Getpid(), time.Now().UnixNano()),
	} {
		t.Run(name[:1], func(t *testing.T) {
			socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			config := writeFile(t, "a.hcl", plainConfig)
			cmd := spawn(t, toFile(t), []string{"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=200000"}, "server", "-config="+config)
			hear := func(want string) {
				t.Helper()
				if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				for text := make([]byte, 4096); ; {
					n, err := socket.Read(text)
					if err != nil {
						t.Fatalf("%s was not heard: %v", want, err)
					}
					if strings.HasPrefix(string(text[:n]), want) {
						return
					}
				}
			}
			hear("READY=1")
			hear("STATUS=not initialized")
			hear("WATCHDOG=1")
			hear("WATCHDOG=1")
			if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			hear("RELOADING=1\nMONOTONIC_USEC=")
			hear("READY=1")
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			hear("STOPPING=1")
			if err := ended(t, cmd); err != nil {
				t.Errorf("the server ended with %v", err)
			}
		})
	}
}

// When the reader of the server's output does not read, the server serves on and ends when it is told to.
func TestReaderStalls(t *testing.T) {
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	config := writeFile(t, "a.hcl", plainConfig)
	cmd := spawn(t, in, nil, "server", "-config="+config)
	_ = in.Close()
	address := ""
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "Log data will stream in below") {
		if _, rest, ok := strings.Cut(lines.Text(), `Listener 1: tcp (addr: "`); ok {
			address, _, _ = strings.Cut(rest, `"`)
		}
	}
	deadline := time.Now().Add(patience)
	for waiting, after := 0, 0; after < 10; { // until no line fits any more, and then some
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes wait in the pipe", waiting)
		}
		if waiting, err = unix.IoctlGetInt(int(out.Fd()), unix.TIOCINQ); err != nil {
			t.Fatal(err)
		}
		if waiting > 4096-150 {
			after++
		}
		// A reload writes a line of about 150 bytes to the log.
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if _, err := get(http.DefaultClient, "http://"+address+"/v1/sys/health"); err != nil {
			t.Fatalf("the server does not answer: %v", err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := ended(t, cmd); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

// When the reader of the server's output goes away, the server serves on, drops lines of its log and counts them.
func TestReaderGone(t *testing.T) {
	config := writeFile(t, "a.hcl", strings.Replace(plainConfig, "tls_disable = true",
		"tls_disable = true\ntelemetry {\nunauthenticated_metrics_access = true\n}", 1))
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := spawn(t, in, nil, "server", "-config="+config)
	_ = in.Close()
	address := ""
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "Log data will stream in below") {
		if _, rest, ok := strings.Cut(lines.Text(), `Listener 1: tcp (addr: "`); ok {
			address, _, _ = strings.Cut(rest, `"`)
		}
	}
	if err := out.Close(); err != nil { // the reader goes away
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for dropped := false; !dropped; {
		if time.Now().After(deadline) {
			t.Fatal("no dropped lines were counted")
		}
		// A reload writes to the log.
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		text, err := get(http.DefaultClient, "http://"+address+"/v1/sys/metrics?format=prometheus")
		if err != nil {
			t.Fatalf("the server does not answer: %v", err)
		}
		_, count, found := strings.Cut(text, "\nvault_log_lines_dropped_total ")
		dropped = found && !strings.HasPrefix(count, "0\n")
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := ended(t, cmd); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}
