package main

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// logPatience is how long a line of the log is waited for. One that takes longer holds nobody up any more.
	logPatience = time.Second
	// logQueue is how many lines wait for a reader that does not read.
	logQueue = 256
)

// logSink writes the lines of the log to a pipe, a terminal or a file. What cannot be written is dropped and counted:
// neither a reader that is gone, nor one that does not read, nor a full disk keeps the server from its work.
type logSink struct {
	out     io.Writer
	dropped *atomic.Int64
	lines   chan logLine
	// stalled is set when a line was waited for in vain, and cleared by the next one that is written.
	stalled atomic.Bool
	ended   chan struct{}
	// closing guards lines against a line that comes after close.
	closing sync.RWMutex
	closed  bool
}

type logLine struct {
	text []byte
	done chan struct{}
}

// newLogSink starts a sink, which counts in dropped. The caller closes it.
func newLogSink(out io.Writer, dropped *atomic.Int64) *logSink {
	s := &logSink{out: out, dropped: dropped, lines: make(chan logLine, logQueue), ended: make(chan struct{})}
	go s.run()
	return s
}

func (s *logSink) run() {
	defer close(s.ended)
	for line := range s.lines {
		if _, err := s.out.Write(line.text); err != nil {
			s.dropped.Add(1)
		}
		s.stalled.Store(false)
		close(line.done)
	}
}

// Write implements io.Writer. It never fails, and returns when the line is written or given up.
func (s *logSink) Write(text []byte) (int, error) {
	line := logLine{text: append([]byte(nil), text...), done: make(chan struct{})}
	if !s.enqueue(line) {
		s.dropped.Add(1)
		return len(text), nil
	}
	if s.stalled.Load() {
		return len(text), nil
	}
	patience := time.NewTimer(logPatience)
	defer patience.Stop()
	select {
	case <-line.done:
	case <-patience.C:
		s.stalled.Store(true)
	}
	return len(text), nil
}

func (s *logSink) enqueue(line logLine) bool {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return false
	}
	select {
	case s.lines <- line:
		return true
	default:
		return false
	}
}

// close writes what waits, as far as that is possible in logPatience.
func (s *logSink) close() {
	s.closing.Lock()
	if s.closed {
		s.closing.Unlock()
		return
	}
	s.closed = true
	close(s.lines)
	s.closing.Unlock()
	patience := time.NewTimer(logPatience)
	defer patience.Stop()
	select {
	case <-s.ended:
	case <-patience.C:
	}
}
