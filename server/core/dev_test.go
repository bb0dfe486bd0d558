package core_test

import (
	"testing"

	"coffer/engines"
	"coffer/storage/memory"
)

// A development server has KV at secret/ in the version that is asked for, or not at all.
func TestInitDevMountsKV(t *testing.T) {
	for kv, want := range []string{"", "1", "2"} {
		c := newCore(memory.New())
		_, root, err := c.InitDev(t.Context(), engines.Token{}, kv)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := do(t.Context(), c, root.Reveal(), engines.Read, "sys/mounts/secret", nil)
		if kv == 0 {
			if err == nil {
				t.Errorf("something is at secret/: %v", resp.Data)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if options, _ := resp.Data["options"].(map[string]string); options["version"] != want || resp.Data["type"] != "kv" {
			t.Errorf("version %d: %v", kv, resp.Data)
		}
	}
}
