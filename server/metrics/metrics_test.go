package metrics_test

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"coffer/server/metrics"
)

func TestText(t *testing.T) {
	m := metrics.New(func() bool { return true }, func() int { return 7 }, func() bool { return false })
	begun := m.Begin()
	text, contentType, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"vault_core_unsealed 1\n", "vault_expire_num_leases 7\n", "vault_core_in_flight_requests 1\n",
		"coffer_storage_writable 0\n"} {
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

// What others measure is shown beside the server's own metrics, with a label where there are several.
func TestWatch(t *testing.T) {
	m := metrics.New(func() bool { return true }, func() int { return 7 }, func() bool { return false })
	days := metrics.Reading{Name: metrics.CertificateDays, Help: "Days.", Label: "listener",
		Read: func() map[string]float64 { return map[string]float64{"a:1": 3.5, "b:1": -1} }}
	lines := metrics.Reading{Name: "lines_total", Help: "Lines.", Counter: true,
		Read: func() map[string]float64 { return map[string]float64{"": 9} }}
	if err := errors.Join(m.Watch(days), m.Watch(lines)); err != nil {
		t.Fatal(err)
	}
	if err := m.Watch(lines); err == nil {
		t.Error("a name is taken twice")
	}
	text, _, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"vault_tls_certificate_days_left{listener=\"a:1\"} 3.5\n", "vault_tls_certificate_days_left{listener=\"b:1\"} -1\n",
		"# TYPE lines_total counter\nlines_total 9\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing", want)
		}
	}
	text, err = m.JSON()
	if err != nil || strings.Count(string(text), `"vault.tls.certificate_days_left"`) != 2 ||
		!strings.Contains(string(text), `"Value":-1,"Labels":{"listener":"b:1"}`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestJSON(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	m := metrics.NewAt(&now)
	begun := m.Begin()
	now = now.Add(20 * time.Millisecond)
	m.End(begun)
	text, err := m.JSON()
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
			Sum   float64
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
	if writable, ok := values["coffer.storage.writable"]; !ok || writable != 0 {
		t.Errorf("coffer.storage.writable is %v, %v", writable, ok)
	}
	if got.Timestamp != "2026-01-02 03:04:05 +0000 UTC" || values["vault.core.unsealed"] != 1 ||
		values["vault.expire.num_leases"] != 7 || values["vault.runtime.num_goroutines"] < 1 || got.Points == nil || got.Counters == nil {
		t.Errorf("%s", text)
	}
	if len(got.Samples) != 1 || got.Samples[0].Name != "vault.core.handle_request" || got.Samples[0].Sum != 20 || got.Samples[0].Count != 1 || got.Samples[0].Mean <= 0 {
		t.Errorf("samples: %+v", got.Samples)
	}
}

// The quantiles are those of the last ten seconds, the count and the sum those of all.
func TestHandleRequestAsInVault(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	m := metrics.NewAt(&now)
	serve := func(took time.Duration) {
		begun := m.Begin()
		now = now.Add(took)
		m.End(begun)
	}
	quantiles := func() map[string]float64 {
		text, _, err := m.Text()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]float64{}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			if rest, ok := strings.CutPrefix(name, "vault_core_handle_request"); ok && !strings.HasPrefix(rest, "_seconds") {
				if found[rest], err = strconv.ParseFloat(value, 64); err != nil {
					t.Error(err)
				}
			}
		}
		return found
	}
	near := func(got, want float64) bool { return math.Abs(got-want) <= want/25 }
	if got := quantiles(); !math.IsNaN(got[`{quantile="0.5"}`]) || got["_count"] != 0 {
		t.Errorf("before any request: %v", got)
	}
	for range 89 {
		serve(time.Millisecond)
	}
	for range 10 {
		serve(50 * time.Millisecond)
	}
	serve(2 * time.Second)
	got := quantiles()
	if !near(got[`{quantile="0.5"}`], 1) || !near(got[`{quantile="0.9"}`], 50) || !near(got[`{quantile="0.99"}`], 50) ||
		got["_count"] != 100 || !near(got["_sum"], 2589) {
		t.Errorf("after a hundred: %v", got)
	}
	now = now.Add(13 * time.Second)
	serve(700 * time.Microsecond)
	if got = quantiles(); !near(got[`{quantile="0.99"}`], .7) || got["_count"] != 101 {
		t.Errorf("later: %v", got)
	}
	now = now.Add(-time.Hour) // a clock that is set back
	serve(-time.Second)
	if got = quantiles(); got["_count"] != 102 || got[`{quantile="0.99"}`] > .01 {
		t.Errorf("in the past: %v", got)
	}
}

// Every duration is in a bucket whose middle is near it.
func TestBuckets(t *testing.T) {
	for d := 20 * time.Microsecond; d < 40*time.Minute; d += d/7 + 1 {
		now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
		m := metrics.NewAt(&now)
		begun := m.Begin()
		now = now.Add(d)
		m.End(begun)
		text, err := m.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Samples []struct{ Max, Sum float64 } }
		if err := json.Unmarshal(text, &got); err != nil || len(got.Samples) != 1 {
			t.Fatalf("%s: %v", text, err)
		}
		if s := got.Samples[0]; math.Abs(s.Max-s.Sum) > s.Sum/25 {
			t.Fatalf("%v: shown as %v ms", d, s.Max)
		}
	}
}

func TestManyRequestsAtOnce(t *testing.T) {
	m := metrics.New(func() bool { return true }, func() int { return 0 }, func() bool { return true })
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				m.End(m.Begin())
			}
		})
	}
	all.Wait()
	text, _, err := m.Text()
	if err != nil || !strings.Contains(string(text), "vault_core_handle_request_count 8000\n") {
		t.Errorf("%v: %s", err, text)
	}
}

func BenchmarkRequest(b *testing.B) {
	m := metrics.New(func() bool { return true }, func() int { return 0 }, func() bool { return true })
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			m.End(m.Begin())
		}
	})
}
