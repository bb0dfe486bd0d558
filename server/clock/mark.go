package clock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"coffer/storage"
)

// markKey is where the mark is behind the barrier: how far the server's time had come when something was committed.
const markKey = "sys/clock"

const (
	markVersion = 1
	// markEvery is how often the mark is stored at most.
	markEvery = time.Minute
)

var errCorrupt = fmt.Errorf("clock: corrupt record: %w", storage.ErrDamaged)

// Load lets the time go on from the mark in s. A mark that cannot be read is logged and counts for nothing. When
// trust is set the machine's clock is right and the mark was wrong: the time is the machine's, if that can be.
func (c *Clock) Load(ctx context.Context, s storage.Storage, trust bool) error {
	b, err := s.Get(ctx, markKey)
	var mark int64
	if err == nil {
		mark, err = decode(b)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil
	case errors.Is(err, storage.ErrDamaged):
		storage.SetAside(s, markKey, err)
		c.log.Error("how far the server's time had come is unreadable; the machine's clock is believed",
			slog.Any("error", err))
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", markKey, err)
	}
	if trust && !c.machine().Before(earliest) {
		c.trust(mark)
	} else {
		c.raise(mark)
	}
	return nil
}

// trust sets the time to the machine's, whatever was seen.
func (c *Clock) trust(mark int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.machine()
	c.last.Store(&reading{now: now.UnixNano(), machine: now.UnixNano(), at: c.elapsed()})
	c.stored.Store(0)
	c.log.Warn("the machine's clock is trusted as told; what was issued later than now is not good any more",
		slog.Time("clock", now.Round(0)), slog.Time("seen", time.Unix(0, mark)))
}

// raise lets the time go on from the mark.
func (c *Clock) raise(mark int64) {
	c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stored.Store(mark)
	last := *c.last.Load()
	if mark <= last.now {
		return
	}
	if behind := time.Duration(mark - last.machine); behind >= notable {
		c.warned = c.elapsed()
		c.log.Warn("the machine's clock is behind what this server has seen; its time goes on from there until the "+
			"clock has caught up", slog.String("by", behind.Round(time.Second).String()),
			slog.Time("clock", time.Unix(0, last.machine)), slog.Time("server_time", time.Unix(0, mark)))
	}
	last.now = mark
	c.last.Store(&last)
}

// Acted tells that something was refused for having ended and that nothing else is stored of it.
func (c *Clock) Acted() { c.acted.Store(true) }

// Keep looks at the clocks, and stores the mark when Acted was called since it was stored. A worker calls it every
// minute.
func (c *Clock) Keep(ctx context.Context, s storage.Storage) error {
	if !c.acted.Load() {
		c.Now()
		return nil
	}
	return c.Flush(ctx, s)
}

// Flush stores the mark unless that was done within the last minute.
func (c *Clock) Flush(ctx context.Context, s storage.Storage) error {
	c.Now()
	before, mark, due := c.claim()
	if !due {
		return nil
	}
	c.acted.Store(false)
	err := s.Apply(ctx, put(mark))
	if err != nil {
		c.stored.CompareAndSwap(mark, before)
		c.acted.Store(true)
	}
	return err
}

// claim tells whether the mark is due to be stored, by the caller alone.
func (c *Clock) claim() (before, mark int64, due bool) {
	before, mark = c.stored.Load(), c.last.Load().now
	due = mark-before >= int64(markEvery) && c.stored.CompareAndSwap(before, mark)
	return before, mark, due
}

// Storage returns s with the mark in what it commits, at most once a minute.
func (c *Clock) Storage(s storage.Storage) storage.Storage { return marked{Storage: s, clock: c} }

type marked struct {
	storage.Storage
	clock *Clock
}

// Page implements storage.Pager: without it each page would cost the whole folder.
func (m marked) Page(ctx context.Context, prefix, mark string, limit int) (names []string, next string, err error) {
	return storage.Page(ctx, m.Storage, prefix, mark, limit)
}

// Apply implements storage.Storage.
func (m marked) Apply(ctx context.Context, batch ...storage.Op) error {
	if len(batch) == 0 {
		return m.Storage.Apply(ctx)
	}
	before, mark, due := m.clock.claim()
	if !due {
		return m.Storage.Apply(ctx, batch...)
	}
	all := make([]storage.Op, 0, len(batch)+1)
	err := m.Storage.Apply(ctx, append(append(all, batch...), put(mark))...)
	if err != nil {
		m.clock.stored.CompareAndSwap(mark, before)
	}
	return err
}

// Report implements storage.Reporter.
func (m marked) Report(d storage.Damage) {
	if r, ok := m.Storage.(storage.Reporter); ok {
		r.Report(d)
	}
}

// Discard implements storage.Discarder.
func (m marked) Discard(ctx context.Context, folder string) error {
	if d, ok := m.Storage.(storage.Discarder); ok {
		return d.Discard(ctx, folder)
	}
	return nil
}

func put(mark int64) storage.Op {
	b := binary.BigEndian.AppendUint64([]byte{markVersion}, uint64(mark)) //nolint:gosec // decode reads the same bits
	return storage.Put(markKey, b)
}

func decode(b []byte) (int64, error) {
	if len(b) != 9 || b[0] != markVersion {
		return 0, errCorrupt
	}
	mark := int64(binary.BigEndian.Uint64(b[1:])) //nolint:gosec // the bits that put wrote
	if mark < 0 {
		return 0, errCorrupt
	}
	return mark, nil
}
