package sys

import (
	"context"
	"log/slog"
	"strings"

	"coffer/engines"
)

// loggerName is the one logger there is.
const loggerName = "core"

// levelTrace is the log level "trace", one step below slog.LevelDebug.
const levelTrace = slog.LevelDebug - 4

func (e *engine) loggerRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("loggers", "Read, change or reset the log level.",
			engines.OnRead(e.readLoggers), engines.OnUpdate(e.writeLoggers), engines.OnDelete(e.resetLoggers)),
		engines.Path("loggers/{name}", "Read, change or reset the log level.",
			engines.OnRead(e.readLogger), engines.OnUpdate(e.writeLogger), engines.OnDelete(e.resetLogger)),
	}
}

func levelName(level slog.Level) string {
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

func parseLevel(text string) (slog.Level, error) {
	switch strings.ToLower(text) {
	case "":
		return 0, engines.Invalid("level is required")
	case "trace":
		return levelTrace, nil
	case "debug":
		return slog.LevelDebug, nil
	case "info", "notice":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "err", "error":
		return slog.LevelError, nil
	default:
		return 0, engines.Invalid("invalid level provided: unknown log level: %s", text)
	}
}

func (e *engine) readLoggers(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return read(map[string]any{loggerName: levelName(e.LogLevel.Level())})
}

type levelParams struct {
	Level string `param:"level" help:"\"trace\", \"debug\", \"info\", \"warn\" or \"error\"."`
}

func (e *engine) writeLoggers(_ context.Context, _ *engines.Request, p levelParams) (*engines.Response, error) {
	level, err := parseLevel(p.Level)
	if err != nil {
		return nil, err
	}
	e.LogLevel.Set(level)
	return done()
}

func (e *engine) resetLoggers(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	e.LogLevel.Set(e.Node.LogLevel)
	return done()
}

type loggerParams struct {
	Name string `path:"name" help:"Name of the logger."`
}

func (e *engine) readLogger(ctx context.Context, r *engines.Request, p loggerParams) (*engines.Response, error) {
	if p.Name != loggerName {
		return read(map[string]any{})
	}
	return e.readLoggers(ctx, r, engines.NoParams{})
}

type loggerLevelParams struct {
	Name  string `path:"name" help:"Name of the logger."`
	Level string `param:"level" help:"\"trace\", \"debug\", \"info\", \"warn\" or \"error\"."`
}

func (e *engine) writeLogger(ctx context.Context, r *engines.Request, p loggerLevelParams) (*engines.Response, error) {
	if _, err := parseLevel(p.Level); err != nil {
		return nil, err
	}
	if p.Name != loggerName {
		return nil, engines.Invalid("logger %q not found", p.Name)
	}
	return e.writeLoggers(ctx, r, levelParams{Level: p.Level})
}

func (e *engine) resetLogger(ctx context.Context, r *engines.Request, p loggerParams) (*engines.Response, error) {
	if p.Name != loggerName {
		return nil, engines.Invalid("logger %q not found", p.Name)
	}
	return e.resetLoggers(ctx, r, engines.NoParams{})
}
