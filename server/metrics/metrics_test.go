package metrics_test

import (
	"strings"
	"testing"

	"coffer/server/metrics"
)

func TestText(t *testing.T) {
	m := metrics.New(func() bool { return true }, func() int { return 7 })
	begun := m.Begin()
	text, contentType, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"vault_core_unsealed 1\n", "vault_expire_num_leases 7\n", "vault_core_in_flight_requests 1\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing", strings.TrimSpace(want))
		}
	}
	if !strings.HasPrefix(contentType, "text/plain") {
		t.Errorf("content type %q", contentType)
	}
	m.End(begun)
	if text, _, err = m.Text(); err != nil || !strings.Contains(string(text), "vault_core_in_flight_requests 0\n") ||
		!strings.Contains(string(text), "vault_core_handle_request_seconds_count 1\n") {
		t.Errorf("the request was not counted out (%v)", err)
	}
}
