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
	"runtime"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// Both are asked for at most once in the life of a test process.
var (
	moduleRoot = sync.OnceValues(findModuleRoot)
	cofferOnce = sync.OnceValues(buildCoffer)
)

// Binary returns the path of the program, building it first when that is needed. Stock programs take minutes the first
// time and are then kept in ${XDG_CACHE_HOME:-~/.cache}/coffer-stock; coffer is built once for each test process.
// Several processes may ask at once: they take turns through a lock file.
func Binary(ctx context.Context, kind Kind) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if kind == Coffer {
		return cofferOnce()
	}
	program, err := findStock(kind)
	if err != nil {
		return "", err
	}
	return program.build()
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
	return target, goBuild(root, target, "", "./cmd/coffer")
}

func goBuild(dir, target, ldflags string, args ...string) error {
	flags := []string{"build", "-trimpath", "-ldflags", "-s -w" + ldflags, "-o", target}
	cmd := exec.Command("go", append(flags, args...)...)
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

// findModuleRoot is the folder of this module's go.mod. Tests run inside the module, so the go command knows it.
func findModuleRoot() (string, error) {
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
