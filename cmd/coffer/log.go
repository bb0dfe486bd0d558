package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"coffer/engines"
	"coffer/server/config"
	"coffer/server/loglevel"
	"coffer/server/monitor"
)

// moduleKey is the attribute that names the part of the server a line comes from; it is printed in front
// of the message, as in Vault's log.
const moduleKey = "module"

// logging is the server's log: a logger, and what a SIGHUP changes about it.
type logging struct {
	*slog.Logger
	level *slog.LevelVar
	// lines lets clients follow the log.
	lines *monitor.Hub
	file  *logFile
	sinks []*logSink
	// dropped counts the lines that one of the sinks could not write; told is how many of them the log told of.
	dropped, told atomic.Int64
}

// newLogging opens the log file, when there is one, and returns the log that cfg describes.
func newLogging(cfg config.Log, stderr io.Writer) (*logging, error) {
	l := &logging{level: &slog.LevelVar{}}
	l.level.Set(cfg.Level)
	outs := []io.Writer{stderr}
	if cfg.File != "" {
		var err error
		if l.file, err = openLogFile(cfg.File); err != nil {
			return nil, config.Explain(err)
		}
		outs = append(outs, l.file)
	}
	var sinks tee
	for _, out := range outs {
		sink := newLogSink(out, &l.dropped)
		l.sinks = append(l.sinks, sink)
		sinks = append(sinks, sink)
	}
	render := textLines
	if cfg.Format == config.LogJSON {
		render = jsonLines
	}
	l.lines = monitor.New(map[string]monitor.Renderer{
		monitor.Standard: func(out *bytes.Buffer) slog.Handler { return textLines(out, loglevel.Trace) },
		monitor.JSON:     func(out *bytes.Buffer) slog.Handler { return jsonLines(out, loglevel.Trace) },
	})
	l.Logger = slog.New(l.lines.Handler(render(sinks, l.level)))
	return l, nil
}

// textLines and jsonLines write the log in its two formats, without tokens.
func textLines(out io.Writer, level slog.Leveler) slog.Handler {
	return &textHandler{out: &lockedWriter{w: hiding{out}}, level: level}
}

func jsonLines(out io.Writer, level slog.Leveler) slog.Handler {
	return slog.NewJSONHandler(hiding{out}, &slog.HandlerOptions{Level: level, ReplaceAttr: vaultKeys})
}

// reopen opens the log file anew, so that the old one can be moved away.
func (l *logging) reopen() error {
	if l.file == nil {
		return nil
	}
	return l.file.reopen()
}

// tellDropped says in the log how many lines were dropped since it was last called, for whoever reads what is left of
// the log. Its own line is not counted.
func (l *logging) tellDropped() {
	total := l.dropped.Load()
	if fresh := total - l.told.Load(); fresh > 0 {
		l.Warn("log lines were dropped: who reads the log is gone or does not read, or the disk is full",
			"lines", fresh, "total", total)
		l.told.Store(l.dropped.Load())
	}
}

func (l *logging) close() error {
	for _, sink := range l.sinks {
		sink.close()
	}
	if l.file == nil {
		return nil
	}
	return l.file.close()
}

// tee writes to all of its sinks, also when one of them fails.
type tee []io.Writer

func (t tee) Write(line []byte) (int, error) {
	var errs []error
	for _, w := range t {
		if _, err := w.Write(line); err != nil {
			errs = append(errs, err)
		}
	}
	return len(line), errors.Join(errs...)
}

// hiding takes tokens out of every line, wherever a client put them: paths, errors and texts of clients get into the
// log.
type hiding struct{ w io.Writer }

func (h hiding) Write(line []byte) (int, error) {
	if !bytes.Contains(line, []byte("hvs.")) && !bytes.Contains(line, []byte("hvb.")) {
		return h.w.Write(line)
	}
	if _, err := h.w.Write([]byte(engines.WithoutTokens(string(line)))); err != nil {
		return 0, err
	}
	return len(line), nil
}

// logFile is an append-only file that can be opened anew while it is written.
type logFile struct {
	path string

	// mu guards f.
	mu sync.Mutex
	f  *os.File
}

// openLogFile opens path; a folder, or a path that ends in a separator, gets the file coffer.log.
func openLogFile(path string) (*logFile, error) {
	info, err := os.Stat(path)
	if strings.HasSuffix(path, string(filepath.Separator)) || (err == nil && info.IsDir()) {
		path = filepath.Join(path, "coffer.log")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	l := &logFile{path: path}
	return l, l.reopen()
}

func (l *logFile) reopen() error {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	l.mu.Lock()
	old := l.f
	l.f = f
	l.mu.Unlock()
	if old == nil {
		return nil
	}
	return old.Close()
}

// Write implements io.Writer.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(line)
}

func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}

// lockedWriter keeps lines of several goroutines apart.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(line)
}

// vaultKeys gives JSON lines the keys of Vault's log.
func vaultKeys(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		return slog.String("@timestamp", a.Value.Time().UTC().Format("2006-01-02T15:04:05.000000Z07:00"))
	case slog.LevelKey:
		if level, ok := a.Value.Any().(slog.Level); ok {
			return slog.String("@level", loglevel.Name(level))
		}
	case slog.MessageKey:
		a.Key = "@message"
	case moduleKey:
		a.Key = "@module"
	}
	return a
}

// textHandler writes lines of the form
//
//	2026-01-31T12:00:00.000Z [INFO]  core: unsealed: shares=5 threshold=3
//
// Values are quoted when they hold anything but plain characters, so no value can begin a new line.
type textHandler struct {
	out    io.Writer
	level  slog.Leveler
	module string
	// attrs is the text of the attributes that With added; group is the prefix of later ones.
	attrs []byte
	group string
}

// Enabled implements slog.Handler.
func (h *textHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler.
func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	module := h.module
	var attrs bytes.Buffer
	attrs.Write(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		h.append(&attrs, &module, h.group, a)
		return true
	})
	var line bytes.Buffer
	when := r.Time
	if when.IsZero() {
		when = time.Now()
	}
	line.WriteString(when.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	// Padded, so that messages stand below each other.
	level := "[" + strings.ToUpper(loglevel.Name(r.Level)) + "]"
	line.WriteString(" " + level + strings.Repeat(" ", max(1, 8-len(level))))
	if module != "" {
		line.WriteString(module + ": ")
	}
	line.WriteString(oneLine(r.Message))
	if attrs.Len() > 0 {
		line.WriteByte(':')
		line.Write(attrs.Bytes())
	}
	line.WriteByte('\n')
	_, err := h.out.Write(line.Bytes())
	return err
}

// WithAttrs implements slog.Handler.
func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	text := bytes.NewBuffer(bytes.Clone(h.attrs))
	for _, a := range attrs {
		h.append(text, &next.module, h.group, a)
	}
	next.attrs = text.Bytes()
	return &next
}

// WithGroup implements slog.Handler.
func (h *textHandler) WithGroup(name string) slog.Handler {
	next := *h
	if name != "" {
		next.group += name + "."
	}
	return &next
}

// append writes " key=value" of a to text, or a's module to module.
func (h *textHandler) append(text *bytes.Buffer, module *string, group string, a slog.Attr) {
	v := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
	case v.Kind() == slog.KindGroup:
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range v.Group() {
			h.append(text, module, group, member)
		}
	case a.Key == moduleKey && group == "":
		*module = oneLine(v.String())
	default:
		text.WriteString(" " + quoted(group+a.Key) + "=" + quoted(v.String()))
	}
}

// oneLine makes a message safe to print without quotes around it.
func oneLine(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return text
	}
	return strings.Trim(strconv.Quote(text), `"`)
}

func quoted(text string) string {
	plain := func(r rune) bool { return unicode.IsPrint(r) && r != ' ' && r != '"' && r != '=' }
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return strconv.Quote(text)
}
