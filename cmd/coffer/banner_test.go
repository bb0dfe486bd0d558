package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"coffer/server/core"
)

// The server says what it found and what to type next, for each state that it can be in.
func TestBannerSaysWhatIsNext(t *testing.T) {
	const static = "seal \"static\" {\n  current_key_id = \"k1\"\n  current_key = \"env://SEAL_KEY\"\n}\n"
	for _, test := range []struct {
		name, more string
		state      core.State
		want       []string
		not        string
	}{
		{name: "new", state: core.State{Sealed: true, Seal: "shamir"},
			want: []string{"State: not initialized", "$ vault operator init", "$ vault operator unseal", "$ vault login", "unseal keys and the root token"}},
		{name: "sealed", state: core.State{Initialized: true, Sealed: true, Seal: "shamir", Threshold: 3},
			want: []string{"State: sealed (seal: shamir)", "$ vault operator unseal", "# 3 times"}, not: "operator init"},
		{name: "new, static seal", more: static, state: core.State{Sealed: true, Seal: "static"},
			want: []string{`Seal: static (opens itself with the key "k1" in the variable SEAL_KEY)`, "prints recovery keys"}, not: "operator unseal"},
		{name: "static seal that does not open", more: static,
			state: core.State{Initialized: true, Sealed: true, Seal: "static", Threshold: 2},
			want:  []string{"The seal did not open the data", "$ vault operator unseal", "# 2 times"}},
		{name: "open", more: static, state: core.State{Initialized: true, Seal: "static"},
			want: []string{"State: unsealed (seal: static)", "$ vault status", "$ vault login"}, not: "operator"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := run(t, &fakeService{state: test.state}, nil, "server", "-config="+writeFile(t, "a.hcl", plainConfig+test.more))
			address := r.address(t)
			stop(t, r)
			text := r.stdout.String()
			for _, want := range append(test.want, "$ export VAULT_ADDR=http://"+address+"\n", "Storage: inmem (in memory: everything is lost") {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			if test.not != "" && strings.Contains(text, test.not) {
				t.Errorf("%q in\n%s", test.not, text)
			}
		})
	}
}

// With TLS, the address is one that the certificate is for, and clients are told to name its authority.
func TestBannerWithTLS(t *testing.T) {
	cert, key := certificateUntil(t, t.TempDir(), 1, time.Now().Add(100*day))
	r := run(t, &fakeService{}, nil, "server", "-config="+writeFile(t, "a.hcl",
		strings.Replace(tlsConfig(cert, key, ""), "127.0.0.1:0", "0.0.0.0:0", 1)))
	r.stdout.match(t, `\$ export VAULT_ADDR=https://127\.0\.0\.1:\d+\n`)
	r.stdout.match(t, `\$ export VAULT_CACERT=FILE`)
	stop(t, r)
}

// A real server says whether its data is new or found.
func TestBannerSaysWhatWasFound(t *testing.T) {
	folder := t.TempDir()
	path := writeFile(t, "a.hcl", strings.Replace(plainConfig, `"inmem" {}`, fmt.Sprintf("\"file\" {\npath = %q\n}", folder), 1))
	for _, want := range []string{"new", "found"} {
		r := runCore(t, nil, "server", "-config="+path)
		r.stdout.match(t, `Storage: file \(`+regexp.QuoteMeta(filepath.Join(folder, "coffer.db"))+`, `+want+`\)`)
		stop(t, r)
	}
}

// runCore is run with the real core.
func runCore(t *testing.T, env map[string]string, args ...string) *running {
	t.Helper()
	r := &running{signals: make(chan os.Signal, 4), exit: make(chan int, 1)}
	p := &process{stdout: &r.stdout, stderr: &r.stderr, signals: r.signals, start: startCore,
		env: func(name string) string { return env[name] }}
	go func() { r.exit <- p.run(t.Context(), args) }()
	return r
}

// openFolder is a folder that everybody may enter.
func openFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Chmod(filepath.Dir(folder), 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

// A seal's key that cannot be read is told before anybody initialises; one that everybody can read is warned about.
func TestSealKeyIsLookedAt(t *testing.T) {
	folder := openFolder(t)
	key := filepath.Join(folder, "seal.key")
	path := writeFile(t, "a.hcl", plainConfig+fmt.Sprintf("seal \"static\" {\n  current_key_id = \"k1\"\n  current_key = \"file://%s\"\n}\n", key))
	start := func() string {
		r := runCore(t, nil, "server", "-config="+path)
		r.address(t)
		stop(t, r)
		return r.stderr.String()
	}
	const unread, open = "[ERROR] the key of the seal cannot be read", "[WARN]  everybody on this machine can read the key of the seal"
	if log := start(); !strings.Contains(log, unread) || !strings.Contains(log, `a.hcl:10: seal.static.current_key`) ||
		!strings.Contains(log, "no such file") || strings.Contains(log, open) {
		t.Errorf("without the file:\n%s", log)
	}
	if err := os.WriteFile(key, []byte("too short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if log := start(); !strings.Contains(log, unread) || strings.Contains(log, "too short") && strings.Contains(log, "got too short") {
		t.Errorf("with a short key:\n%s", log)
	}
	if err := os.WriteFile(key, []byte(strings.Repeat("ab", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o440: false, 0o644: true} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		if log := start(); strings.Contains(log, open) != want || strings.Contains(log, unread) || strings.Contains(log, "abab") {
			t.Errorf("mode %o:\n%s", mode, log)
		}
	}
	// In a folder of one's own the mode says nothing.
	if err := os.Chmod(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if log := start(); strings.Contains(log, open) {
		t.Errorf("in a closed folder:\n%s", log)
	}
}

// A configuration with the key itself, and the key of a certificate, are looked at as well.
func TestOtherKeysAreLookedAt(t *testing.T) {
	folder := openFolder(t)
	cert, key := certificateFor(t, folder, 1)
	path := filepath.Join(folder, "a.hcl")
	text := tlsConfig(cert, key, "") +
		"seal \"static\" {\n  current_key_id = \"k1\"\n  current_key = \"" + strings.Repeat("ab", 32) + "\"\n}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]int{0o600: 0, 0o644: 2} {
		for _, file := range []string{path, key} {
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
		}
		r := runCore(t, nil, "server", "-config="+path)
		r.address(t)
		stop(t, r)
		if log := r.stderr.String(); strings.Count(log, "everybody on this machine can read") != want {
			t.Errorf("mode %o:\n%s", mode, log)
		}
	}
}

// Commands that there are not point to those that are meant, and repeat no arguments.
func TestUnknownCommands(t *testing.T) {
	for args, want := range map[string]string{
		"":                                 `with HashiCorp's "vault" command`,
		"operator init":                    `unknown command "operator": coffer is the server alone; write: vault operator …`,
		"kv put secret/x password=hunter2": "write: vault kv …",
		"-config=hunter2":                  `unknown command "-config": a command comes before its options; write: coffer server -config …`,
		"-dev":                             "write: coffer server -dev …",
		"sever":                            `unknown command "sever"; did you mean "server"?`,
		"opertor":                          `did you mean "vault operator"?`,
		"frobnicate":                       "unknown command \"frobnicate\"\n\nUsage: coffer",
	} {
		r := run(t, &fakeService{}, nil, strings.Fields(args)...)
		if code := r.wait(t); code != exitUnknown {
			t.Errorf("%s: exit code %d", args, code)
		}
		if text := r.stderr.String(); !strings.Contains(text, want) || strings.Contains(text, "hunter2") {
			t.Errorf("%q is answered by\n%s", args, text)
		}
	}
}

// Mistakes that show only when a setting is used name its line and the remedy as well.
func TestMistakesAtStart(t *testing.T) {
	in := func(config, old, text string) string { return strings.Replace(config, old, text, 1) }
	for _, test := range []struct{ name, config, want string }{
		{"another address", in(plainConfig, "127.0.0.1:0", "192.0.2.7:8200"), `a.hcl:4: listener.tcp.address: .*no interface of this machine has the address`},
		{"an audit device of another type", plainConfig + "audit \"syslog\" \"x\" {}\n", `a.hcl:8: audit.syslog.x: unknown backend type`},
		{"an audit device without a file", plainConfig + "audit \"file\" \"x\" {}\n", `a.hcl:8: audit.file.x: .*"file_path" is required`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := runCore(t, nil, "server", "-config="+writeFile(t, "a.hcl", test.config))
			if code := r.wait(t); code != exitError || !regexp.MustCompile(test.want).MatchString(r.stderr.String()) {
				t.Errorf("exit code %d, error\n%s", code, &r.stderr)
			}
		})
	}
}

// The declared devices follow the configuration at SIGHUP.
func TestDeclaredAuditFollowsReload(t *testing.T) {
	folder := t.TempDir()
	device := func(name string) string {
		return fmt.Sprintf("audit \"file\" %q {\n  options {\n    file_path = %q\n  }\n}\n", name, filepath.Join(folder, name))
	}
	path := writeFile(t, "a.hcl", device("one"))
	r := runCore(t, nil, "server", "-dev", "-dev-no-store-token", "-dev-listen-address=127.0.0.1:0", "-config="+path)
	r.stderr.match(t, "audit devices are as the configuration declares them")
	if err := os.WriteFile(path, []byte(device("two")), 0o600); err != nil {
		t.Fatal(err)
	}
	r.signals <- syscall.SIGHUP
	r.stderr.match(t, "reloaded .* audit devices")
	for _, name := range []string{"one", "two"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			t.Error(err)
		}
	}
	stop(t, r)
}
