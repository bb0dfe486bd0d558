package main

import (
	"context"
	"log"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

// httpLog gives the lines of net/http their levels. The library has one logger, without levels, for probes that hang up
// and for a server that can take no connection.
type httpLog struct {
	log *slog.Logger
	now func() time.Time

	// mu guards what follows: when a line about the server's own state was logged last, and how many were left out since.
	mu     sync.Mutex
	last   time.Time
	hidden int
}

// acceptEvery is how often a server that takes no connections says so. The library tries again each second.
const acceptEvery = 10 * time.Second

func newHTTPLog(logger *slog.Logger) *log.Logger {
	return log.New(&httpLog{log: logger, now: time.Now}, "", 0)
}

// httpLevels are the lines that are not of level info, by what is in them.
var httpLevels = []struct {
	match *regexp.Regexp
	level slog.Level
}{
	{regexp.MustCompile(`^http: panic`), slog.LevelError},
	// Probes of load balancers, scanners of ports, and clients that hang up.
	{regexp.MustCompile(`^http: TLS handshake error from \S+: (?:EOF|.*(?:reset by peer|broken pipe|i/o timeout))$`),
		slog.LevelDebug},
	{regexp.MustCompile(`^http2: `), slog.LevelDebug},
	{regexp.MustCompile(`^http: (?:superfluous|response\.)`), slog.LevelWarn},
}

// Write implements io.Writer for one line.
func (h *httpLog) Write(text []byte) (int, error) {
	line := strings.TrimSuffix(string(text), "\n")
	if strings.HasPrefix(line, "http: Accept error") {
		h.accept(line)
		return len(text), nil
	}
	level := slog.LevelInfo
	for _, l := range httpLevels {
		if l.match.MatchString(line) {
			level = l.level
			break
		}
	}
	h.log.Log(context.Background(), level, line)
	return len(text), nil
}

// accept tells that the server takes no connections.
func (h *httpLog) accept(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.now(); now.Sub(h.last) < acceptEvery {
		h.hidden++
		return
	}
	args := []any{"error", strings.TrimPrefix(line, "http: Accept error: ")}
	if h.hidden > 0 {
		args = append(args, "lines_left_out", h.hidden)
	}
	if strings.Contains(line, "too many open files") {
		args = append(args, "remedy", "raise the limit of open files (LimitNOFILE= of the unit), or close idle connections")
	}
	h.last, h.hidden = h.now(), 0
	h.log.Error("no connection can be taken", args...)
}
