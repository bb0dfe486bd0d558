package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A real process that may not use a folder, a key or a port says who it is, what is in the way, and the command that
// gives it to that user.
func TestPermissionMistakes(t *testing.T) {
	folder := openFolder(t)
	cert, key := certificateFor(t, folder, 1)
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = nobody, nobody
	}
	chown := func(path string) string { return fmt.Sprintf("chown %d:%d %s ", uid, gid, path) }
	who := fmt.Sprintf("coffer runs as uid %d, gid %d", uid, gid)
	closed := filepath.Join(folder, "closed")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	of := filepath.Join(folder, "root")
	if err := os.Mkdir(of, 0o555); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{cert: 0o644, key: 0} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	in := func(config, old, text string) string { return strings.Replace(config, old, text, 1) }
	for name, test := range map[string]struct {
		config string
		want   []string
	}{
		"a data folder": {in(plainConfig, `"inmem" {}`, fmt.Sprintf("\"file\" {\n  path = %q\n}", closed)),
			[]string{"a.hcl:3: storage.file.path: ", who, chown(closed)}},
		"a folder to make": {in(plainConfig, `"inmem" {}`, fmt.Sprintf("\"file\" {\n  path = %q\n}", closed+"/a/b")),
			[]string{"a.hcl:3: storage.file.path: ", who, chown(closed)}},
		"the key of a certificate":        {tlsConfig(cert, key, ""), []string{"a.hcl:6: listener.tcp.tls_key_file: ", who, chown(key)}},
		"a log file":                      {plainConfig + fmt.Sprintf("log_file = %q\n", closed+"/log"), []string{"log_file: ", who, chown(closed)}},
		"a socket where nobody may write": {socketConfig(of+"/s", ""), []string{"a.hcl:4: listener.unix.address: ", who, chown(of)}},
		"a socket":                        {socketConfig(closed+"/s", ""), []string{"a.hcl:4: listener.unix.address: ", who, chown(closed)}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(folder, "a.hcl")
			if err := os.WriteFile(path, []byte(test.config), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "server", "-config="+path)
			cmd.Dir, cmd.Env = "/", []string{asCoffer + "=" + visible}
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if os.Getuid() == 0 {
				cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
			}
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Error("the server started")
			}
			for _, want := range test.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
}
