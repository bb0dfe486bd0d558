package http

import (
	"bufio"
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"coffer/api-tests/servers"
)

var (
	record  = flag.Bool("record", false, "record the answers anew from Vault")
	against = flag.String("against", string(servers.Coffer), "the server to replay on: coffer, or vault to check that "+
		"the recorded answers are stable")
)

// wantShare is the part of steps that must match in full.
const wantShare = 0.98

// differencesFile lists the steps that are meant to differ.
const differencesFile = "differences.txt"

// TestReplay sends every script to a fresh coffer and compares the answers with those recorded from Vault. With -record
// it sends them to Vault and writes the answers down.
func TestReplay(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := readDifferences(t)
	if *against == string(servers.Vault) {
		clear(known)
	}
	results := &tally{}
	t.Run("scripts", func(t *testing.T) {
		for _, path := range paths {
			name := strings.TrimSuffix(filepath.Base(path), ".txt")
			if filepath.Base(path) == differencesFile {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s, err := readScript(path)
				if err != nil {
					t.Fatal(err)
				}
				if *record {
					recordScript(t, s)
					return
				}
				results.add(name, score{steps: len(s.steps)}) // In case it ends early.
				results.add(name, replayScript(t, s, known[name]))
			})
		}
	})
	if !*record {
		results.report(t)
	}
}

// score counts the steps of one script.
type score struct{ steps, matching int }

// tally gathers the scores of scripts that run at the same time.
type tally struct {
	mu     sync.Mutex
	scores map[string]score // Guarded by mu.
}

func (r *tally) add(name string, s score) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.scores == nil {
		r.scores = map[string]score{}
	}
	r.scores[name] = s
}

func (r *tally) report(t *testing.T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	var all score
	for _, name := range slices.Sorted(maps.Keys(r.scores)) {
		s := r.scores[name]
		all.steps, all.matching = all.steps+s.steps, all.matching+s.matching
		fmt.Fprintf(&b, "%-32s %4d of %4d\n", name, s.matching, s.steps)
	}
	share := float64(all.matching) / float64(max(all.steps, 1))
	t.Logf("steps that match real Vault's answer in full\n%s%-32s %4d of %4d: %.1f %%",
		b.String(), "all", all.matching, all.steps, 100*share)
	if share < wantShare {
		t.Errorf("%.1f %% of the steps match, want at least %.0f %%", 100*share, 100*wantShare)
	}
}

// start runs a fresh server in the state that the script needs.
func start(t *testing.T, kind servers.Kind, s *script) *runner {
	t.Helper()
	state, vars := s.state, newVariables()
	opts, certificates := options(t, kind, s, vars)
	server := servers.ForTest(t, kind, opts)
	ctx, initialise := t.Context(), state == sealed || state == unsealed
	if initialise {
		if err := server.Init(ctx, 3, 2); err != nil {
			t.Fatal(err)
		}
	}
	if state == unsealed {
		if err := server.Unseal(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if s.plugin != "" && kind == servers.Vault {
		if err := server.RegisterPlugin(ctx, plugin(t, s.plugin), s.plugin); err != nil {
			t.Fatal(err)
		}
	}
	vars.set("addr", server.Addr())
	vars.set("hostport", server.HostPort())
	vars.set("dir", t.TempDir())
	if initialise {
		vars.set("root", server.RootToken)
	}
	for i, key := range server.Keys {
		vars.set(fmt.Sprintf("key%d", i+1), key)
	}
	if strings.Contains(s.format(), "${idp}") {
		vars.set("idp", startProvider(t))
	}
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &runner{transport: transport, host: server.HostPort(), vars: vars, pki: certificates}
}

// options are the server's for a script; with a TLS listener come the certificates of its clients.
func options(t *testing.T, kind servers.Kind, s *script, vars *variables) (servers.Options, *pki) {
	t.Helper()
	opts := servers.Options{Storage: servers.InMemory, Config: fmt.Sprintf("raw_storage_endpoint = %t\n", s.raw), LogLevel: "warn"}
	if s.state == selfUnsealing {
		opts.Config += sealStanza(t, kind)
	}
	if s.plugin != "" && kind == servers.Vault {
		config, err := servers.PluginConfig(t.Context(), plugin(t, s.plugin))
		if err != nil {
			t.Fatal(err)
		}
		opts.Config += config
	}
	if !s.tls {
		return opts, nil
	}
	certificates, err := newPKI(t.TempDir(), vars)
	if err != nil {
		t.Fatal(err)
	}
	opts.TLSCert, opts.TLSKey = certificates.certFile(), certificates.keyFile()
	return opts, certificates
}

// sealStanza configures a seal that opens by itself. Vault's community edition has none that needs no other server,
// so Vault gets another Vault for it.
func sealStanza(t *testing.T, kind servers.Kind) string {
	t.Helper()
	if kind == servers.Coffer {
		return fmt.Sprintf("seal \"static\" {\n current_key_id = \"k1\"\n current_key = %q\n}\n", strings.Repeat("5a", 32))
	}
	other := servers.ReadyForTest(t, servers.Vault, servers.Options{Storage: servers.InMemory, LogLevel: "warn"})
	if _, err := other.Must(t.Context(), http.MethodPost, "sys/mounts/transit", map[string]string{"type": "transit"}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Must(t.Context(), http.MethodPost, "transit/keys/unseal", nil); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("seal \"transit\" {\n address = %q\n token = %q\n key_name = \"unseal\"\n mount_path = \"transit/\"\n}\n",
		other.Addr(), other.RootToken)
}

func recordScript(t *testing.T, s *script) {
	r := start(t, servers.Vault, s)
	for _, st := range s.steps {
		answer, err := r.run(t.Context(), st)
		if err != nil {
			// The other answers are kept: they tell why this one went wrong.
			t.Errorf("%s:%d: %s: %v", s.path, st.line, st.title, err)
		}
		st.answer = answer
	}
	if err := os.WriteFile(s.path, []byte(s.format()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func replayScript(t *testing.T, s *script, known map[string]string) score {
	r := start(t, servers.Kind(*against), s)
	result := score{steps: len(s.steps)}
	left := maps.Clone(known)
	for _, st := range s.steps {
		if st.answer == "" {
			t.Errorf("%s:%d: %s: never recorded", s.path, st.line, st.title)
			continue
		}
		diff := compare(t.Context(), r, st)
		reason, isKnown := known[st.title]
		delete(left, st.title)
		switch {
		case diff == "" && isKnown:
			t.Errorf("%s:%d: %s: matches although %s says %q", s.path, st.line, st.title, differencesFile, reason)
		case diff != "" && !isKnown:
			t.Errorf("%s:%d: %s: %s", s.path, st.line, st.title, diff)
		}
		if diff == "" {
			result.matching++
		}
	}
	for title := range left {
		t.Errorf("%s names no step of this script: %s", differencesFile, title)
	}
	return result
}

// compare returns what is different, or nothing.
func compare(ctx context.Context, r *runner, st *step) string {
	got, err := r.run(ctx, st)
	if err != nil {
		return err.Error()
	}
	if got == st.answer {
		return ""
	}
	lines := func(text string) []string { return strings.Split(text, "\n") }
	diff := gocmp.Diff(lines(st.answer), lines(got))
	return cmp.Or(diff, "differs") + fmt.Sprintf("(-recorded +got) %s %s", st.request.method, st.request.target)
}

// readDifferences reads lines of "script: title: reason" into script → title → reason.
func readDifferences(t *testing.T) map[string]map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", differencesFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	known := map[string]map[string]string{}
	lines := bufio.NewScanner(f)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.SplitN(line, ": ", 3)
		if len(parts) != 3 {
			t.Fatalf("%s:%d: want script: title: reason", differencesFile, number)
		}
		if known[parts[0]] == nil {
			known[parts[0]] = map[string]string{}
		}
		known[parts[0]][parts[1]] = parts[2]
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return known
}
