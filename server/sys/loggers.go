package sys

import (
	"context"
	"log/slog"

	"coffer/engines"
	"coffer/server/loglevel"
)

// loggerName is the one logger there is.
const loggerName = "core"

func (e *engine) loggerRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("loggers", "Read, change or reset the log level.",
			engines.OnRead(e.readLoggers), engines.OnUpdate(e.writeLoggers), engines.OnDelete(e.resetLoggers)),
		engines.Path("loggers/{name}", "Read, change or reset the log level.",
			engines.OnRead(e.readLogger), engines.OnUpdate(e.writeLogger), engines.OnDelete(e.resetLogger)),
	}
}

func parseLevel(text string) (slog.Level, error) {
	if text == "" {
		return 0, engines.Invalid("level is required")
	}
	level, ok := loglevel.Parse(text)
	if !ok {
		return 0, engines.Invalid("invalid level provided: unknown log level: %s", text)
	}
	return level, nil
}

func (e *engine) readLoggers(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return read(map[string]any{loggerName: loglevel.Name(e.LogLevel.Level())})
}

type levelParams struct {
	Level string `param:"level" as:"name" help:"\"trace\", \"debug\", \"info\", \"warn\" or \"error\"."`
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
	Level string `param:"level" as:"name" help:"\"trace\", \"debug\", \"info\", \"warn\" or \"error\"."`
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
