package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const anyPort = "-dev-listen-address=127.0.0.1:0"

// Flags that people's files pass to Vault are taken; what they would do there shows in the log.
func TestFlagsOfVault(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		// kv is the version at secret/; -1 for a server that is not initialised.
		kv   int
		says string
	}{
		{"plain", []string{"-dev"}, 2, ""},
		{"KV version 1", []string{"-dev-kv-v1"}, 1, ""},
		{"KV version 1 turned off", []string{"-dev", "-dev-kv-v1=false"}, 2, ""},
		{"no KV", []string{"-dev-no-kv"}, 0, ""},
		{"leased KV", []string{"-dev-leased-kv"}, 1, `flag=-dev-leased-kv why="KV version 1 is at secret/, and its secrets have no leases"`},
		{"not initialised", []string{"-dev", "-dev-skip-init"}, -1, ""},
		{"high availability", []string{"-dev-ha"}, 2, `flag=-dev-ha why="there is one node"`},
		{"auto seal", []string{"-dev-auto-seal"}, 2, "flag=-dev-auto-seal "},
		{"latency", []string{"-dev", "-dev-latency=50", "-dev-latency-jitter", "5"}, 2, "flag=-dev-latency-jitter "},
		{"logs", []string{"-dev", "-disable-gated-logs"}, 2, "flag=-disable-gated-logs "},
		{"no terminal", []string{"-dev", "-non-interactive"}, 2, "flag=-non-interactive "},
		{"recovery", []string{"-dev", "-recovery"}, 2, `flag=-recovery why="there is no recovery mode: the server starts as always"`},
		{"names without TLS", []string{"-dev", "-dev-tls-san=x"}, 2, `flag=-dev-tls-san why="-dev-tls was not given"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			svc := &fakeService{kv: -1}
			r := run(t, svc, nil, append([]string{"server", anyPort, "-dev-no-store-token"}, test.args...)...)
			want := "Root Token: "
			if test.kv < 0 {
				want = `\$ vault operator init`
			}
			r.stdout.match(t, want)
			r.signals <- syscall.SIGTERM
			if code := r.wait(t); code != exitOK || svc.kv != test.kv {
				t.Errorf("exit code %d, KV %d", code, svc.kv)
			}
			ignores := strings.Contains(r.stderr.String(), "no effect")
			if !strings.Contains(r.stderr.String(), test.says) || ignores != (test.says != "") {
				t.Errorf("the log does not say %q alone: %s", test.says, &r.stderr)
			}
		})
	}
}

// The switches that turn on -dev in Vault do so here, and no others.
func TestWhatTurnsOnDev(t *testing.T) {
	none := func(string) string { return "" }
	for _, name := range []string{"dev-kv-v1", "dev-no-kv", "dev-tls", "dev-ha", "dev-leased-kv", "dev-auto-seal",
		"dev-transactional"} {
		if o, err := parseServerFlags([]string{"-" + name}, none); err != nil || !o.dev.enabled {
			t.Errorf("-%s: %v", name, err)
		}
	}
	for _, flag := range []string{"-dev-skip-init", "-dev-latency=5", "-recovery", "-combine-logs", "-non-interactive",
		"-disable-gated-logs", "-test-verify-only", "-dev-tls-san=x", "-dev-ha=false"} {
		if _, err := parseServerFlags([]string{flag}, none); err == nil {
			t.Errorf("%s alone is enough", flag)
		}
	}
	if _, err := parseServerFlags([]string{"-dev-ha=perhaps"}, none); err == nil {
		t.Error("-dev-ha=perhaps is taken")
	}
}

func TestDevTLS(t *testing.T) {
	dir := t.TempDir()
	// What is there already is replaced, its mode included.
	if err := os.WriteFile(filepath.Join(dir, "vault-key.pem"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := run(t, &fakeService{}, nil, "server", "-dev-tls", anyPort, "-dev-no-store-token", "-dev-tls-cert-dir="+dir,
		"-dev-tls-san=vault.example.org", "-dev-tls-san=10.0.0.7")
	r.stdout.match(t, `export VAULT_ADDR='(https://127\.0\.0\.1:\d+)'`)
	ca := r.stdout.match(t, `export VAULT_CACERT='([^']+)'`)
	if ca != filepath.Join(dir, "vault-ca.pem") {
		t.Errorf("VAULT_CACERT is %s", ca)
	}
	info, err := os.Stat(filepath.Join(dir, "vault-key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, name := range []string{"127.0.0.1", "localhost", "vault.example.org", "10.0.0.7"} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}}}
		if body, err := get(client, "https://"+r.address(t)+"/"); err != nil || body != "hello" {
			t.Errorf("as %s: %q, %v", name, body, err)
		}
	}
	r.signals <- syscall.SIGTERM
	if code := r.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestDevTLSInAFolderOfItsOwn(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r := run(t, &fakeService{}, nil, "server", "-dev-tls", anyPort, "-dev-no-store-token")
	ca := r.stdout.match(t, `export VAULT_CACERT='([^']+)'`)
	if _, err := os.Stat(ca); err != nil {
		t.Error(err)
	}
	r.signals <- syscall.SIGTERM
	r.wait(t)
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	r = run(t, &fakeService{}, nil, "server", "-dev-tls", anyPort, "-dev-tls-cert-dir=/does/not/exist")
	if code := r.wait(t); code != exitError || !strings.Contains(r.stderr.String(), "-dev-tls-cert-dir: ") {
		t.Errorf("exit code %d: %s", code, &r.stderr)
	}
}

func TestVerifyOnly(t *testing.T) {
	svc := &fakeService{}
	good := writeFile(t, "good.hcl", plainConfig)
	r := run(t, svc, nil, "server", "-test-verify-only", "-config="+good)
	if code := r.wait(t); code != exitOK || svc.closed.Load() || r.stdout.String() != "The configuration is valid.\n" {
		t.Errorf("exit code %d, started %v: %s", code, svc.closed.Load(), &r.stdout)
	}
	r = run(t, svc, nil, "server", "-test-verify-only", "-config="+writeFile(t, "bad.hcl", "colour = 1"))
	if code := r.wait(t); code != exitError {
		t.Errorf("exit code %d: %s", code, &r.stdout)
	}
}

func TestCombinedLogs(t *testing.T) {
	for _, combined := range []bool{false, true} {
		args := []string{"server", "-dev", "-dev-no-store-token", anyPort, "-log-level=info"}
		if combined {
			args = append(args, "-combine-logs")
		}
		r := run(t, &fakeService{}, nil, args...)
		r.stdout.match(t, "Root Token: ")
		r.signals <- syscall.SIGTERM
		r.wait(t)
		const line = "shutting down"
		logs := []bool{strings.Contains(r.stdout.String(), line), strings.Contains(r.stderr.String(), line)}
		if !slices.Equal(logs, []bool{combined, !combined}) {
			t.Errorf("combined %v: in stdout and stderr %v", combined, logs)
		}
	}
}
