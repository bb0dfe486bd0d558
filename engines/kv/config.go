package kv

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

const configKey = "config"

// config are the mount's settings; never changed in place.
type config struct {
	MaxVersions uint32 `json:"max_versions,omitempty"`
	CASRequired bool   `json:"cas_required,omitempty"`
	// DeleteAfter is the life of new versions; 0 leaves it to the secret's metadata, below zero switches it
	// off even there.
	DeleteAfter time.Duration `json:"delete_version_after,omitempty"`
}

// settings returns the mount's configuration, from memory unless it has changed.
func (e *versioned) settings(ctx context.Context) (*config, error) {
	if c := e.config.Load(); c != nil {
		return c, nil
	}
	return keylock.Read(ctx, e.locks, configKey, func(ctx context.Context) (*config, error) {
		return e.loadConfig(ctx)
	})
}

// loadConfig reads the configuration and keeps it. The caller holds the lock of configKey.
func (e *versioned) loadConfig(ctx context.Context) (*config, error) {
	c := new(config)
	raw, err := e.storage.Get(ctx, configKey)
	if err == nil {
		if json.Unmarshal(raw, c) != nil {
			return nil, damaged(configKey)
		}
	} else if !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	e.config.Store(c)
	return c, nil
}

// keep is how many versions of a secret are kept, 1 to maxVersions: the larger number of the secret's and the mount's
// settings, as in Vault.
func (c *config) keep(ent *entry) int {
	n := max(ent.MaxVersions, c.MaxVersions)
	if n == 0 {
		n = defaultVersions
	}
	return int(min(n, maxVersions))
}

// versionsToKeep is max_versions as it is stored. A number below zero stands for as many as possible, as in Vault;
// one that cannot be stored is an ErrInvalid, where Vault keeps its lowest 32 bits and deletes versions.
func versionsToKeep(n int) (uint32, error) {
	switch {
	case n < 0:
		return math.MaxUint32, nil
	case int64(n) > math.MaxUint32:
		return 0, engines.Invalid("max_versions is out of range")
	default:
		return uint32(n), nil
	}
}

// deletion is when a version of a secret that begins its life now is deleted; zero for never.
func (c *config) deletion(ent *entry, now time.Time) time.Time {
	after := c.DeleteAfter
	if after == 0 || (after > 0 && ent.DeleteAfter > 0 && ent.DeleteAfter < after) {
		after = ent.DeleteAfter
	}
	if after <= 0 {
		return time.Time{}
	}
	return now.Add(after)
}

type configParams struct {
	MaxVersions int  `param:"max_versions" help:"Versions to keep of each secret; 0 for 10."`
	HasMax      bool `present:"max_versions"`
	CASRequired bool `param:"cas_required" help:"Whether every write must have the cas option."`
	HasCAS      bool `present:"cas_required"`
	DeleteAfter any  `param:"delete_version_after" as:"duration" help:"Life of new versions; below zero for no end."`
}

func (e *versioned) readConfig(ctx context.Context, _ *engines.Request, _ configParams) (*engines.Response, error) {
	c, err := e.settings(ctx)
	if err != nil {
		return nil, err
	}
	return &engines.Response{Data: map[string]any{
		"cas_required":         c.CASRequired,
		"delete_version_after": c.DeleteAfter.String(),
		"max_versions":         int64(c.MaxVersions),
	}}, nil
}

func (e *versioned) writeConfig(ctx context.Context, _ *engines.Request, p configParams) (*engines.Response, error) {
	var after time.Duration
	if p.DeleteAfter != nil {
		var err error
		if after, err = engines.ParseDuration(p.DeleteAfter); err != nil {
			return nil, engines.Invalid(
				"Field validation failed: error converting input for field %q: %v", "delete_version_after", err)
		}
	}
	versions, err := versionsToKeep(p.MaxVersions)
	if err != nil {
		return nil, err
	}
	return keylock.Write(ctx, e.locks, configKey, func(ctx context.Context) (*engines.Response, error) {
		old, err := e.loadConfig(ctx)
		if err != nil {
			return nil, err
		}
		c := *old
		if p.HasMax {
			c.MaxVersions = versions
		}
		if p.HasCAS {
			c.CASRequired = p.CASRequired
		}
		if p.DeleteAfter != nil {
			c.DeleteAfter = wholeSeconds(after)
		}
		if c == *old {
			return &engines.Response{}, nil
		}
		raw, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		// Should the commit fail, only storage knows which of the two is true.
		e.config.Store(nil)
		if err := e.storage.Apply(ctx, storage.Put(configKey, raw)); err != nil {
			return nil, err
		}
		e.config.Store(&c)
		return &engines.Response{}, nil
	})
}

// wholeSeconds cuts off fractions; below zero there is only one value, which switches the feature off.
func wholeSeconds(d time.Duration) time.Duration {
	if d <= -time.Second {
		return -time.Second
	}
	return d.Truncate(time.Second)
}
