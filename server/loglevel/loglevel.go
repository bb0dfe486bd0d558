// Package loglevel names the levels of the log as Vault's -log-level and sys/loggers do.
package loglevel

import (
	"log/slog"
	"strings"
)

// Trace is the level "trace", one step below slog.LevelDebug.
const Trace = slog.LevelDebug - 4

// Parse reads a level's name in any case; ok is false for one that there is not.
func Parse(name string) (level slog.Level, ok bool) {
	switch strings.ToLower(name) {
	case "trace":
		return Trace, true
	case "debug":
		return slog.LevelDebug, true
	case "info", "notice":
		return slog.LevelInfo, true
	case "warn", "warning":
		return slog.LevelWarn, true
	case "error", "err":
		return slog.LevelError, true
	default:
		return 0, false
	}
}

// Name is the name of the level, or of the next one below that has a name.
func Name(level slog.Level) string {
	switch {
	case level < slog.LevelDebug:
		return "trace"
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "info"
	case level < slog.LevelError:
		return "warn"
	default:
		return "error"
	}
}
