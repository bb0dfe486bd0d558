// Package monitor lets clients follow the server's log while it is written, at a level and in a format of their own.
// A client that does not keep up loses lines and is told how many; nobody who writes to the log waits for it.
package monitor

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// What followers may cost.
const (
	// MaxFollowers is how many followers there may be at one time.
	MaxFollowers = 16
	// maxPending is how many bytes of lines wait for one follower.
	maxPending = 128 << 10
)

// The names of the formats.
const (
	Standard = "standard"
	JSON     = "json"
)

// ErrTooMany is returned by Follow when there are MaxFollowers already.
var ErrTooMany = errors.New("monitor: too many clients follow the log")

// ErrClosed is returned by Follow once the server is stopping.
var ErrClosed = errors.New("monitor: the server is stopping")

// Renderer returns a handler that writes each record to out as one line, in one Write.
type Renderer func(out *bytes.Buffer) slog.Handler

// Hub hands the lines of one log to followers. New makes it; its methods may be called at any time by anybody.
type Hub struct {
	// least is the lowest level that a follower wants; idle without any. Loggers ask it before they make a record.
	least atomic.Int64

	mu sync.Mutex
	// Guarded by mu. line is what a renderer writes to.
	followers map[*Follower]struct{}
	formats   map[string]slog.Handler
	line      bytes.Buffer
	closed    bool
}

// idle is above every level.
const idle = math.MaxInt64

// New returns a hub without followers, for these formats by their names.
func New(formats map[string]Renderer) *Hub {
	h := &Hub{followers: map[*Follower]struct{}{}, formats: map[string]slog.Handler{}}
	h.least.Store(idle)
	for name, render := range formats {
		h.formats[name] = render(&h.line)
	}
	return h
}

// Handler returns a handler that gives each record to next, as far as next wants it, and to the followers.
func (h *Hub) Handler(next slog.Handler) slog.Handler {
	return &handler{hub: h, next: next, formats: h.formats}
}

// Follow begins to gather lines of a level and above. The caller closes the follower. The format is one of New's.
func (h *Hub) Follow(level slog.Level, format string) (*Follower, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case len(h.followers) >= MaxFollowers:
		return nil, ErrTooMany
	case h.formats[format] == nil:
		return nil, errors.New("monitor: no format " + format)
	}
	f := &Follower{hub: h, level: level, format: format, ready: make(chan struct{}, 1)}
	h.followers[f] = struct{}{}
	h.levelLocked()
	return f, nil
}

// Close ends all followers once they have read what waits for them. It may be called more than once.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for f := range h.followers {
		f.wake()
	}
}

func (h *Hub) levelLocked() {
	least := int64(idle)
	for f := range h.followers {
		least = min(least, int64(f.level))
	}
	h.least.Store(least)
}

func (h *Hub) wants(level slog.Level) bool { return int64(level) >= h.least.Load() }

// publish gives a record to the followers. It renders the record once for each format that is wanted.
func (h *Hub) publish(ctx context.Context, formats map[string]slog.Handler, r slog.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for format, render := range formats {
		rendered := false
		for f := range h.followers {
			if f.format != format || r.Level < f.level {
				continue
			}
			if !rendered {
				rendered = true
				h.line.Reset()
				if err := render.Handle(ctx, r); err != nil {
					break // nothing fails that writes to memory
				}
			}
			f.addLocked(h.line.Bytes())
		}
	}
	if h.line.Cap() > maxPending {
		h.line = bytes.Buffer{}
	}
}

// Follower gathers lines for one client.
type Follower struct {
	hub    *Hub
	level  slog.Level
	format string
	ready  chan struct{}

	// Guarded by the hub's lock. Once a line was dropped, all are until the client reads: the gap is in one place.
	pending []byte
	dropped int
}

// Ready receives when there may be something for Take.
func (f *Follower) Ready() <-chan struct{} { return f.ready }

// Take returns the lines that have come since the last call, none or more, and whether others may follow. The client
// is told of lines that were dropped where they are missing.
func (f *Follower) Take() (lines []byte, more bool) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	lines = f.pending
	f.pending = nil
	if f.dropped > 0 {
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "this client reads too slowly: lines of the log were dropped", 0)
		r.AddAttrs(slog.String("module", "monitor"), slog.Int("lines", f.dropped))
		f.dropped = 0
		f.hub.line.Reset()
		if err := f.hub.formats[f.format].Handle(context.Background(), r); err == nil {
			lines = append(lines, f.hub.line.Bytes()...)
		}
	}
	return lines, !f.hub.closed
}

// Close ends the follower. It may be called more than once.
func (f *Follower) Close() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	delete(f.hub.followers, f)
	f.pending = nil
	f.hub.levelLocked()
}

func (f *Follower) addLocked(line []byte) {
	if f.dropped > 0 || len(f.pending)+len(line) > maxPending {
		f.dropped++
	} else {
		f.pending = append(f.pending, line...)
	}
	f.wake()
}

func (f *Follower) wake() {
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// handler is what loggers write to.
type handler struct {
	hub     *Hub
	next    slog.Handler
	formats map[string]slog.Handler
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level) || h.hub.wants(level)
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if h.hub.wants(r.Level) {
		h.hub.publish(ctx, h.formats, r)
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r) //nolint:wrapcheck // it is the log's
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(next slog.Handler) slog.Handler { return next.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return h.with(func(next slog.Handler) slog.Handler { return next.WithGroup(name) })
}

func (h *handler) with(change func(slog.Handler) slog.Handler) slog.Handler {
	formats := make(map[string]slog.Handler, len(h.formats))
	for name, format := range h.formats {
		formats[name] = change(format)
	}
	return &handler{hub: h.hub, next: change(h.next), formats: formats}
}
