package sys_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// The names are Vault's, which are not those of the library that finds the values.
func TestHostInfo(t *testing.T) {
	b := newBench(t)
	resp, err := b.do(`GET host-info`)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(resp.Data)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hostid", "bootTime", "virtualizationRole", "usedPercent", "writeback", "pagetables",
		"swaptotal", "committedas", "vmallocchunk", "hugepagesize", "cpu_times", "timestamp"} {
		if !strings.Contains(string(text), `"`+name+`":`) {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"hostId", "swapTotal", "hugePagesRsvd"} {
		if strings.Contains(string(text), `"`+name+`":`) {
			t.Errorf("%s is not one of Vault's", name)
		}
	}
}
