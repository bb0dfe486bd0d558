package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// container is the image's entry point with stand-ins for what it calls: each prints how it was called.
type container struct {
	bin, vault, conf, script string
}

func newContainer(t *testing.T, uid int, owners string) *container {
	t.Helper()
	c := &container{bin: t.TempDir(), vault: t.TempDir()}
	c.conf = filepath.Join(c.vault, "config")
	text, err := os.ReadFile("../../deploy/docker-entrypoint.sh")
	if err != nil {
		t.Fatal(err)
	}
	c.script = writeFile(t, "entrypoint", strings.ReplaceAll(string(text), "/vault/", c.vault+"/"))
	for _, dir := range []string{"config", "data", "file", "logs"} {
		if err := os.Mkdir(filepath.Join(c.vault, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, body := range map[string]string{
		"vault":     `echo vault "$@"`,
		"id":        fmt.Sprintf(`case "$*" in "-u vault") echo 100 ;; "-g vault") echo 1000 ;; *) echo %d ;; esac`, uid),
		"stat":      "case $3 in " + owners + " *) echo 100 ;; esac",
		"chown":     `echo chown "$@"`,
		"setuidgid": `user=$1; shift; case "$1" in sh | true) exec "$@" ;; esac; echo "as $user:"; exec "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(c.bin, name), []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// run returns what was called, with the folder of the volumes as /vault.
func (c *container) run(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{c.script}, args...)...)
	cmd.Env = append([]string{"PATH=" + c.bin + ":" + os.Getenv("PATH")}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	return strings.ReplaceAll(string(out), c.vault+"/", "/vault/")
}

func TestDockerEntrypoint(t *testing.T) {
	for _, test := range []struct {
		name, args, local, want string
	}{
		{"the Helm chart", "vault server -config=/tmp/storageconfig.hcl", "", "vault server -config=/tmp/storageconfig.hcl"},
		{"a development server", "server -dev", "", "vault server -dev"},
		{"flags", "-dev", "", "vault server -dev"},
		{"a compose file", "server", "", "vault server -config=/vault/config"},
		{"a compose file with flags", "server -log-level=debug", "", "vault server -config=/vault/config -log-level=debug"},
		{"its own configuration", "server -log-level debug --config /c", "", "vault server -log-level debug --config /c"},
		{"nothing", "", "", "vault server -config=/vault/config"},
		{"a probe", "vault status -tls-skip-verify", "", "vault status -tls-skip-verify"},
		{"another program", "echo hello", "", "hello"},
		{"configuration from the environment", "server -log-level=debug", `{"ui": true}`,
			"vault server -config=/vault/config -log-level=debug"},
		{"both", "server -config=/c", `{"ui": true}`, "vault server -config=/vault/config -config=/c"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newContainer(t, 100, "")
			if got := c.run(t, []string{"VAULT_LOCAL_CONFIG=" + test.local}, strings.Fields(test.args)...); got != test.want+"\n" {
				t.Errorf("ran %q, want %q", got, test.want)
			}
			text, err := os.ReadFile(filepath.Join(c.conf, "local.json"))
			if test.local != "" && string(text) != test.local+"\n" {
				t.Errorf("local.json: %q, %v", text, err)
			}
		})
	}
}

// Started as root, the entry point hands over the bind mounts that Docker made for root, and becomes the user vault.
func TestDockerEntrypointAsRoot(t *testing.T) {
	const dataOfRoot = "*/data) echo 0 ;;"
	for _, test := range []struct {
		name, args string
		env        []string
		want       string
	}{
		{"a bind mount of root", "server", nil, "chown -R 100:1000 /vault/data\nas vault:\nvault server -config=/vault/config\n"},
		{"not asked to", "server", []string{"SKIP_CHOWN=1"}, "as vault:\nvault server -config=/vault/config\n"},
		{"another program", "echo hello", nil, "hello\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newContainer(t, 0, dataOfRoot)
			if got := c.run(t, test.env, strings.Fields(test.args)...); got != test.want {
				t.Errorf("ran\n%s\nwant\n%s", got, test.want)
			}
		})
	}
	t.Run("without the capability", func(t *testing.T) {
		c := newContainer(t, 0, "")
		if err := os.WriteFile(filepath.Join(c.bin, "setuidgid"), []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if got := c.run(t, nil, "server"); !strings.Contains(got, "runs as root\nvault server -config=/vault/config\n") {
			t.Errorf("ran\n%s", got)
		}
	})
}

// The unit of systemd is what docs/operations.md says it is, and starts coffer with flags that it has.
func TestSystemdUnit(t *testing.T) {
	text, err := os.ReadFile("../../deploy/systemd/coffer.service")
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = value
		}
	}
	for key, want := range map[string]string{
		"Type": "notify", "ExecReload": "/bin/kill --signal HUP $MAINPID", "NotifyAccess": "main", "User": "coffer", "ProtectSystem": "strict", "NoNewPrivileges": "true",
		"StateDirectory": "coffer", "StateDirectoryMode": "0700", "RuntimeDirectory": "coffer", "LimitCORE": "0",
		"MemoryDenyWriteExecute": "true", "WatchdogSec": "30s",
	} {
		if settings[key] != want {
			t.Errorf("%s=%s, want %s", key, settings[key], want)
		}
	}
	command := strings.Fields(settings["ExecStart"])
	if len(command) < 2 || command[1] != "server" {
		t.Fatalf("ExecStart=%s", settings["ExecStart"])
	}
	if _, err := parseServerFlags(command[2:], func(string) string { return "" }); err != nil {
		t.Errorf("ExecStart=%s: %v", settings["ExecStart"], err)
	}
}
