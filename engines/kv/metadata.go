package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

type metadataParams struct {
	Path        string         `path:"path" help:"Name of the secret, or a folder to list."`
	MaxVersions int            `param:"max_versions" help:"Versions to keep; 0 for the configuration's."`
	HasMax      bool           `present:"max_versions"`
	CASRequired bool           `param:"cas_required" help:"Whether every write must have the cas option."`
	HasCAS      bool           `present:"cas_required"`
	DeleteAfter *time.Duration `param:"delete_version_after" help:"Life of new versions; 0 for the configuration's."`
	Custom      map[string]any `param:"custom_metadata" help:"Names and values of your own."`
	HasCustom   bool           `present:"custom_metadata"`
	After       string         `param:"after" help:"Name after which a list begins."`
	Limit       int            `param:"limit" help:"Most names to list; 0 for all."`
}

func (e *versioned) metadataExists(ctx context.Context, req *engines.Request, p anyPath) (bool, error) {
	return e.exists(ctx, req, anyPath{Path: secretName(p.Path)})
}

// secretName is the name of the secret that a path below metadata/ means; a "/" at its end does not count.
func secretName(path string) string {
	if n := len(path); n > 0 && path[n-1] == '/' {
		return path[:n-1]
	}
	return path
}

func (e *versioned) readMetadata(ctx context.Context, _ *engines.Request, p metadataParams) (*engines.Response, error) {
	ent, err := e.load(ctx, secretName(p.Path))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, engines.NotFound()
	}
	if err != nil {
		return nil, err
	}
	return &engines.Response{Data: map[string]any{
		"cas_required":         ent.CASRequired,
		"created_time":         timeText(ent.Created),
		"current_version":      json.RawMessage(strconv.AppendUint(nil, ent.Current, 10)),
		"custom_metadata":      json.RawMessage(appendCustom(nil, ent.Custom)),
		"delete_version_after": ent.DeleteAfter.String(),
		"last_updated_by":      json.RawMessage(appendAttribution(nil, ent.UpdatedBy)),
		"max_versions":         int64(ent.MaxVersions),
		"oldest_version":       json.RawMessage(strconv.AppendUint(nil, ent.Oldest, 10)),
		"updated_time":         timeText(ent.Updated),
		"versions":             json.RawMessage(appendVersions(nil, ent)),
	}}, nil
}

func (e *versioned) listMetadata(ctx context.Context, _ *engines.Request, p metadataParams) (*engines.Response, error) {
	return list(ctx, e.storage, entryPrefix, p.Path, p.After, p.Limit)
}

// writeMetadata replaces what the request names and keeps the rest; custom_metadata is one thing.
func (e *versioned) writeMetadata(
	ctx context.Context, _ *engines.Request, p metadataParams,
) (*engines.Response, error) {
	if err := checkWrite(p.Path); err != nil {
		return nil, err
	}
	custom, err := customMetadata(p.Custom, false)
	if err != nil {
		return nil, err
	}
	versions, err := versionsToKeep(p.MaxVersions)
	if err != nil {
		return nil, err
	}
	cfg, err := e.settings(ctx)
	if err != nil {
		return nil, err
	}
	err = e.modify(ctx, p.Path, true, func(_ context.Context, c *change) (bool, error) {
		c.entry.apply(p, versions)
		if p.HasCustom {
			c.entry.Custom = nil
			if len(custom) > 0 {
				c.entry.Custom, err = appendCanonical(nil, custom)
			}
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return casWarning(cfg, p), nil
}

// apply takes over the settings that the request has. null stands for zero, but leaves the life of versions
// as it is.
func (e *entry) apply(p metadataParams, versions uint32) {
	if p.HasMax {
		e.MaxVersions = versions
	}
	if p.HasCAS {
		e.CASRequired = p.CASRequired
	}
	if p.DeleteAfter != nil {
		e.DeleteAfter = p.DeleteAfter.Truncate(time.Second)
	}
}

func casWarning(cfg *config, p metadataParams) *engines.Response {
	resp := &engines.Response{}
	if p.HasCAS && !p.CASRequired && cfg.CASRequired {
		resp.Warnings = []string{
			`"cas_required" set to false, but is mandated by backend config. This value will be ignored.`}
	}
	return resp
}

// patchMetadata merges custom_metadata; in it, null removes.
func (e *versioned) patchMetadata(
	ctx context.Context, _ *engines.Request, p metadataParams,
) (*engines.Response, error) {
	if err := checkWrite(p.Path); err != nil {
		return nil, err
	}
	if _, err := customMetadata(p.Custom, true); err != nil {
		return nil, err
	}
	cfg, err := e.settings(ctx)
	if err != nil {
		return nil, err
	}
	err = e.modify(ctx, p.Path, false, func(_ context.Context, c *change) (bool, error) {
		// A merge patch is typed more strictly than a write.
		if p.MaxVersions < 0 || p.MaxVersions > math.MaxUint32 {
			return false, engines.Failed("%s", numbered(fmt.Sprintf("json: cannot unmarshal number %d into Go struct "+
				"field KeyMetadata.max_versions of type uint32", p.MaxVersions)))
		}
		c.entry.apply(p, uint32(p.MaxVersions))
		if !p.HasCustom {
			return true, nil
		}
		return true, c.entry.mergeCustom(p.Custom)
	})
	if errors.Is(err, storage.ErrNotFound) {
		return emptyNotFound(), nil
	}
	if err != nil {
		return nil, err
	}
	return casWarning(cfg, p), nil
}

// deleteMetadata removes a secret and all its versions in one commit.
func (e *versioned) deleteMetadata(
	ctx context.Context, _ *engines.Request, p metadataParams,
) (*engines.Response, error) {
	name := secretName(p.Path)
	return keylock.Write(ctx, e.locks, name, func(ctx context.Context) (*engines.Response, error) {
		ent, err := e.load(ctx, name)
		if errors.Is(err, storage.ErrNotFound) {
			return &engines.Response{}, nil
		}
		if err != nil {
			return nil, err
		}
		batch := make([]storage.Op, 0, 1+len(ent.Versions))
		batch = append(batch, storage.Delete(entryPrefix+name))
		for i := range ent.Versions {
			n := ent.first() + uint64(i)
			if v := &ent.Versions[i]; v.elsewhere() {
				batch = append(batch, storage.Delete(versionKey(name, n)))
			}
		}
		if err := e.storage.Apply(ctx, batch...); err != nil {
			return nil, err
		}
		return &engines.Response{}, nil
	})
}
