package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coffer/server/config"
)

type fakeAddr struct{}

func (fakeAddr) Network() string { return "tcp" }
func (fakeAddr) String() string  { return "fake:1" }

// fakeListener has an address and nothing else.
type fakeListener struct{ net.Listener }

func (fakeListener) Addr() net.Addr { return fakeAddr{} }

func socketConfig(path, more string) string {
	return fmt.Sprintf("storage \"inmem\" {}\ndisable_mlock = true\nlistener \"unix\" {\n  address = %q\n%s}\n", path, more)
}

func overSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
}

// The API is served on a socket of the mode and group of the configuration, in place of one that was left behind.
func TestUnixListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	r := run(t, &fakeService{}, nil, "server", "-config="+writeFile(t, "a.hcl",
		socketConfig(path, fmt.Sprintf("  socket_mode = \"660\"\n  socket_group = %d\n", os.Getgid()))))
	r.stdout.match(t, `Listener 1: unix \(addr: "`+path+`", mode: 0660`)
	r.stdout.match(t, `export VAULT_ADDR=unix://`+path+"\n")
	if body, err := get(overSocket(path), "http://localhost/v1/sys/health"); body != "hello" {
		t.Errorf("answer %q, %v", body, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	// A second server does not take it away.
	second := run(t, &fakeService{}, nil, "server", "-config="+writeFile(t, "b.hcl", socketConfig(path, "")))
	if code := second.wait(t); code != exitError || !strings.Contains(second.stderr.String(), "b.hcl:4: listener.unix.address: another program") {
		t.Errorf("exit code %d, %s", code, &second.stderr)
	}
	stop(t, r)
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is left behind")
	}
}

func TestSocketRefuses(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file: "is no socket", filepath.Join(folder, "none", "s"): "no such file or directory",
	} {
		if l, err := listenSocket(t.Context(), path, config.Socket{Mode: 0o600}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", path, l, err)
		}
	}
	if text, err := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}
