package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"coffer/api-tests/servers"
)

// target is one contestant.
type target struct {
	name    string
	address string
	token   string
	login   []byte          // The request that logs in by AppRole.
	server  *servers.Server // nil for the bare handler.
	stop    func() error
}

// field is all contestants of a run, in the order in which they take turns.
type field struct {
	targets []*target
}

// startField builds and starts the contestants; the servers are unsealed and have a KV version 2 engine at secret/ with
// the secrets that the row "read" reads.
func startField(ctx context.Context, names []string) (*field, error) {
	f := &field{}
	answer := []byte(`{"data":null}`)
	for _, name := range names {
		if name == "bare" {
			continue
		}
		t, err := startServer(ctx, name)
		if err != nil {
			f.close()
			return nil, err
		}
		f.targets = append(f.targets, t)
		a, err := t.server.Must(ctx, http.MethodGet, "secret/data/"+secretName(0), nil)
		if err != nil {
			f.close()
			return nil, err
		}
		answer = a.Raw
	}
	for _, name := range names {
		if name != "bare" {
			continue
		}
		t, err := startBare(answer)
		if err != nil {
			f.close()
			return nil, err
		}
		f.targets = append(f.targets, t)
	}
	return f, nil
}

// servers are the contestants that are real servers.
func (f *field) servers() []*target {
	var found []*target
	for _, t := range f.targets {
		if t.server != nil {
			found = append(found, t)
		}
	}
	return found
}

func (f *field) close() {
	for _, t := range f.targets {
		if err := t.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: stopping", t.name+":", err)
		}
	}
}

func startServer(ctx context.Context, name string) (*target, error) {
	kind := servers.Kind(name)
	if kind != servers.Coffer && kind != servers.Vault {
		return nil, fmt.Errorf("-targets: %q is none of coffer, vault, bare", name)
	}
	s, err := readyServer(ctx, kind)
	if err != nil {
		return nil, err
	}
	for i := range secrets {
		path := "secret/data/" + secretName(i)
		if _, err := s.Must(ctx, http.MethodPost, path, json.RawMessage(secretJSON)); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	login, err := enableAppRole(ctx, s)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := addUser(ctx, s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &target{name: name, address: s.HostPort(), token: s.RootToken, login: login, server: s, stop: s.Close}, nil
}

// shortLife is how long the token of a login lives that is revoked at once.
const shortLife = "1m"

// enableAppRole makes a role whose tokens live shortly, and returns the request that logs in by it.
func enableAppRole(ctx context.Context, s *servers.Server) (login []byte, err error) {
	role := map[string]any{"token_policies": "default", "token_ttl": shortLife}
	if _, err := s.Must(ctx, http.MethodPost, "sys/auth/approle", map[string]any{"type": "approle"}); err != nil {
		return nil, err
	}
	if _, err := s.Must(ctx, http.MethodPost, "auth/approle/role/eso", role); err != nil {
		return nil, err
	}
	id, err := s.Must(ctx, http.MethodGet, "auth/approle/role/eso/role-id", nil)
	if err != nil {
		return nil, err
	}
	secret, err := s.Must(ctx, http.MethodPost, "auth/approle/role/eso/secret-id", map[string]any{})
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]any{"role_id": id.Data()["role_id"], "secret_id": secret.Data()["secret_id"]})
	return request(http.MethodPost, "auth/approle/login", "", string(body)), err
}

// readyServer is an unsealed server with a KV version 2 engine at secret/.
func readyServer(ctx context.Context, kind servers.Kind) (*servers.Server, error) {
	opts := servers.Options{LogLevel: "warn"}
	if kind == servers.Vault {
		var err error
		if opts.Config, err = servers.PluginConfig(ctx, servers.KubernetesAuth); err != nil {
			return nil, err
		}
	}
	s, err := servers.Start(ctx, kind, opts)
	if err != nil {
		return nil, err
	}
	if err := s.Ready(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	_, err = s.Must(ctx, http.MethodPost, "sys/mounts/secret",
		map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	select {
	case <-time.After(settling):
	case <-ctx.Done():
	}
	return s, nil
}

// settling is what a server gets to finish what it does once after an unsealing: coffer wipes the memory that the keys
// went through, which takes a tenth of a second of one processor.
const settling = 2 * time.Second

// startBare runs this program again as the bare handler, so that it is a process of its own as the servers are. It ends
// when its standard input does.
func startBare(answer []byte) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-serve-bare")
	cmd.Env = servers.CleanEnv()
	servers.DieWithParent(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started, ended, address := make(chan error, 1), make(chan error, 1), make(chan string, 1)
	go func() {
		// The kernel ties the child to the thread that starts it, so this goroutine keeps its thread to the end.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		line, _ := bufio.NewReader(out).ReadString('\n') // An empty address is reported below.
		address <- strings.TrimSpace(line)
		ended <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(in, "%s\n", strings.TrimSpace(string(answer))); err != nil {
		return nil, err
	}
	where := <-address
	if where == "" {
		return nil, fmt.Errorf("the bare handler did not start: %w", <-ended)
	}
	stop := func() error {
		if err := in.Close(); err != nil {
			return err
		}
		return <-ended
	}
	return &target{name: "bare", address: where, stop: stop}, nil
}

// serveBare answers every request with the line it reads from in, on a free port that it prints, until in ends.
func serveBare(in io.Reader, out io.Writer) error {
	r := bufio.NewReader(in)
	answer, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, r) // However it ends, it is the sign to end.
		_ = listener.Close()
	}()
	handler, err := bareLogin(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer) // A client that went away is no concern of a benchmark.
	}))
	if err != nil {
		return err
	}
	err = http.Serve(listener, handler)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
