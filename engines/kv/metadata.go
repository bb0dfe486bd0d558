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
	name := secretName(p.Path)
	ent, err := e.load(ctx, name)
	if err == nil && ent.Paged == 0 {
		return describe(ctx, ent, ent.Versions)
	}
	if err == nil {
		var resp *engines.Response
		resp, err = keylock.Read(ctx, e.locks, name, func(ctx context.Context) (*engines.Response, error) {
			return e.readPagedMetadata(ctx, name)
		})
		if err == nil {
			return resp, nil
		}
	}
	if errors.Is(err, storage.ErrNotFound) {
		return nil, engines.NotFound()
	}
	return nil, err
}

// readPagedMetadata reads the record and the pages, which have to agree. The caller holds the lock of the secret.
func (e *versioned) readPagedMetadata(ctx context.Context, name string) (*engines.Response, error) {
	ent, err := e.load(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := storage.Spend(ctx, int(ent.Paged)*sizeOfVersion); err != nil { //nolint:gosec // at most maxVersions
		return nil, err
	}
	versions, err := e.history(ctx, name, ent)
	if err != nil {
		return nil, err
	}
	return describe(ctx, ent, versions)
}

// describe is the metadata of a secret with all its versions.
func describe(ctx context.Context, ent *entry, versions []version) (*engines.Response, error) {
	size := sizeOfVersions(versions)
	if err := storage.Spend(ctx, size); err != nil {
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
		"versions":             json.RawMessage(appendVersions(make([]byte, 0, size), ent.first(), versions)),
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
		if p.MaxVersions < 0 || int64(p.MaxVersions) > math.MaxUint32 {
			return false, engines.Failed("%s", engines.Numbered(fmt.Sprintf("json: cannot unmarshal number %d into Go struct "+
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
		c := &change{storage: e.storage, name: name, entry: ent}
		if err := c.removeBelow(ctx, ent.Current+1); err != nil {
			return nil, err
		}
		if err := e.storage.Apply(ctx, append(c.batch, storage.Delete(entryPrefix+name))...); err != nil {
			return nil, err
		}
		return &engines.Response{}, nil
	})
}
