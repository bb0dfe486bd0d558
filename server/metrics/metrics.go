// Package metrics counts what the server does, for Prometheus. No label holds a path, a name or a token:
// what is stored must not be readable from a dashboard.
package metrics

import (
	"bytes"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// Metrics are the server's own. The zero value is not usable; New makes it.
type Metrics struct {
	registry *prometheus.Registry
	inFlight prometheus.Gauge
	requests prometheus.Histogram
	recent   recent
	// now and since are the clock: time.Since costs half of what a second time.Now does.
	now   func() time.Time
	since func(time.Time) time.Duration
}

// New returns metrics whose gauges are read through the functions when they are asked for: whether the server is
// unsealed, how many leases are alive, and whether the storage can be written.
func New(unsealed func() bool, leases func() int, writable func() bool) *Metrics {
	m := &Metrics{
		now: time.Now, since: time.Since,
		registry: prometheus.NewRegistry(),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vault_core_in_flight_requests", Help: "Requests being served."}),
		requests: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "vault_core_handle_request_seconds", Help: "Time to serve a request.",
			Buckets: []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5},
		}),
	}
	served := quantiles{recent: &m.recent, all: m.requests, now: m.clock, about: prometheus.NewDesc(
		"vault_core_handle_request",
		"Time to serve a request, in milliseconds; quantiles are of the last ten seconds.", nil, nil)}
	m.registry.MustRegister(m.inFlight, m.requests, served,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vault_core_unsealed", Help: "1 while the server is unsealed."},
			flag(unsealed)),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "coffer_storage_writable", Help: "0 while nothing can be written to the storage."},
			flag(writable)),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vault_expire_num_leases", Help: "Leases that are alive."},
			func() float64 { return float64(leases()) }),
	)
	return m
}

func (m *Metrics) clock() time.Time { return m.now() }

func flag(set func() bool) func() float64 {
	return func() float64 {
		if set() {
			return 1
		}
		return 0
	}
}

// CertificateDays is the name of the metric of how long listeners' certificates are good for.
const CertificateDays = "vault_tls_certificate_days_left"

// Reading is a measurement that others make.
type Reading struct {
	// Name is that for Prometheus, and what it measures is Help.
	Name, Help string
	// Label is the name of the label that tells values apart, "" for one value.
	Label string
	// Counter is set for what only grows.
	Counter bool
	// Read returns the values by the label's; with an empty label the only one is that of "".
	Read func() map[string]float64
}

// Watch adds a measurement, once for each name.
func (m *Metrics) Watch(r Reading) error {
	var labels []string
	if r.Label != "" {
		labels = []string{r.Label}
	}
	c := reader{Reading: r, desc: prometheus.NewDesc(r.Name, r.Help, labels, nil)}
	if err := m.registry.Register(c); err != nil {
		return fmt.Errorf("metrics: %s: %w", r.Name, err)
	}
	return nil
}

// WatchDamage adds the number of stored records that cannot be read, by their kind. It is called once.
func (m *Metrics) WatchDamage(read func() map[string]float64) {
	damaged := Reading{Name: "coffer_damaged_records", Label: "kind", Read: read}
	m.registry.MustRegister(reader{Reading: damaged, desc: prometheus.NewDesc(damaged.Name,
		"Stored records that were found and cannot be read.", []string{damaged.Label}, nil)})
}

// reader is a Reading as Prometheus wants it.
type reader struct {
	Reading
	desc *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (r reader) Describe(all chan<- *prometheus.Desc) { all <- r.desc }

// Collect implements prometheus.Collector.
func (r reader) Collect(all chan<- prometheus.Metric) {
	kind := prometheus.GaugeValue
	if r.Counter {
		kind = prometheus.CounterValue
	}
	for label, value := range r.Read() {
		if r.Label == "" {
			all <- prometheus.MustNewConstMetric(r.desc, kind, value)
		} else {
			all <- prometheus.MustNewConstMetric(r.desc, kind, value, label)
		}
	}
}

// Begin counts a request in and returns when that was; End counts it out.
func (m *Metrics) Begin() (begun time.Time) {
	m.inFlight.Inc()
	return m.now()
}

// End counts out a request that was counted in at begun.
func (m *Metrics) End(begun time.Time) {
	took := m.since(begun)
	m.inFlight.Dec()
	m.requests.Observe(took.Seconds())
	m.recent.observe(begun.Add(took), took)
}

// Leave counts out a request whose time says nothing about the server.
func (m *Metrics) Leave() { m.inFlight.Dec() }

// Text returns all metrics in Prometheus' text format and its content type.
func (m *Metrics) Text() (text []byte, contentType string, err error) {
	families, err := m.registry.Gather()
	if err != nil {
		return nil, "", fmt.Errorf("metrics: gather: %w", err)
	}
	var b bytes.Buffer
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	encoder := expfmt.NewEncoder(&b, format)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return nil, "", fmt.Errorf("metrics: encode: %w", err)
		}
	}
	return b.Bytes(), string(format), nil
}
