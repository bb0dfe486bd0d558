package servers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// stockTags makes Vault's build leave out what does not compile from published modules. It keeps raft and inmem
// storage, kv, transit, pki, ssh, approle, userpass, jwt and cert.
const stockTags = "minimal"

// stockVersion finds Vault's version in the go.mod of api-tests/stock/vault.
var stockVersion = regexp.MustCompile(`(?m)^(?:require)?\s*github\.com/hashicorp/vault v(\S+)`)

// Each program is built at most once in the life of a test process.
var (
	vaultOnce  = sync.OnceValues(buildVault)
	cofferOnce = sync.OnceValues(buildCoffer)
)

// Binary returns the path of the program, building it first when that is needed. Vault takes minutes the first time and
// is then kept in ${XDG_CACHE_HOME:-~/.cache}/coffer-stock; coffer is built once for each test process. Several
// processes may ask at once: they take turns through a lock file.
func Binary(ctx context.Context, kind Kind) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if kind == Vault {
		return vaultOnce()
	}
	return cofferOnce()
}

func buildVault() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "api-tests", "stock", "vault")
	name, err := stockName(source)
	if err != nil {
		return "", err
	}
	target, unlock, err := lockCache(name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	// A build that is cut short must not leave something that looks finished.
	partial := target + ".partial"
	if err := goBuild(source, partial, "-tags", stockTags, "."); err != nil {
		return "", err
	}
	return target, os.Rename(partial, target)
}

func buildCoffer() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	// One file for each checkout: the go command sees that it is up to date and does not even link.
	sum := sha256.Sum256([]byte(root))
	target, unlock, err := lockCache("coffer-" + hex.EncodeToString(sum[:6]))
	if err != nil {
		return "", err
	}
	defer unlock()
	return target, goBuild(root, target, "./cmd/coffer")
}

func goBuild(dir, target string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", target}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	// A test that runs out of time gives the lock back; its build must not go on beside the next one's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	DieWithParent(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", filepath.Base(target), err, out)
	}
	return nil
}

// stockName is the file name of the stock binary: its version and a hash of all that decides what is built.
func stockName(source string) (string, error) {
	hash := sha256.New()
	version := ""
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		content, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		if m := stockVersion.FindSubmatch(content); name == "go.mod" && m != nil {
			version = string(m[1])
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(content), content)
	}
	if version == "" {
		return "", errors.New("api-tests/stock/vault/go.mod does not require github.com/hashicorp/vault")
	}
	fmt.Fprintf(hash, "%s %s %s", stockTags, runtime.GOOS, runtime.GOARCH)
	return "vault-" + version + "-" + hex.EncodeToString(hash.Sum(nil)[:6]), nil
}

// lockCache returns the path of name in the cache folder, locked against other processes until unlock.
func lockCache(name string) (path string, unlock func(), err error) {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", nil, err
		}
		cache = filepath.Join(home, ".cache")
	}
	dir := filepath.Join(cache, "coffer-stock")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, name)
	unlock, err = lockedfile.MutexAt(path + ".lock").Lock()
	return path, unlock, err
}

// moduleRoot is the folder of this module's go.mod. Tests run inside the module, so the go command knows it.
func moduleRoot() (string, error) {
	cmd := exec.Command("go", "env", "GOMOD")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	gomod := strings.TrimSpace(string(out))
	if gomod == "" || gomod == os.DevNull {
		return "", errors.New("not inside the coffer module")
	}
	return filepath.Dir(gomod), nil
}
