// Package audit records every request and every answer on the audit devices, in Vault's JSON form.
//
// Sensitive values are replaced by an HMAC with a key of the device, so that entries can be compared
// without telling secrets. When devices are enabled, a request that none of them recorded is refused.
//
// A device has 5 seconds to record an entry; see Config.Timeout. One that takes longer, or whose queue
// (1,024 entries, 16 MiB) is full, has not recorded it. As long as another device records, a stuck one
// costs nothing: it is given entries but not waited for until it moves again, and what its queue cannot
// hold is lost to it, which the server's log tells. When no device records, requests fail after the bound.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"coffer/engines"
	"coffer/policy"
	"coffer/server/mounts"
	"coffer/storage"
)

// ErrNotRecorded is returned when devices are enabled and none of them recorded the entry. The request
// must be refused, or its answer withheld.
var ErrNotRecorded = errors.New("audit: no device recorded the entry")

// errLost is the ErrNotRecorded while the devices cannot be read, with a text for the client.
var errLost = fmt.Errorf("%w: %w", ErrNotRecorded, errLostDevices)

var errLostDevices = engines.Failed("the audit devices cannot be read: see sys/damaged")

// defaultTimeout is how long a device may take to record an entry.
const defaultTimeout = 5 * time.Second

// Headers tells which request headers entries show.
type Headers interface {
	// AuditHeaders returns lower-case names and whether their values are hashed. It is called for each
	// entry and concurrently; the map is not changed.
	AuditHeaders() map[string]bool
}

// Config is what a Broker needs.
type Config struct {
	// Storage keeps the devices and their keys below "core/audit".
	Storage storage.Storage
	Logger  *slog.Logger
	// Headers may be nil: no headers are shown.
	Headers Headers
	// Timeout is how long a device may take to record an entry; 5 seconds when it is 0.
	Timeout time.Duration
	// AllowPrefix accepts the option "prefix", as Vault's allow_audit_log_prefixing does. A prefix makes
	// lines that other programs could take for their own, therefore it is off.
	AllowPrefix bool
}

// maxRecording is how many entries are recorded at one time, so that those of a crowd fit into the queue of a device
// that works. Further ones wait.
const maxRecording = 256

// Broker hands entries to the devices. It is safe for concurrent use.
type Broker struct {
	cfg Config
	// room has a place for each entry that is being recorded.
	room chan struct{}
	// devices is nil while none is enabled. The table is replaced, never changed.
	devices atomic.Pointer[table]
	// changing serialises changes of the devices and their record.
	changing sync.Mutex
	// lost is set while the stored devices cannot be read. Whoever changes it holds changing.
	lost atomic.Bool
}

// table is the list of devices at one time.
type table struct {
	devices []*device
	// lost is set while there are devices that cannot be read. They do not record.
	lost bool
	// ended is set when the broker was closed with devices enabled: from then on nothing is recorded.
	ended bool
}

// New returns a broker without devices; Load brings back those of the storage.
func New(cfg Config) *Broker {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	return &Broker{cfg: cfg, room: make(chan struct{}, maxRecording)}
}

// Entry is what is recorded of a request. The broker does not keep it.
type Entry struct {
	Request *engines.Request
	// Path is the whole path, "secret/data/x".
	Path string
	// Token is what the client presented, valid or not.
	Token engines.Token
	// IdentityPolicies are what identity adds to the caller's policies.
	IdentityPolicies []string
	// Mount serves the path; nil when nothing does.
	Mount *mounts.Entry
	// Time is when the request came or the answer was ready.
	Time time.Time
	// Decision is what the policies said; nil when they were not asked.
	Decision *policy.Decision
	// Response is nil in the entry of a request and for answers without content.
	Response *engines.Response
	// Error is how the request ended; nil when it was served.
	Error error
}

// Enabled reports whether there are devices. Without them logging costs this one atomic load.
func (b *Broker) Enabled() bool { return b.devices.Load() != nil }

// LogRequest records a request before it is served. It returns ErrNotRecorded when devices are enabled
// and none of them recorded it. The context does not end it early: a client that hangs up must not
// keep what it did out of the record.
func (b *Broker) LogRequest(_ context.Context, e *Entry) error { return b.log("request", e) }

// LogResponse records an answer before it is sent, as LogRequest does.
func (b *Broker) LogResponse(_ context.Context, e *Entry) error { return b.log("response", e) }

func (b *Broker) log(kind string, e *Entry) error {
	for {
		t := b.devices.Load()
		switch {
		case t == nil:
			return nil
		case t.ended:
			return ErrNotRecorded
		}
		switch r := b.record(t.devices, kind, e); {
		case r.recorded:
			return nil
		case t.lost:
			return errLost
		case r.failed:
			return ErrNotRecorded
		}
		// Every device of this table was disabled meanwhile: the next one decides.
	}
}

func (b *Broker) record(devices []*device, kind string, e *Entry) *recording {
	var headers map[string]bool
	if b.cfg.Headers != nil {
		headers = b.cfg.Headers.AuditHeaders()
	}
	r := &recording{broker: b, handed: make([]handed, 0, len(devices))}
	timer := time.NewTimer(b.cfg.Timeout)
	defer timer.Stop()
	select {
	case b.room <- struct{}{}:
		defer func() { <-b.room }()
	case <-timer.C:
		for _, d := range devices {
			r.fail(d, errFull)
		}
		return r
	}
	for _, d := range devices {
		line, err := d.format(kind, e, headers)
		if err != nil {
			r.fail(d, err)
			continue
		}
		r.hand(d, line)
	}
	r.wait(timer)
	return r
}

// recording is one entry on its way to all devices.
type recording struct {
	broker *Broker
	handed []handed
	// recorded is set when a device recorded the entry, failed when one did not.
	recorded, failed bool
}

// handed is an entry that is in a device's queue.
type handed struct {
	device *device
	job    *job
}

func (r *recording) hand(d *device, line []byte) {
	j, err := d.sink.enqueue(line)
	switch {
	case err == nil:
		r.handed = append(r.handed, handed{device: d, job: j})
	case errors.Is(err, errClosed): // disabled meanwhile
	default:
		r.fail(d, err)
	}
}

// fail tells the log once, not for each of the entries that follow.
func (r *recording) fail(d *device, err error) {
	r.failed = true
	if !d.failing.Swap(true) {
		r.broker.cfg.Logger.Error("audit device does not record", "device", d.Path, "error", err)
	}
}

func (r *recording) succeed(d *device) {
	r.recorded = true
	if d.failing.Load() && d.failing.Swap(false) {
		r.broker.cfg.Logger.Info("audit device records again", "device", d.Path)
	}
}

// wait waits for the devices: first for those that move, and for the others only while nobody recorded.
func (r *recording) wait(timer *time.Timer) {
	expired := false
	for _, stalled := range [...]bool{false, true} {
		for _, h := range r.handed {
			if h.job.stalled != stalled || (stalled && r.recorded) {
				continue
			}
			expired = r.settle(h, timer, expired)
		}
	}
}

// settle waits for one device. After the timer has expired it only looks.
func (r *recording) settle(h handed, timer *time.Timer, expired bool) bool {
	if !expired {
		select {
		case <-h.job.done:
		case <-h.device.sink.ended:
		case <-timer.C:
			expired = true
		}
	}
	err, done := h.job.result()
	switch {
	case done && err == nil:
		r.succeed(h.device)
	case done && !errors.Is(err, errClosed):
		r.fail(h.device, err)
	case done, h.device.sink.hasEnded(): // disabled meanwhile
	default:
		h.device.sink.stalled.Store(true)
		r.fail(h.device, errSlow)
	}
	return expired
}
