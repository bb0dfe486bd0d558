package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"coffer/api-tests/servers"
)

// TestDebug lets "vault debug" gather what it gathers of Vault, and looks for gaps. Five seconds are the
// shortest time that it takes.
func TestDebug(t *testing.T) {
	t.Parallel()
	vault, err := servers.Binary(t.Context(), servers.Vault)
	if err != nil {
		t.Fatal(err)
	}
	s := servers.ReadyForTest(t, servers.Coffer, servers.Options{Storage: servers.InMemory})
	bundle := filepath.Join(t.TempDir(), "bundle")
	args := []string{"debug", "-duration=5s", "-interval=5s", "-metrics-interval=5s", "-compress=false", "-output=" + bundle}
	for _, target := range []string{"config", "host", "log", "requests", "metrics", "pprof", "replication-status", "server-status"} {
		args = append(args, "-target="+target)
	}
	mustSay(t, run(t, vault, []string{"HOME=" + t.TempDir(), "VAULT_ADDR=" + s.Addr(), "VAULT_TOKEN=" + s.RootToken}, args...),
		"Success! Bundle written to: ")
	// The log may be empty: nothing happens in these seconds that is worth a line.
	if _, err := os.Stat(filepath.Join(bundle, "vault.log")); err != nil {
		t.Error(err)
	}
	index, err := os.ReadFile(filepath.Join(bundle, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Errors []struct{ Error, Target string } `json:"errors"`
	}
	if err := json.Unmarshal(index, &found); err != nil {
		t.Fatal(err)
	}
	for _, e := range found.Errors {
		t.Errorf("%s: %s", e.Target, e.Error)
	}
	for _, name := range []string{
		"config.json", "host_info.json", "metrics.json", "replication_status.json", "requests.json", "server_status.json",
		"*/allocs.prof", "*/block.prof", "*/goroutine.prof", "*/goroutines.txt", "*/heap.prof", "*/mutex.prof", "*/profile.prof",
		"*/threadcreate.prof", "*/trace.out",
	} {
		paths, err := filepath.Glob(filepath.Join(bundle, name))
		if err != nil || len(paths) == 0 {
			t.Errorf("%s is missing (%v)", name, err)
			continue
		}
		if info, err := os.Stat(paths[0]); err != nil || info.Size() < 100 {
			t.Errorf("%s is empty: %+v, %v", name, info, err)
		}
	}
}
