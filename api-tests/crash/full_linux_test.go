package crash

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFullDiskIsToldAndRecovers lets the file grow no more, as on a full disk, and then again. What was acknowledged is
// there, reading goes on, and writing does when there is room, without a restart.
func TestFullDiskIsToldAndRecovers(t *testing.T) {
	s, file, _ := filed(t)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Prlimit(s.PID(), unix.RLIMIT_FSIZE, nil, &old); err != nil {
		t.Fatal(err)
	}
	full := unix.Rlimit{Cur: uint64(info.Size()), Max: old.Max}
	if err := unix.Prlimit(s.PID(), unix.RLIMIT_FSIZE, &full, nil); err != nil {
		t.Fatal(err)
	}
	written := 0
	for ; try(t, s, fmt.Sprint("large", written)) == http.StatusOK; written++ {
		if written == 500 {
			t.Fatal("the file still grows")
		}
	}
	awaitHealth(t, s, 500, "cannot grow")
	for i := range written {
		must(t, s, http.MethodGet, fmt.Sprint("secret/data/large", i), nil)
	}
	if err := unix.Prlimit(s.PID(), unix.RLIMIT_FSIZE, &old, nil); err != nil {
		t.Fatal(err)
	}
	awaitHealth(t, s, 200, "")
	put(t, s, "room")
	if left, err := filepath.Glob(file + ".probe"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := restart(t, s); err != nil {
		t.Fatal(err)
	}
	must(t, s, http.MethodGet, "secret/data/room", nil)
}
