package metrics

import (
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// summary is the JSON of `GET sys/metrics` without a format, in the shape that clients of Vault expect.
type summary struct {
	Timestamp string
	Gauges    []gauge
	Points    []struct{}
	Counters  []struct{}
	Samples   []sample
}

type gauge struct {
	Name   string
	Value  float64
	Labels map[string]string
}

// sample is counted from the start of the server, not for the last ten seconds as Vault's are; what a
// histogram does not know (the least, the largest) is left out.
type sample struct {
	Name      string
	Count     uint64
	Sum, Mean float64
	Labels    map[string]string
}

// JSON returns the server's own metrics and those of its memory as Vault names them; times are milliseconds.
func (m *Metrics) JSON(now time.Time) ([]byte, error) {
	s := summary{
		Timestamp: now.UTC().Truncate(time.Second).String(),
		Points:    []struct{}{}, Counters: []struct{}{}, Samples: []sample{},
	}
	families, err := m.registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("metrics: gather: %w", err)
	}
	for _, family := range families {
		if len(family.GetMetric()) != 1 {
			continue // those of Go itself, which are named otherwise below
		}
		s.add(family.GetName(), family.GetMetric()[0])
	}
	s.addRuntime()
	return json.Marshal(s)
}

func (s *summary) add(name string, metric *dto.Metric) {
	switch name {
	case "vault_core_unsealed":
		s.gauge("vault.core.unsealed", metric.GetGauge().GetValue())
	case "vault_core_in_flight_requests":
		s.gauge("vault.core.in_flight_requests", metric.GetGauge().GetValue())
	case "vault_expire_num_leases":
		s.gauge("vault.expire.num_leases", metric.GetGauge().GetValue())
	case "vault_core_handle_request_seconds":
		h := metric.GetHistogram()
		served := sample{Name: "vault.core.handle_request", Count: h.GetSampleCount(), Sum: 1000 * h.GetSampleSum(),
			Labels: map[string]string{}}
		if served.Count > 0 {
			served.Mean = served.Sum / float64(served.Count)
		}
		s.Samples = append(s.Samples, served)
	}
}

func (s *summary) gauge(name string, value float64) {
	s.Gauges = append(s.Gauges, gauge{Name: name, Value: value, Labels: map[string]string{}})
}

func (s *summary) addRuntime() {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	for _, g := range []struct {
		name  string
		value float64
	}{
		{"alloc_bytes", float64(mem.Alloc)}, {"free_count", float64(mem.Frees)}, {"heap_objects", float64(mem.HeapObjects)},
		{"malloc_count", float64(mem.Mallocs)}, {"num_goroutines", float64(runtime.NumGoroutine())},
		{"sys_bytes", float64(mem.Sys)},
		{"total_gc_pause_ns", float64(mem.PauseTotalNs)}, {"total_gc_runs", float64(mem.NumGC)},
	} {
		s.gauge("vault.runtime."+g.name, g.value)
	}
}
