package metrics

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// What recent remembers.
const (
	// span is what quantiles tell of, as in Vault.
	span = 10 * time.Second
	// slots share the span, and one more is being filled.
	slots    = 5 + 1
	slotSpan = span / (slots - 1)
)

// A duration falls into a bucket by its highest bit and the four below it, in units of 2^unitBits nanoseconds, so that
// a bucket is at most a sixteenth of its durations wide. The last one has all from about an hour on.
const (
	unitBits = 10
	subBits  = 4
	buckets  = 32 << subBits
)

// recent counts how long things took in the last ten seconds. Observing is a few atomic additions, whoever else does.
// Its zero value is empty.
type recent struct{ slots [slots]slot }

type slot struct {
	// turn is which span of slotSpan since 1970 the slot is for; whoever finds another empties it.
	turn    atomic.Int64
	sum     atomic.Uint64
	buckets [buckets]atomic.Uint32
}

// observe counts what took d and ended at now. A negative d, of a clock that was set back, counts as none.
func (r *recent) observe(now time.Time, d time.Duration) {
	ns := uint64(max(d, 0))
	turn := now.UnixNano() / int64(slotSpan)
	s := &r.slots[((turn%slots)+slots)%slots]
	if old := s.turn.Load(); old != turn && s.turn.CompareAndSwap(old, turn) {
		// What others count while it is emptied may be lost: one of many, in one moment of many.
		s.sum.Store(0)
		for i := range s.buckets {
			s.buckets[i].Store(0)
		}
	}
	s.sum.Add(ns)
	s.buckets[bucketOf(ns)].Add(1)
}

func bucketOf(ns uint64) int {
	units := ns >> unitBits
	if units < 1<<subBits {
		return int(units)
	}
	shift := bits.Len64(units) - 1 - subBits
	return min(buckets-1, (shift+1)<<subBits+int(units>>shift&(1<<subBits-1)))
}

// middle is the middle of a bucket, in nanoseconds.
func middle(bucket int) float64 {
	low, width := float64(bucket), 1.0
	if bucket >= 1<<subBits {
		shift := bucket>>subBits - 1
		width = float64(uint64(1) << shift)
		low = width * float64(1<<subBits+bucket&(1<<subBits-1))
	}
	return (low + width/2) * (1 << unitBits)
}

// digest is what happened in the last ten seconds.
type digest struct {
	counts [buckets]uint64
	count  uint64
	sum    float64 // nanoseconds
}

// digest adds up the slots that are not too old.
func (r *recent) digest(now time.Time) *digest {
	d := &digest{}
	turn := now.UnixNano() / int64(slotSpan)
	for i := range r.slots {
		s := &r.slots[i]
		if age := turn - s.turn.Load(); age < 0 || age >= slots {
			continue
		}
		d.sum += float64(s.sum.Load())
		for j := range s.buckets {
			n := uint64(s.buckets[j].Load())
			d.counts[j] += n
			d.count += n
		}
	}
	return d
}

// quantile is the duration that the part q of all did not exceed, in milliseconds, to some three percent. Without any
// it is not a number.
func (d *digest) quantile(q float64) float64 {
	if d.count == 0 {
		return math.NaN()
	}
	rank := uint64(math.Ceil(q * float64(d.count)))
	var seen uint64
	for i, n := range d.counts {
		if seen += n; seen >= max(rank, 1) {
			return middle(i) / float64(time.Millisecond)
		}
	}
	return math.NaN()
}

// spread is the standard deviation, in milliseconds.
func (d *digest) spread() float64 {
	if d.count < 2 {
		return 0
	}
	mean, squares := d.sum/float64(d.count), 0.0
	for i, n := range d.counts {
		off := middle(i) - mean
		squares += float64(n) * off * off
	}
	return math.Sqrt(squares/float64(d.count-1)) / float64(time.Millisecond)
}

// quantiles shows a recent to Prometheus as Vault does: quantiles of the last ten seconds, count and sum of all, which
// the histogram knows, in milliseconds.
type quantiles struct {
	recent *recent
	all    prometheus.Histogram
	about  *prometheus.Desc
	now    func() time.Time
}

var _ prometheus.Collector = quantiles{}

// Describe implements prometheus.Collector.
func (q quantiles) Describe(ch chan<- *prometheus.Desc) { ch <- q.about }

// Collect implements prometheus.Collector.
func (q quantiles) Collect(ch chan<- prometheus.Metric) {
	var all dto.Metric
	if err := q.all.Write(&all); err != nil {
		ch <- prometheus.NewInvalidMetric(q.about, err)
		return
	}
	d, h := q.recent.digest(q.now()), all.GetHistogram()
	ch <- prometheus.MustNewConstSummary(q.about, h.GetSampleCount(), 1000*h.GetSampleSum(),
		map[float64]float64{.5: d.quantile(.5), .9: d.quantile(.9), .99: d.quantile(.99)})
}
