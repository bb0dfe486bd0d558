package metrics

import "time"

// NewAt makes the metrics of an open server with seven leases, whose clock shows *now.
func NewAt(now *time.Time) *Metrics {
	m := New(func() bool { return true }, func() int { return 7 }, func() bool { return false })
	m.now = func() time.Time { return *now }
	m.since = func(t time.Time) time.Duration { return now.Sub(t) }
	return m
}
