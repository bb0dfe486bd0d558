package loglevel

import (
	"log/slog"
	"testing"
)

func TestNames(t *testing.T) {
	for _, name := range []string{"trace", "debug", "info", "warn", "error"} {
		if level, ok := Parse(name); !ok || Name(level) != name {
			t.Errorf("%s: %v, %v", name, level, ok)
		}
	}
	for name, want := range map[string]slog.Level{
		"TRACE": Trace, "Notice": slog.LevelInfo, "warning": slog.LevelWarn, "err": slog.LevelError,
	} {
		if level, ok := Parse(name); !ok || level != want {
			t.Errorf("%s: %v, %v", name, level, ok)
		}
	}
	for _, name := range []string{"", "loud", " info"} {
		if level, ok := Parse(name); ok {
			t.Errorf("%q is a level: %v", name, level)
		}
	}
	if got := Name(slog.LevelInfo + 1); got != "info" {
		t.Error(got)
	}
}
