package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"coffer/server/config"
	"coffer/server/loglevel"
	"coffer/server/monitor"
)

// secretValue redacts itself, as keys and tokens do.
type secretValue struct{}

func (secretValue) LogValue() slog.Value { return slog.StringValue("redacted") }

// TestNoTokenInTheLog logs tokens in every way there is.
func TestNoTokenInTheLog(t *testing.T) {
	const service, batch = "hvs.CAESIJ0123456789abcdefghijklmnop-_", "hvb.AAAAAQ0123456789abcdefghijklmnop"
	for _, format := range []config.LogFormat{config.LogText, config.LogJSON} {
		var out bytes.Buffer
		log, err := newLogging(config.Log{Level: loglevel.Trace, Format: format}, &out)
		if err != nil {
			t.Fatal(err)
		}
		log.With("with", service).WithGroup("g").Error("failed for "+batch, "path", "auth/token/lookup/"+service+"/x",
			"error", errors.New("no "+service+service+" \""+batch+"\""), slog.Group("h", "a", batch), "names", []string{service},
			"hvs.short", 1)
		if text := out.String(); strings.Contains(text, "0123456789") || strings.Count(text, "<token>") < 7 ||
			!strings.Contains(text, "auth/token/lookup/<token>/x") || !strings.Contains(text, "hvs.short") {
			t.Errorf("%s", text)
		}
	}
}

func TestTextLog(t *testing.T) {
	for _, test := range []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"plain", func(l *slog.Logger) { l.Info("started") }, `[INFO]  started`},
		{"module", func(l *slog.Logger) { l.With("module", "core").Warn("sealed") }, `[WARN]  core: sealed`},
		{"attributes", func(l *slog.Logger) { l.Error("failed", "n", 3, "ok", false, "error", errors.New("no way")) },
			`[ERROR] failed: n=3 ok=false error="no way"`},
		{"attributes of With", func(l *slog.Logger) { l.With("a", 1).With("b", 2).Info("x", "c", 3) }, `[INFO]  x: a=1 b=2 c=3`},
		{"groups", func(l *slog.Logger) { l.WithGroup("g").Info("x", slog.Group("h", "a", 1), "module", "m") },
			`[INFO]  x: g.h.a=1 g.module=m`},
		{"redacting value", func(l *slog.Logger) { l.Info("x", "token", secretValue{}) }, `[INFO]  x: token=redacted`},
		{"empty value", func(l *slog.Logger) { l.Info("x", "a", "") }, `[INFO]  x: a=""`},
		{"new line in a value", func(l *slog.Logger) { l.Info("x", "a", "b\n2026-01-01 [INFO] y") },
			`[INFO]  x: a="b\n2026-01-01 [INFO] y"`},
		{"new line in a message", func(l *slog.Logger) { l.Info("x\ny\x1b[31m") }, `[INFO]  x\ny\x1b[31m`},
		{"new line in a key", func(l *slog.Logger) { l.Info("x", "a\nb", 1) }, `[INFO]  x: "a\nb"=1`},
		{"trace", func(l *slog.Logger) { l.Log(t.Context(), loglevel.Trace, "x") }, `[TRACE] x`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			log, err := newLogging(config.Log{Level: loglevel.Trace, Format: config.LogText}, &out)
			if err != nil {
				t.Fatal(err)
			}
			test.log(log.Logger)
			stamp, rest, _ := strings.Cut(out.String(), " ")
			if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`).MatchString(stamp) {
				t.Errorf("time %q", stamp)
			}
			if rest != test.want+"\n" {
				t.Errorf("got  %q\nwant %q", rest, test.want+"\n")
			}
		})
	}
}

func TestJSONLog(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogging(config.Log{Level: loglevel.Trace, Format: config.LogJSON}, &out)
	if err != nil {
		t.Fatal(err)
	}
	log.With("module", "core").Log(t.Context(), loglevel.Trace, "hello", "token", secretValue{}, "n", 3)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["@timestamp"] == nil {
		t.Error("no @timestamp")
	}
	for key, want := range map[string]any{
		"@level": "trace", "@message": "hello", "@module": "core", "token": "redacted", "n": 3.0,
	} {
		if line[key] != want {
			t.Errorf("%s = %v, want %v", key, line[key], want)
		}
	}
}

// Who follows the log sees no tokens either, in no format.
func TestFollowersSeeNoTokens(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogging(config.Log{Level: slog.LevelError, Format: config.LogText}, &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{monitor.Standard, monitor.JSON} {
		f, err := log.lines.Follow(slog.LevelDebug, format)
		if err != nil {
			t.Fatal(err)
		}
		log.With(moduleKey, "core").Debug("asked", "path", "secret/hvs.abcdefghijklmnopqrstuvwxyz")
		text, _ := f.Take()
		if got := string(text); !strings.Contains(got, "secret/<token>") || strings.Contains(got, "hvs.") {
			t.Errorf("%s: %s", format, got)
		}
		f.Close()
	}
	if err := log.close(); err != nil {
		t.Error(err)
	}
	if out.Len() > 0 {
		t.Errorf("the log itself: %s", &out)
	}
}

func TestLogLevelChanges(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogging(config.Log{Level: slog.LevelInfo, Format: config.LogText}, &out)
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("one")
	log.level.Set(slog.LevelDebug)
	log.Debug("two")
	if got := out.String(); strings.Contains(got, "one") || !strings.Contains(got, "[DEBUG] two") {
		t.Errorf("log: %s", got)
	}
}

// A log file is written besides standard error, and opened anew after it was moved away.
func TestLogFile(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "logs")
	var out bytes.Buffer
	log, err := newLogging(config.Log{Format: config.LogText, File: folder + "/"}, &out)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "coffer.log")
	log.Info("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	log.Info("two")
	if err := log.reopen(); err != nil {
		t.Fatal(err)
	}
	log.Info("three")
	if err := log.close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{path + ".1": {"one", "two"}, path: {"three"}} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if len(lines) != len(want) {
			t.Fatalf("%s: %q, want %v", name, text, want)
		}
		for i := range want {
			if !strings.HasSuffix(lines[i], want[i]) {
				t.Errorf("%s line %d: %q, want %q", name, i+1, lines[i], want[i])
			}
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	if strings.Count(out.String(), "\n") != 3 {
		t.Errorf("standard error: %q", out.String())
	}
}
