package metrics_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

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

func TestJSON(t *testing.T) {
	m := metrics.New(func() bool { return true }, func() int { return 7 })
	m.End(m.Begin())
	text, err := m.JSON(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Timestamp string
		Gauges    []struct {
			Name  string
			Value float64
		}
		Points, Counters []any
		Samples          []struct {
			Name  string
			Count int
			Mean  float64
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, g := range got.Gauges {
		values[g.Name] = g.Value
	}
	if got.Timestamp != "2026-01-02 03:04:05 +0000 UTC" || values["vault.core.unsealed"] != 1 ||
		values["vault.expire.num_leases"] != 7 || values["vault.runtime.num_goroutines"] < 1 || got.Points == nil || got.Counters == nil {
		t.Errorf("%s", text)
	}
	if len(got.Samples) != 1 || got.Samples[0].Count != 1 || got.Samples[0].Mean <= 0 {
		t.Errorf("samples: %+v", got.Samples)
	}
}
