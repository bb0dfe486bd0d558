package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coffer/engines"
	"coffer/server/sys"
	"coffer/storage"
	"coffer/storage/memory"
)

func fileDevice(path, file string) sys.AuditDevice {
	return sys.AuditDevice{Path: path, Type: "file", Options: map[string]string{"file_path": file}}
}

func declare(t *testing.T, b *Broker, devices ...sys.AuditDevice) {
	t.Helper()
	if err := b.Declare(t.Context(), devices); err != nil {
		t.Fatal(err)
	}
}

func paths(b *Broker) string {
	var names []string
	for _, d := range b.Devices() {
		names = append(names, d.Path)
	}
	return strings.Join(names, " ")
}

// What the configuration declares is recorded on, keeps its key over restarts, and goes when it is declared no more.
// Devices of the API stay beside it.
func TestDeclare(t *testing.T) {
	store, folder := memory.New(), t.TempDir()
	file := func(name string) string { return filepath.Join(folder, name) }
	b := newBroker(store)
	enable(t, b, "byhand/", map[string]string{"file_path": file("hand")})
	declare(t, b, fileDevice("a/", file("a")), fileDevice("b/", file("b")))
	if got := paths(b); got != "a/ b/ byhand/" {
		t.Fatalf("devices %s", got)
	}
	if err := b.LogRequest(t.Context(), testEntry()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file("b")); err != nil || len(text) == 0 {
		t.Errorf("nothing is recorded: %v", err)
	}
	hash, _ := b.Hash("a/", "x")
	b.Close()

	b = newBroker(store)
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The file changes, the key stays.
	declare(t, b, fileDevice("a/", file("a2")))
	if got := paths(b); got != "a/ byhand/" {
		t.Errorf("devices %s", got)
	}
	if again, _ := b.Hash("a/", "x"); again != hash {
		t.Error("a declared device has another key after a restart")
	}
	if _, err := os.Stat(file("a2")); err != nil {
		t.Error(err)
	}
	// A device of the API is taken over, with its key.
	hash, _ = b.Hash("byhand/", "x")
	declare(t, b, fileDevice("byhand/", file("hand")))
	if again, _ := b.Hash("byhand/", "x"); again != hash || paths(b) != "byhand/" {
		t.Errorf("devices %s, hashes %s and %s", paths(b), hash, again)
	}
	declare(t, b)
	if b.Enabled() {
		t.Errorf("devices %s", paths(b))
	}
	b.Close()
}

// Through the API, a declared device can be neither disabled nor replaced.
func TestDeclaredIsNotChanged(t *testing.T) {
	b := newBroker(memory.New())
	defer b.Close()
	declare(t, b, fileDevice("a/", "discard"))
	if err := b.Disable(t.Context(), "a/"); !errors.Is(err, engines.ErrInvalid) || !strings.Contains(err.Error(), "configuration declares") {
		t.Errorf("Disable = %v", err)
	}
	if err := b.Enable(t.Context(), fileDevice("a/", "stdout")); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("Enable = %v", err)
	}
	if paths(b) != "a/" {
		t.Errorf("devices %s", paths(b))
	}
}

// What cannot be declared changes nothing, and what is declared already is not written again.
func TestDeclareRefuses(t *testing.T) {
	store := &counting{Storage: memory.New()}
	b := newBroker(store)
	defer b.Close()
	folder := t.TempDir()
	declare(t, b, fileDevice("a/", filepath.Join(folder, "a")))
	written := store.applied
	declare(t, b, fileDevice("a/", filepath.Join(folder, "a")))
	if store.applied != written {
		t.Error("nothing changed, and the table was written")
	}
	for name, devices := range map[string][]sys.AuditDevice{
		"the same file":   {fileDevice("a/", filepath.Join(folder, "a")), fileDevice("b/", filepath.Join(folder, "a"))},
		"the same path":   {fileDevice("a/", "discard"), fileDevice("a/b/", "discard")},
		"no path":         {fileDevice("/", "discard")},
		"another type":    {{Path: "s/", Type: "syslog"}},
		"a missing file":  {{Path: "s/", Type: "file"}},
		"a mode that ...": {{Path: "s/", Type: "file", Options: map[string]string{"file_path": "x", "mode": "0777"}}},
	} {
		if err := b.Declare(t.Context(), devices); !errors.Is(err, engines.ErrInvalid) || paths(b) != "a/" {
			t.Errorf("%s: %v, devices %s", name, err, paths(b))
		}
	}
	// A file that cannot be opened is no error: but then nothing passes unrecorded.
	declare(t, b, fileDevice("a/", filepath.Join(folder, "none", "a")))
	if err := b.LogRequest(t.Context(), testEntry()); !errors.Is(err, ErrNotRecorded) {
		t.Errorf("LogRequest = %v", err)
	}
	store.fail = errors.New("disk full")
	if err := b.Declare(t.Context(), nil); err == nil || paths(b) != "a/" {
		t.Errorf("Declare = %v, devices %s", err, paths(b))
	}
}

// counting counts the commits, and fails them when it is told to.
type counting struct {
	storage.Storage
	applied int
	fail    error
}

func (c *counting) Apply(ctx context.Context, batch ...storage.Op) error {
	if c.fail != nil {
		return c.fail
	}
	c.applied++
	return c.Storage.Apply(ctx, batch...)
}
