package main

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"coffer/server/config"
)

// brokenPipe is a stream whose reader is gone.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// A reader that does not read holds up one line for a second, and none after it; what does not fit is counted. When it
// reads again, so is written.
func TestLogSinkStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Int64
		reader, writer := io.Pipe()
		sink := newLogSink(writer, &dropped)
		begun := time.Now()
		for range logQueue + 10 {
			if n, err := sink.Write([]byte("line\n")); n != 5 || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
		}
		if took := time.Since(begun); took != logPatience {
			t.Errorf("lines were held up for %s", took)
		}
		// One line is on its way, the queue is full, and the rest is gone.
		if n := dropped.Load(); n != 9 {
			t.Errorf("%d lines were dropped, want 9", n)
		}
		read := make(chan string)
		go func() {
			all, _ := io.ReadAll(reader)
			read <- string(all)
		}()
		synctest.Wait()
		begun = time.Now()
		_, _ = sink.Write([]byte("again\n"))
		if took := time.Since(begun); took != 0 {
			t.Errorf("a reader that reads again is waited for: %s", took)
		}
		sink.close()
		_, _ = sink.Write([]byte("too late\n"))
		_ = writer.Close()
		if text := <-read; strings.Count(text, "line\n") != logQueue+1 || !strings.HasSuffix(text, "again\n") {
			t.Errorf("read %d lines, the last of them %q", strings.Count(text, "\n"), text[len(text)-6:])
		}
		if n := dropped.Load(); n != 10 {
			t.Errorf("%d lines were dropped, want 10", n)
		}
	})
}

// A broken stream loses its lines; the log file beside it has them, and says how many were lost.
func TestDroppedLinesAreTold(t *testing.T) {
	var file output
	log, err := newLogging(config.Log{Level: slog.LevelInfo, Format: config.LogText}, brokenPipe{})
	if err != nil {
		t.Fatal(err)
	}
	beside := newLogSink(&file, &log.dropped)
	log.sinks = append(log.sinks, beside)
	log.Logger = slog.New(&textHandler{out: tee{log.sinks[0], beside}, level: log.level})
	log.tellDropped()
	log.Info("one")
	log.Info("two")
	log.tellDropped()
	log.tellDropped() // Its own line is not news.
	if err := log.close(); err != nil {
		t.Fatal(err)
	}
	text := file.String()
	if strings.Count(text, "\n") != 3 || !strings.Contains(text, "log lines were dropped") || !strings.Contains(text, "lines=2 total=2") {
		t.Errorf("log:\n%s", text)
	}
}
