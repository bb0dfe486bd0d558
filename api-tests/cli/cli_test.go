// Package cli drives coffer with HashiCorp's own unmodified vault command, from "operator init" to "kv get".
//
// The scripts are testdata/*.txtar. Most end in a transcript of the whole session, and that transcript was recorded
// from the stock server:
//
//	go test ./api-tests/cli -against=vault -update
//
// records it anew, and the same without -update proves that the scripts still describe the real thing.
package cli

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"coffer/api-tests/servers"
)

var (
	against = flag.String("against", "coffer", "the `server` that the scripts are run against: coffer or vault")
	update  = flag.Bool("update", false, "rewrite the transcripts from what the server says; only with -against=vault")
)

func TestScripts(t *testing.T) {
	kind := servers.Kind(*against)
	if kind != servers.Coffer && kind != servers.Vault {
		t.Fatalf("-against=%s: want coffer or vault", kind)
	}
	if *update && kind != servers.Vault {
		t.Fatal("-update goes with -against=vault: coffer is not its own yardstick")
	}
	cli, err := servers.Binary(t.Context(), servers.Vault)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, params("testdata", kind, cli))
}

// TestScriptsOfCoffer runs the scripts about what the stock server cannot do; no transcript was recorded for them.
func TestScriptsOfCoffer(t *testing.T) {
	cli, err := servers.Binary(t.Context(), servers.Vault)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, params(filepath.Join("testdata", "coffer"), servers.Coffer, cli))
}

func params(dir string, kind servers.Kind, cli string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		UpdateScripts:       *update && kind == servers.Vault,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			return setUp(env, kind, cli)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server":             cmdServer,
			"v":                  cmdVault,
			"poll":               cmdPoll,
			"json-is":            cmdJSONIs,
			"setenv-from-json":   cmdSetenvFromJSON,
			"setenv-from-stdout": cmdSetenvFromStdout,
			"totp":               cmdTOTP,
		},
	}
}

// setUp gives each script a home of its own, so that "vault login" meets no other, and puts vault on its path.
func setUp(env *testscript.Env, kind servers.Kind, cli string) error {
	home, bin := filepath.Join(env.WorkDir, ".home"), filepath.Join(env.WorkDir, ".bin")
	for _, dir := range []string{home, bin} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink(cli, filepath.Join(bin, "vault")); err != nil {
		return err
	}
	env.Setenv("HOME", home)
	env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("VAULT_CLI_NO_COLOR", "1")
	s := &session{kind: kind, names: map[string]string{env.WorkDir: "WORK"}}
	env.Values[sessionKey{}] = s
	env.Defer(func() {
		if s.server == nil {
			return
		}
		if err := s.server.Close(); err != nil {
			env.T().Log("closing the server: ", err)
		}
	})
	return nil
}
