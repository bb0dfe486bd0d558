package bolt_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/storage"
	"coffer/storage/bolt"
)

// mapped returns what /proc/self/smaps says of the mappings of a file, in KiB, and their flags.
func mapped(t *testing.T, path string) (resident, locked int, flags string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if !strings.HasSuffix(fields[0], ":") {
			inside = fields[len(fields)-1] == path
			continue
		}
		if !inside {
			continue
		}
		n := 0
		if len(fields) > 1 {
			n, _ = strconv.Atoi(fields[1]) // the flags are no number
		}
		switch fields[0] {
		case "Rss:":
			resident += n
		case "Locked:":
			locked += n
		case "VmFlags:":
			flags += strings.Join(fields[1:], " ")
		}
	}
	return resident, locked, flags
}

// TestMappingIsNotLocked locks the memory of the process as the server does. The locks end with the test.
func TestMappingIsNotLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path, bolt.WithoutSync())
	fill := func(from int) {
		for i := range 16 {
			key := fmt.Sprintf("k/%03d", from+i)
			if err := s.Apply(t.Context(), storage.Put(key, make([]byte, 1<<20))); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(0)
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		t.Logf("memory cannot be locked here: %v", err) // what is resident counts all the same
	}
	t.Cleanup(func() { _ = unix.Munlockall() })
	s.UnlockMapping()
	if resident, locked, flags := mapped(t, path); resident > 1<<10 || locked != 0 || strings.Contains(flags, "lo") {
		t.Errorf("after opening %d kB are resident and %d kB locked, flags %s", resident, locked, flags)
	}
	fill(100) // the mapping is made anew, for a file of more than 32 MiB
	if _, locked, flags := mapped(t, path); locked != 0 || flags == "" || strings.Contains(flags, "lo") {
		t.Errorf("after growing %d kB are locked, flags %s", locked, flags)
	}
}

// TestWhatWasReadIsLetGoOf reads a file and counts what stays of it in memory.
func TestWhatWasReadIsLetGoOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path, bolt.WithoutSync())
	read := func() int {
		for i := range 16 {
			if value, err := s.Get(t.Context(), fmt.Sprintf("k/%03d", i)); err != nil || len(value) != 1<<20 {
				t.Fatalf("%d bytes, %v", len(value), err)
			}
		}
		resident, _, _ := mapped(t, path)
		return resident
	}
	for i := range 16 {
		if err := s.Apply(t.Context(), storage.Put(fmt.Sprintf("k/%03d", i), make([]byte, 1<<20))); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(); got < 16<<10 || bolt.Resident() < 16<<20 {
		t.Fatalf("%d kB of the file and %d bytes in all are resident", got, bolt.Resident())
	}
	s.Trim()
	if got, _, _ := mapped(t, path); got > 1<<10 {
		t.Errorf("%d kB stay", got)
	}
	read()
}
