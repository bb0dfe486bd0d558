package core

import (
	"log/slog"
	"sync"
	"time"
)

// journal logs what happens to the keys. What strangers can cause without end is limited to linesPerMinute, so that
// they cannot fill the log; what operators do is always logged.
type journal struct {
	logger *slog.Logger
	now    func() time.Time

	// What is below is guarded by mu: the lines written since begin, and those left out.
	mu             sync.Mutex
	begin          time.Time
	lines, omitted int
}

const linesPerMinute = 20

// log writes a line about call.
func (j *journal) log(call Call, text string, args ...any) {
	client := "the server itself"
	switch {
	case call.Client.Addr.IsValid():
		client = call.Client.Addr.String()
	case call.Client.Header != nil:
		client = "unix socket"
	}
	j.logger.Info(text, append([]any{"client", client, "request_id", call.ID}, args...)...)
}

// limited writes a line, or leaves it out and tells later how many were left out.
func (j *journal) limited(call Call, text string, args ...any) {
	omitted, ok := j.take()
	if !ok {
		return
	}
	if omitted > 0 {
		args = append(args, "lines_left_out", omitted)
	}
	j.log(call, text, args...)
}

// take counts a line. It reports whether there is room for it and how many were left out before.
func (j *journal) take() (omitted int, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if now := j.now(); now.Sub(j.begin) >= time.Minute || now.Before(j.begin) {
		omitted = j.omitted
		j.begin, j.lines, j.omitted = now, 0, 0
	}
	if j.lines >= linesPerMinute {
		j.omitted++
		return 0, false
	}
	j.lines++
	return omitted, true
}
