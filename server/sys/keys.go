package sys

import (
	"context"
	"time"

	"coffer/barrier"
	"coffer/engines"
)

// Keys is the barrier's keyring; *barrier.Barrier is one.
type Keys interface {
	KeyInfo() (barrier.KeyInfo, error)
	Rotate(ctx context.Context) (barrier.KeyInfo, error)
	RotationConfig() (barrier.RotationConfig, error)
	SetRotationConfig(ctx context.Context, config barrier.RotationConfig) error
}

func (e *engine) keyRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("key-status", "Tell about the key that encrypts.", engines.OnRead(e.keyStatus)),
		engines.Path("rotate", "Encrypt with a new key from now on.", engines.Sudo(), engines.OnUpdate(e.rotate)),
		engines.Path("rotate/config", "Read or change when the key rotates by itself.",
			engines.OnRead(e.readRotation), engines.OnUpdate(e.writeRotation)),
	}
}

func (e *engine) keyStatus(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	info, err := e.Keys.KeyInfo()
	if err != nil {
		return nil, err
	}
	return flat(map[string]any{
		"term":         int64(info.Term),
		"install_time": timestamp(info.InstallTime),
		"encryptions":  info.Encryptions,
	})
}

func (e *engine) rotate(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	if _, err := e.Keys.Rotate(ctx); err != nil {
		return nil, err
	}
	return done()
}

func (e *engine) readRotation(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	config, err := e.Keys.RotationConfig()
	if err != nil {
		return nil, err
	}
	var interval any = 0
	if config.Interval > 0 {
		interval = config.Interval.String()
	}
	return read(map[string]any{
		"enabled": config.Enabled, "max_operations": config.MaxOperations, "interval": interval,
	})
}

type rotationParams struct {
	Enabled       *bool          `param:"enabled" help:"Whether the key rotates by itself."`
	MaxOperations *int64         `param:"max_operations" help:"Encryptions under one key."`
	Interval      *time.Duration `param:"interval" help:"Life of one key; 0 for no limit."`
}

// writeRotation keeps what the request does not name.
func (e *engine) writeRotation(ctx context.Context, _ *engines.Request, p rotationParams) (*engines.Response, error) {
	config, err := e.Keys.RotationConfig()
	if err != nil {
		return nil, err
	}
	if p.Enabled != nil {
		config.Enabled = *p.Enabled
	}
	if p.MaxOperations != nil {
		if *p.MaxOperations < barrier.MinOperations || *p.MaxOperations > barrier.MaxOperations {
			return nil, engines.Invalid("max_operations must be in the range [%d,%d]",
				int64(barrier.MinOperations), int64(barrier.MaxOperations))
		}
		config.MaxOperations = uint64(*p.MaxOperations)
	}
	if p.Interval != nil {
		config.Interval = p.Interval.Truncate(time.Second)
		if config.Interval > 0 && config.Interval < barrier.MinInterval {
			return nil, engines.Invalid("interval must be greater or equal to %s", barrier.MinInterval)
		}
	}
	if err := config.Validate(); err != nil {
		return nil, engines.Invalid("%v", err)
	}
	if err := e.Keys.SetRotationConfig(ctx, config); err != nil {
		return nil, err
	}
	return done()
}
