package sys

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"time"

	"coffer/engines"
	"coffer/server/loglevel"
	"coffer/server/monitor"
)

func (e *engine) monitorRoutes() []engines.Route {
	if e.LogLines == nil {
		return nil
	}
	return []engines.Route{
		engines.Path("monitor", "Follow the server's log.", engines.OnRead(e.monitor)),
	}
}

// recheckEvery is how often a client that follows the log is asked for its permission again.
const recheckEvery = time.Second

type monitorParams struct {
	Level  string  `param:"log_level" help:"\"trace\", \"debug\", \"info\" (the default), \"warn\", \"error\" or \"off\"."`
	Format *string `param:"log_format" help:"\"standard\" (the default) or \"json\"."`
}

// off is above every level.
const off = slog.Level(math.MaxInt)

// followed reads what to follow. As in Vault, other names that sys/loggers takes are refused here.
func (p monitorParams) followed() (level slog.Level, format string, err error) {
	name := strings.ToLower(strings.TrimSpace(p.Level))
	switch name {
	case "":
		level = slog.LevelInfo
	case "off":
		level = off
	default:
		if level, _ = loglevel.Parse(name); loglevel.Name(level) != name {
			return 0, "", engines.Invalid("unknown log level")
		}
	}
	format = monitor.Standard
	if p.Format != nil {
		format = strings.ToLower(*p.Format)
	}
	if format != monitor.Standard && format != monitor.JSON {
		return 0, "", engines.Invalid("unknown log format")
	}
	return level, format, nil
}

// monitor sends the lines of the log until the client goes away, the server seals or stops, or the token ends or may
// not read them any more.
func (e *engine) monitor(ctx context.Context, r *engines.Request, p monitorParams) (*engines.Response, error) {
	level, format, err := p.followed()
	if err != nil {
		return nil, err
	}
	if r.Stream == nil {
		return nil, engines.ErrUnsupported
	}
	lines, err := e.LogLines.Follow(level, format)
	switch {
	case errors.Is(err, monitor.ErrTooMany):
		return nil, &engines.Error{Kind: engines.ErrBusy, Message: "too many clients follow the log"}
	case errors.Is(err, monitor.ErrClosed):
		return nil, engines.ErrSealed
	case err != nil:
		return nil, err
	}
	defer lines.Close()
	if err := r.Stream.Begin(); err != nil {
		return done()
	}
	e.follow(ctx, r, lines)
	return done()
}

func (e *engine) follow(ctx context.Context, r *engines.Request, lines *monitor.Follower) {
	recheck := time.NewTicker(recheckEvery)
	defer recheck.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.Session.Done():
			return
		case <-recheck.C:
			if r.Permitted(ctx) != nil {
				return
			}
		case <-lines.Ready():
			text, more := lines.Take()
			if len(text) > 0 && r.Stream.Send(text) != nil || !more {
				return
			}
		}
	}
}
