package monitor_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"coffer/server/monitor"
)

// newHub returns a hub and a logger that it follows. The log itself, at level warn, is kept in log.
func newHub() (h *monitor.Hub, logger *slog.Logger, log *bytes.Buffer) {
	options := func(level slog.Level) *slog.HandlerOptions {
		return &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}
	}
	h = monitor.New(map[string]monitor.Renderer{
		monitor.Standard: func(out *bytes.Buffer) slog.Handler { return slog.NewTextHandler(out, options(slog.LevelDebug)) },
		monitor.JSON:     func(out *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(out, options(slog.LevelDebug)) },
	})
	log = new(bytes.Buffer)
	return h, slog.New(h.Handler(slog.NewTextHandler(log, options(slog.LevelWarn)))), log
}

func follow(t *testing.T, h *monitor.Hub, level slog.Level, format string) *monitor.Follower {
	t.Helper()
	f, err := h.Follow(level, format)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func take(f *monitor.Follower) string {
	text, _ := f.Take()
	return string(text)
}

// Each follower gets its level in its format, whatever the log itself keeps.
func TestFollow(t *testing.T) {
	h, logger, log := newHub()
	if logger.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("records are made that nobody wants")
	}
	debug, warn := follow(t, h, slog.LevelDebug, monitor.Standard), follow(t, h, slog.LevelWarn, monitor.JSON)
	logger.With("a", 1).WithGroup("g").Debug("one", "b", 2)
	logger.Warn("two")
	if got, want := take(debug), "level=DEBUG msg=one a=1 g.b=2\nlevel=WARN msg=two\n"; got != want {
		t.Errorf("debug: %q", got)
	}
	if got, want := take(warn), `{"level":"WARN","msg":"two"}`+"\n"; got != want {
		t.Errorf("warn: %q", got)
	}
	if got, want := log.String(), "level=WARN msg=two\n"; got != want {
		t.Errorf("the log: %q", got)
	}
	debug.Close()
	if logger.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("records are made for somebody who is gone")
	}
}

// A follower that does not read loses lines, in one place, and is told how many. The others lose none.
func TestSlowFollower(t *testing.T) {
	h, logger, _ := newHub()
	slow := follow(t, h, slog.LevelInfo, monitor.Standard)
	fast := follow(t, h, slog.LevelInfo, monitor.Standard)
	line, read := strings.Repeat("x", 2<<10), 0
	for range 1000 {
		logger.Info(line)
		read += strings.Count(take(fast), "\n")
	}
	logger.Info("short, and late")
	if read != 1000 {
		t.Errorf("the one that reads got %d lines", read)
	}
	text := take(slow)
	got := strings.Count(text, line)
	if len(text) > 129<<10 || got < 60 || strings.Contains(text, "late") {
		t.Errorf("%d lines in %d bytes: …%s", got, len(text), text[max(0, len(text)-200):])
	}
	if want := "were dropped\" module=monitor lines="; !strings.Contains(text[len(text)-200:], want) {
		t.Errorf("no word of it: %s", text[len(text)-200:])
	}
	logger.Info("after")
	if got := take(slow); got != "level=INFO msg=after\n" {
		t.Errorf("afterwards: %q", got)
	}
}

func TestHowManyMayFollow(t *testing.T) {
	h, _, _ := newHub()
	var all []*monitor.Follower
	for range monitor.MaxFollowers {
		all = append(all, follow(t, h, slog.LevelInfo, monitor.JSON))
	}
	if _, err := h.Follow(slog.LevelInfo, monitor.JSON); !errors.Is(err, monitor.ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	all[0].Close()
	all[0].Close()
	follow(t, h, slog.LevelInfo, monitor.JSON)
	if _, err := h.Follow(slog.LevelInfo, monitor.JSON); !errors.Is(err, monitor.ErrTooMany) {
		t.Errorf("one more after one has left: %v", err)
	}
}

// The last lines are read before the end.
func TestClose(t *testing.T) {
	h, logger, _ := newHub()
	f := follow(t, h, slog.LevelInfo, monitor.Standard)
	logger.Info("shutting down")
	h.Close()
	h.Close()
	<-f.Ready()
	if text, more := f.Take(); string(text) != "level=INFO msg=\"shutting down\"\n" || more {
		t.Errorf("%q, more %v", text, more)
	}
	if _, err := h.Follow(slog.LevelInfo, monitor.Standard); !errors.Is(err, monitor.ErrClosed) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	h, logger, _ := newHub()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				logger.LogAttrs(context.Background(), slog.LevelInfo, "line", slog.Int("n", 1))
			}
		})
		all.Go(func() {
			for range 50 {
				f, err := h.Follow(slog.LevelInfo, monitor.JSON)
				if err != nil {
					t.Error(err)
					return
				}
				for line := range strings.Lines(take(f)) {
					if line != `{"level":"INFO","msg":"line","n":1}`+"\n" {
						t.Errorf("%q", line)
					}
				}
				f.Close()
			}
		})
	}
	all.Wait()
}
