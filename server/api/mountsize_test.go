package api_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestMountsAreSmall bounds what a mount that nobody uses takes in memory, its row in the storage of the test included.
func TestMountsAreSmall(t *testing.T) {
	const count, most = 200, 8 << 10
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what finalizers and pools kept goes with the second
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	h := newFullHouse(t)
	for name, mount := range map[string]struct{ path, body string }{
		"kv version 1": {"mounts", `{"type":"kv"}`},
		"kv version 2": {"mounts", `{"type":"kv","options":{"version":"2"}}`},
		"approle":      {"auth", `{"type":"approle"}`},
		"cert":         {"auth", `{"type":"cert"}`},
		"jwt":          {"auth", `{"type":"jwt"}`},
		"kubernetes":   {"auth", `{"type":"kubernetes"}`},
		"ldap":         {"auth", `{"type":"ldap"}`},
		"userpass":     {"auth", `{"type":"userpass"}`},
	} {
		t.Run(name, func(t *testing.T) {
			add := func(prefix string, n int) {
				for i := range n {
					path := fmt.Sprintf("/v1/sys/%s/%s-%d", mount.path, prefix+strings.ReplaceAll(name, " ", "-"), i)
					h.must(t, "PUT", path, mount.body)
				}
			}
			add("first", 10) // what the type itself needs
			before := heap()
			add("more", count)
			each := (heap() - before) / count
			t.Logf("%s: %d bytes for each mount", name, each)
			if each > most {
				t.Errorf("%d bytes for each mount of %s, want at most %d", each, name, most)
			}
		})
	}
}
