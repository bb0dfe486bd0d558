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

// sample is what was measured in the last ten seconds, in milliseconds; Rate is the sum by the second.
type sample struct {
	Name                              string
	Count                             uint64
	Rate, Sum, Min, Max, Mean, Stddev float64
	Labels                            map[string]string
}

// JSON returns the server's own metrics and those of its memory as Vault names them; times are milliseconds.
func (m *Metrics) JSON() ([]byte, error) {
	now := m.now()
	s := summary{
		Timestamp: now.UTC().Truncate(time.Second).String(),
		Points:    []struct{}{}, Counters: []struct{}{}, Samples: []sample{},
	}
	families, err := m.registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("metrics: gather: %w", err)
	}
	for _, family := range families {
		if family.GetName() == CertificateDays {
			for _, metric := range family.GetMetric() {
				g := gauge{Name: "vault.tls.certificate_days_left", Value: metric.GetGauge().GetValue(),
					Labels: map[string]string{}}
				for _, label := range metric.GetLabel() {
					g.Labels[label.GetName()] = label.GetValue()
				}
				s.Gauges = append(s.Gauges, g)
			}
			continue
		}
		if len(family.GetMetric()) != 1 {
			continue // those of Go itself, which are named otherwise below
		}
		s.add(family.GetName(), family.GetMetric()[0])
	}
	s.addRuntime()
	if d := m.recent.digest(now); d.count > 0 {
		s.Samples = append(s.Samples, d.sample("vault.core.handle_request"))
	}
	return json.Marshal(s)
}

func (s *summary) add(name string, metric *dto.Metric) {
	switch name {
	case "vault_core_unsealed":
		s.gauge("vault.core.unsealed", metric.GetGauge().GetValue())
	case "coffer_storage_writable":
		s.gauge("coffer.storage.writable", metric.GetGauge().GetValue())
	case "vault_core_in_flight_requests":
		s.gauge("vault.core.in_flight_requests", metric.GetGauge().GetValue())
	case "vault_expire_num_leases":
		s.gauge("vault.expire.num_leases", metric.GetGauge().GetValue())
	}
}

// sample is the digest in the form of the JSON answer.
func (d *digest) sample(name string) sample {
	sum := d.sum / float64(time.Millisecond)
	return sample{Name: name, Count: d.count, Rate: sum / span.Seconds(), Sum: sum, Min: d.quantile(0), Max: d.quantile(1),
		Mean: sum / float64(d.count), Stddev: d.spread(), Labels: map[string]string{}}
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
