package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"coffer/server/config"
	"coffer/server/core"
	"coffer/server/metrics"
)

// patience is how long a test waits for what should happen at once.
const patience = time.Minute

// fakeService stands in for the core.
type fakeService struct {
	handler  http.HandlerFunc
	reloads  atomic.Int32
	closed   atomic.Bool
	closeErr error
	dev      string
	kv       int
	state    core.State
}

func (f *fakeService) Handler(config.Listener) http.Handler {
	if f.handler != nil {
		return f.handler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
}

func (f *fakeService) State(context.Context) (core.State, error) { return f.state, nil }

func (f *fakeService) Metrics() *metrics.Metrics {
	return metrics.New(func() bool { return true }, func() int { return 0 }, func() bool { return false })
}

func (f *fakeService) Reload(*config.Config) error {
	f.reloads.Add(1)
	return nil
}

func (f *fakeService) InitDev(_ context.Context, rootToken string, kv int) (devSecrets, error) {
	f.dev, f.kv = rootToken, kv
	return devSecrets{unsealKey: "the-key", rootToken: rootToken}, nil
}

func (f *fakeService) Close() error {
	f.closed.Store(true)
	return f.closeErr
}

// output is a terminal that a test can look at while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// match waits until pattern is in the output and returns its first group.
func (o *output) match(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.Now().Add(patience)
	for {
		if found := re.FindStringSubmatch(o.String()); found != nil {
			return found[len(found)-1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q in the output:\n%s", pattern, o)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// running is a process in a test.
type running struct {
	stdout, stderr output
	signals        chan os.Signal
	exit           chan int
}

func run(t *testing.T, svc service, env map[string]string, args ...string) *running {
	t.Helper()
	r := &running{signals: make(chan os.Signal, 4), exit: make(chan int, 1)}
	p := &process{
		stdout: &r.stdout, stderr: &r.stderr, signals: r.signals,
		env:   func(name string) string { return env[name] },
		start: func(*config.Config, *logging) (service, error) { return svc, nil },
	}
	go func() { r.exit <- p.run(context.Background(), args) }()
	return r
}

func (r *running) wait(t *testing.T) int {
	t.Helper()
	select {
	case code := <-r.exit:
		return code
	case <-time.After(patience):
		t.Fatalf("the process does not end\n%s%s", &r.stdout, &r.stderr)
		return -1
	}
}

// address is where the first listener really listens.
func (r *running) address(t *testing.T) string {
	t.Helper()
	return r.stdout.match(t, `Listener 1: tcp \(addr: "([^"]+)"`)
}

func get(client *http.Client, url string) (string, error) {
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const plainConfig = `
storage "inmem" {}
listener "tcp" {
  address     = "127.0.0.1:0"
  tls_disable = true
}
disable_mlock = true
`

func TestServerServesAndStops(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(signal.String(), func(t *testing.T) {
			svc := &fakeService{}
			pid := filepath.Join(t.TempDir(), "coffer.pid")
			r := run(t, svc, nil, "server", "--config", writeFile(t, "a.hcl", plainConfig+`pid_file = "`+pid+`"`))
			address := r.address(t)
			if body, err := get(http.DefaultClient, "http://"+address); body != "hello" {
				t.Errorf("answer %q, %v", body, err)
			}
			if text, err := os.ReadFile(pid); string(text) != strconv.Itoa(os.Getpid())+"\n" {
				t.Errorf("pid file %q, %v", text, err)
			}
			r.signals <- signal
			if code := r.wait(t); code != exitOK {
				t.Errorf("exit code %d\n%s", code, &r.stderr)
			}
			if !svc.closed.Load() {
				t.Error("the service was not closed")
			}
			if _, err := os.Stat(pid); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("pid file: %v", err)
			}
			if _, err := net.Dial("tcp", address); err == nil {
				t.Error("still listening")
			}
			if text := r.stdout.String(); !strings.Contains(text, "==> coffer shutdown triggered") {
				t.Errorf("output:\n%s", text)
			}
		})
	}
}

// A request that runs when the signal comes is answered; the service closes only after it.
func TestServerFinishesRequests(t *testing.T) {
	svc := &fakeService{}
	entered, proceed := make(chan bool), make(chan bool)
	svc.handler = func(w http.ResponseWriter, _ *http.Request) {
		entered <- true
		<-proceed
		fmt.Fprint(w, "closed: ", svc.closed.Load())
	}
	r := run(t, svc, nil, "server", "-config", writeFile(t, "a.hcl", plainConfig))
	address := r.address(t)
	answer := make(chan string, 1)
	go func() {
		body, err := get(http.DefaultClient, "http://"+address)
		answer <- fmt.Sprint(body, " ", err)
	}()
	<-entered
	r.signals <- syscall.SIGTERM
	r.stderr.match(t, "shutting down")
	close(proceed)
	if got := <-answer; got != "closed: false <nil>" {
		t.Errorf("answer %q", got)
	}
	if code := r.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// A second signal does not wait for requests.
func TestServerSecondSignal(t *testing.T) {
	entered, proceed := make(chan bool), make(chan bool)
	defer close(proceed)
	svc := &fakeService{handler: func(http.ResponseWriter, *http.Request) {
		entered <- true
		<-proceed
	}}
	r := run(t, svc, nil, "server", "-config", writeFile(t, "a.hcl", plainConfig))
	address := r.address(t)
	go func() { _, _ = get(http.DefaultClient, "http://"+address) }()
	<-entered
	r.signals <- syscall.SIGTERM
	r.signals <- syscall.SIGHUP
	r.signals <- syscall.SIGTERM
	if code := r.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	r.stderr.match(t, "requests were cut off")
}

func TestServerReload(t *testing.T) {
	folder := t.TempDir()
	cert, key := certificateFor(t, folder, 1)
	text := func(level string) string {
		return fmt.Sprintf("storage \"inmem\" {}\ndisable_mlock = true\nlog_level = %q\nlistener \"tcp\" {\n"+
			"address = \"127.0.0.1:0\"\ntls_cert_file = %q\ntls_key_file = %q\n}\n", level, cert, key)
	}
	path := writeFile(t, "a.hcl", text("info"))
	svc := &fakeService{}
	r := run(t, svc, nil, "server", "-config="+path)
	address := r.address(t)
	if got := serial(t, address); got != 1 {
		t.Fatalf("serial %d", got)
	}

	certificateFor(t, folder, 2)
	if err := os.WriteFile(path, []byte(text("debug")), 0o600); err != nil {
		t.Fatal(err)
	}
	r.signals <- syscall.SIGHUP
	r.stderr.match(t, "reloaded .* log_level=debug")
	if got := serial(t, address); got != 2 {
		t.Errorf("serial after SIGHUP %d", got)
	}
	if svc.reloads.Load() != 1 {
		t.Error("the service was not reloaded")
	}

	// A broken certificate and a broken configuration leave everything as it was.
	if err := os.WriteFile(key, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.signals <- syscall.SIGHUP
	r.stderr.match(t, "reload failed in part")
	if got := serial(t, address); got != 2 {
		t.Errorf("serial after a failed reload %d", got)
	}
	if svc.reloads.Load() != 2 {
		t.Error("the service was not reloaded the second time")
	}
	r.signals <- syscall.SIGTERM
	if code := r.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestServerClientCertificates(t *testing.T) {
	folder := t.TempDir()
	cert, key := certificateFor(t, folder, 1)
	r := run(t, &fakeService{}, nil, "server", "-config="+writeFile(t, "a.hcl", fmt.Sprintf(`
storage "inmem" {}
disable_mlock = true
listener "tcp" {
  address                            = "127.0.0.1:0"
  tls_cert_file                      = %[1]q
  tls_key_file                       = %[2]q
  tls_client_ca_file                 = %[1]q
  tls_require_and_verify_client_cert = true
  tls_min_version                    = "tls13"
}`, cert, key)))
	url := "https://" + r.address(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	client := func(conf *tls.Config) *http.Client {
		conf.InsecureSkipVerify = true
		return &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
	}
	if body, err := get(client(&tls.Config{Certificates: []tls.Certificate{pair}}), url); body != "hello" {
		t.Errorf("with a certificate: %q, %v", body, err)
	}
	if body, err := get(client(&tls.Config{}), url); err == nil {
		t.Errorf("without a certificate: %q", body)
	}
	old := &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12}
	if body, err := get(client(old), url); err == nil {
		t.Errorf("with TLS 1.2: %q", body)
	}
	r.signals <- syscall.SIGTERM
	r.wait(t)
}

func TestServerDev(t *testing.T) {
	for _, test := range []struct {
		name   string
		env    map[string]string
		args   []string
		token  string
		stored bool
	}{
		{"flags", nil, []string{"-dev-root-token-id=root", "-dev-listen-address=127.0.0.1:0"}, "root", true},
		{"environment", map[string]string{"VAULT_DEV_ROOT_TOKEN_ID": "env-root", "VAULT_DEV_LISTEN_ADDRESS": "127.0.0.1:0"},
			nil, "env-root", true},
		{"flag over environment", map[string]string{"VAULT_DEV_ROOT_TOKEN_ID": "env-root"},
			[]string{"--dev-root-token-id", "root", "-dev-listen-address=127.0.0.1:0"}, "root", true},
		{"token not stored", nil,
			[]string{"-dev-root-token-id=root", "-dev-no-store-token", "-dev-listen-address=127.0.0.1:0"}, "root", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			home := t.TempDir()
			env := map[string]string{"HOME": home}
			for name, value := range test.env {
				env[name] = value
			}
			svc := &fakeService{}
			r := run(t, svc, env, append([]string{"server", "-dev"}, test.args...)...)
			r.stdout.match(t, "not for production")
			address := r.address(t)
			for _, want := range []string{
				"WARNING! dev mode is enabled!", "$ export VAULT_ADDR='http://" + address + "'\n",
				"\nUnseal Key: the-key\n", "\nRoot Token: " + test.token + "\n",
			} {
				if !strings.Contains(r.stdout.String(), want) {
					t.Errorf("no %q in\n%s", want, &r.stdout)
				}
			}
			path := filepath.Join(home, ".vault-token")
			text, err := os.ReadFile(path)
			if test.stored {
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || string(text) != test.token {
					t.Errorf("stored token %q, %v", text, err)
				}
			} else if err == nil {
				t.Errorf("token was stored: %q", text)
			}
			if body, err := get(http.DefaultClient, "http://"+address); body != "hello" {
				t.Errorf("answer %q, %v", body, err)
			}
			r.signals <- os.Interrupt
			if code := r.wait(t); code != exitOK {
				t.Errorf("exit code %d\n%s", code, &r.stderr)
			}
			if strings.Contains(r.stderr.String(), test.token) || strings.Contains(r.stderr.String(), "the-key") {
				t.Errorf("the log shows a secret:\n%s", &r.stderr)
			}
		})
	}
}

func TestServerRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	good := writeFile(t, "good.hcl", plainConfig)
	taken := writeFile(t, "taken.hcl", strings.Replace(plainConfig, "127.0.0.1:0", busy.Addr().String(), 1))
	broken := writeFile(t, "broken.hcl", plainConfig+"colour = 1")
	cert := writeFile(t, "cert.pem", "nonsense")
	badCert := writeFile(t, "cert.hcl", strings.Replace(plainConfig, "tls_disable = true",
		fmt.Sprintf("tls_cert_file = %q\ntls_key_file = %q", cert, cert), 1))
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"no configuration", nil, "must specify at least one configuration path using -config, such as"},
		{"missing file", []string{"-config=/does/not/exist"}, "/does/not/exist: no such file"},
		{"bad configuration", []string{"-config=" + broken}, "broken.hcl:8: colour: unknown key"},
		{"unknown flag", []string{"-colour"}, `flag provided but not defined: -colour; "coffer server -h" lists the options`},
		{"argument", []string{"-config=" + good, "extra"}, `unexpected argument "extra"`},
		{"dev token without dev", []string{"-config=" + good, "-dev-root-token-id=x"}, "can only be used with -dev"},
		{"dev address without dev", []string{"-config=" + good, "-dev-listen-address=x"}, "can only be used with -dev"},
		{"bad dev address", []string{"-dev", "-dev-listen-address=x"}, "listener.tcp.address: expected host:port"},
		{"bad level", []string{"-config=" + good, "-log-level=loud"}, `-log-level: expected "trace"`},
		{"bad format", []string{"-config=" + good, "-log-format=xml"}, `-log-format: expected "standard"`},
		{"log file in a file", []string{"-config=" + good, "-log-file=" + good + "/x"}, "log_file: "},
		{"address in use", []string{"-config=" + taken}, "taken.hcl:4: listener.tcp.address: listen tcp " + busy.Addr().String() +
			": bind: address already in use; another program listens there"},
		{"a path of the home", []string{"-config=~/a.hcl"}, `-config=~/a.hcl: "~" is expanded by shells alone`},
		{"bad certificate", []string{"-config=" + badCert}, "cert.pem"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := run(t, &fakeService{}, nil, append([]string{"server"}, test.args...)...)
			if code := r.wait(t); code != exitError {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(r.stderr.String(), test.want) {
				t.Errorf("error %q does not say %q", &r.stderr, test.want)
			}
		})
	}
}

// What the core reports when it starts and when it closes decides the exit code.
func TestServerCoreErrors(t *testing.T) {
	path := writeFile(t, "a.hcl", plainConfig)
	r := run(t, &fakeService{closeErr: errors.New("disk gone")}, nil, "server", "-config="+path)
	r.address(t)
	r.signals <- syscall.SIGTERM
	if code := r.wait(t); code != exitError || !strings.Contains(r.stderr.String(), "disk gone") {
		t.Errorf("exit code %d, %s", code, &r.stderr)
	}

	var stderr output
	p := &process{stdout: io.Discard, stderr: &stderr, env: func(string) string { return "" }}
	p.start = func(*config.Config, *logging) (service, error) { return nil, errors.New("store in use") }
	if code := p.run(t.Context(), []string{"server", "-config=" + path}); code != exitError ||
		!strings.Contains(stderr.String(), "store in use") {
		t.Errorf("exit code %d, %s", code, &stderr)
	}
}

func TestServerWarnings(t *testing.T) {
	path := writeFile(t, "a.hcl", plainConfig+"cache_size = 7\n")
	r := run(t, &fakeService{}, nil, "server", "-config="+path, "-exit-on-core-shutdown", "-log-rotate-bytes=7", "-log-level=DEBUG")
	r.address(t)
	r.signals <- syscall.SIGTERM
	r.wait(t)
	for _, want := range []string{"a.hcl:8: cache_size: has no effect", "flag=-exit-on-core-shutdown", "flag=-log-rotate-bytes"} {
		if !strings.Contains(r.stderr.String(), want) {
			t.Errorf("no %q in\n%s", want, &r.stderr)
		}
	}
	if !strings.Contains(r.stdout.String(), "Log Level: debug") {
		t.Errorf("banner:\n%s", &r.stdout)
	}
}

func TestCommands(t *testing.T) {
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"", exitUnknown, "Usage: coffer <command>"},
		{"help", exitOK, "Usage: coffer <command>"},
		{"--help", exitOK, "Usage: coffer <command>"},
		{"help server", exitOK, "Usage: coffer server"},
		{"help status", exitOK, "Usage: coffer status"},
		{"version", exitOK, "compatible with Vault v1.21.2"},
		{"-version", exitOK, "coffer v"},
		{"server -h", exitOK, "Usage: coffer server"},
		{"status --help", exitOK, "Usage: coffer status"},
		{"frobnicate", exitUnknown, `unknown command "frobnicate"`},
	} {
		t.Run(test.args, func(t *testing.T) {
			r := run(t, &fakeService{}, nil, strings.Fields(test.args)...)
			if code := r.wait(t); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if text := r.stdout.String() + r.stderr.String(); !strings.Contains(text, test.want) {
				t.Errorf("output %q does not say %q", text, test.want)
			}
		})
	}
}
