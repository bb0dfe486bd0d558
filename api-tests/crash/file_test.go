package crash

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

// filed is a running server with a secret, the path of its database file, and the latest copy of it from before.
func filed(t *testing.T) (s *servers.Server, file, backup string) {
	t.Helper()
	s = servers.ReadyForTest(t, servers.Coffer, servers.Options{})
	must(t, s, http.MethodPost, "sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	for i := range 200 {
		put(t, s, fmt.Sprint("s", i))
	}
	file = filepath.Join(s.DataDir(), "coffer.db")
	backup = file + ".backup"
	content, err := os.ReadFile(file) // nobody writes
	if err == nil {
		err = os.WriteFile(backup, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "after")
	return s, file, backup
}

func must(t *testing.T, s *servers.Server, method, path string, body any) servers.Answer {
	t.Helper()
	a, err := s.Must(t.Context(), method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func put(t *testing.T, s *servers.Server, name string) {
	t.Helper()
	must(t, s, http.MethodPost, "secret/data/"+name, map[string]any{"data": map[string]string{"k": strings.Repeat("v", 2000)}})
}

// try writes a secret and returns the status.
func try(t *testing.T, s *servers.Server, name string) int {
	t.Helper()
	a, err := s.Call(t.Context(), http.MethodPost, "secret/data/"+name, s.RootToken,
		map[string]any{"data": map[string]string{"k": strings.Repeat("v", 20_000)}})
	if err != nil {
		t.Fatal(err)
	}
	return a.Status
}

// awaitHealth waits until health has the status, and its storage_error holds text. It returns how long that took.
func awaitHealth(t *testing.T, s *servers.Server, status int, text string) time.Duration {
	t.Helper()
	begun := time.Now()
	for {
		a, err := s.Call(t.Context(), http.MethodGet, "sys/health", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		said, _ := a.Body["storage_error"].(string)
		if a.Status == status && strings.Contains(said, text) && (said == "") == (text == "") {
			return time.Since(begun)
		}
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("health says %d %q; want %d %q", a.Status, said, status, text)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// TestDamagedFileIsRefusedInOneLine: the server does not start over a damaged, empty or missing file. It says what is
// wrong and which backup to take, in one line and without a stack trace, and starts with that backup.
func TestDamagedFileIsRefusedInOneLine(t *testing.T) {
	s, file, backup := filed(t)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"empty":     func() error { return os.Truncate(file, 0) },
		"cut off":   func() error { return os.Truncate(file, int64(len(whole)/2)) },
		"gone":      func() error { return os.Remove(file) },
		"a page":    func() error { return spoil(file, whole, 2*os.Getpagesize(), len(whole)) },
		"its metas": func() error { return spoil(file, whole, 0, 2*os.Getpagesize()) },
	} {
		before := len(s.LogTail(1 << 20))
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if err := s.Launch(t.Context()); !errors.Is(err, servers.ErrExited) {
			t.Fatalf("%s: the start: %v", name, err)
		}
		said := strings.TrimSpace(s.LogTail(1 << 20)[before:])
		if strings.Contains(said, "\n") || !strings.Contains(said, "lost is") || !strings.Contains(said, "take the backup "+backup) {
			t.Errorf("%s: %s", name, said)
		}
		if err := os.WriteFile(file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(backup, file); err != nil {
		t.Fatal(err)
	}
	if err := revive(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	must(t, s, http.MethodGet, "secret/data/s7", nil)
}

// spoil overwrites the headers of all pages of the file from one offset to another.
func spoil(file string, whole []byte, from, to int) error {
	spoiled := append([]byte{}, whole...)
	for at := from; at < to; at += os.Getpagesize() {
		copy(spoiled[at:], "not what was here before, but something else that is longer than a meta page and its header")
	}
	return os.WriteFile(file, spoiled, 0o600)
}

// TestReplacedFileIsToldAndNotWritten moves the data folder away and back, and the backup over the file.
func TestReplacedFileIsToldAndNotWritten(t *testing.T) {
	s, file, backup := filed(t)
	if err := os.Rename(s.DataDir(), s.DataDir()+".away"); err != nil {
		t.Fatal(err)
	}
	if status := try(t, s, "void"); status < 500 {
		t.Errorf("a write without the file: %d", status)
	}
	if took := awaitHealth(t, s, 500, "not in its place"); took > time.Second {
		t.Errorf("noticed after %v", took)
	}
	status := must(t, s, http.MethodGet, "sys/seal-status", nil)
	metrics := must(t, s, http.MethodGet, "sys/metrics?format=prometheus", nil)
	if status.Body["storage_error"] == nil || !strings.Contains(string(metrics.Raw), "coffer_storage_writable 0") ||
		!strings.Contains(s.LogTail(1<<20), "nothing is written to the database file") {
		t.Errorf("not told: %s", status.Raw)
	}
	must(t, s, http.MethodGet, "secret/data/after", nil)
	if err := os.Rename(s.DataDir()+".away", s.DataDir()); err != nil {
		t.Fatal(err)
	}
	awaitHealth(t, s, 200, "")
	put(t, s, "back")
	if err := os.Rename(backup, file); err != nil {
		t.Fatal(err)
	}
	awaitHealth(t, s, 500, "not in its place")
	if status := try(t, s, "void"); status < 500 {
		t.Errorf("a write beside the file: %d", status)
	}
	if err := restart(t, s); err != nil {
		t.Fatal(err)
	}
	put(t, s, "again")
}

func restart(t *testing.T, s *servers.Server) error {
	t.Helper()
	return errors.Join(s.Stop(), revive(t.Context(), s))
}

// TestFileChangedWhileServing copies a backup over the file, and cuts it off, while clients read and write. The server
// does not end; it acknowledges nothing from then on.
func TestFileChangedWhileServing(t *testing.T) {
	s, file, backup := filed(t)
	content, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for i := range 4 {
		go func() {
			for n := 0; ; n++ {
				a, err := s.Call(t.Context(), http.MethodGet, fmt.Sprintf("secret/data/s%d", n%200), s.RootToken, nil)
				if err == nil && a.Status == http.StatusOK && i == 0 {
					a, err = s.Call(t.Context(), http.MethodPost, "secret/data/new", s.RootToken, map[string]any{"data": map[string]string{}})
				}
				if err != nil || a.Status != http.StatusOK {
					done <- err
					return
				}
			}
		}()
	}
	if err := os.WriteFile(file, content, 0o600); err != nil { // as cp does: cut off first
		t.Fatal(err)
	}
	awaitHealth(t, s, 500, "damaged")
	for range 4 {
		if err := <-done; err != nil {
			t.Errorf("the server ended: %v", err)
		}
	}
	if status := try(t, s, "void"); status < 500 {
		t.Errorf("a write: %d", status)
	}
	if err := restart(t, s); err != nil {
		t.Fatal(err)
	}
	must(t, s, http.MethodGet, "secret/data/s7", nil)
}
