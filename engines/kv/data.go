package kv

import (
	"context"
	"errors"
	"strings"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

type dataParams struct {
	Path    string         `path:"path" help:"Name of the secret."`
	Version int            `param:"version" help:"Version to read; 0 for the latest."`
	Data    map[string]any `param:"data" help:"What to store."`
	HasData bool           `present:"data"`
	Options map[string]any `param:"options" help:"Options of the write: cas."`
}

// isName reports whether path can be the name of a secret. Paths with a "/" at the end are outside the API.
func isName(path string) bool { return path != "" && !strings.HasSuffix(path, "/") }

// checkWrite returns an error for a path that cannot be written to.
func checkWrite(path string) error {
	if path == "" {
		return engines.Invalid("cannot write to a path ending in '/'")
	}
	return checkName(path)
}

// exists tells create from update by the metadata, so a secret all of whose versions are gone still exists.
func (e *versioned) exists(ctx context.Context, _ *engines.Request, p anyPath) (bool, error) {
	_, err := e.storage.Get(ctx, entryPrefix+p.Path)
	if isMissing(err) {
		return false, nil
	}
	return err == nil, err
}

func (e *versioned) read(ctx context.Context, req *engines.Request, p dataParams) (*engines.Response, error) {
	if !isName(p.Path) {
		return outsideAPI(req), nil
	}
	if p.Version <= 0 {
		return e.readLatest(ctx, p.Path)
	}
	view, err := e.view(ctx, p.Path, p.Version)
	if err != nil {
		return nil, err
	}
	return view.response("data", view.data), nil
}

// readLatest is the hot path: one Get, nothing decoded but the head.
func (e *versioned) readLatest(ctx context.Context, name string) (*engines.Response, error) {
	key := entryPrefix + name
	raw, err := e.storage.Get(ctx, key)
	if err != nil {
		if isMissing(err) {
			return nil, engines.NotFound()
		}
		return nil, err
	}
	h, err := decodeHead(raw)
	if err != nil {
		return nil, unreadable(key, raw, formatPaged)
	}
	if !h.exists {
		return nil, engines.NotFound()
	}
	view := view{number: h.current, version: h.latest, custom: h.custom, data: h.latest.Data}
	if !view.hide(e.now()) && !h.latest.Inline {
		if view, err = e.view(ctx, name, 0); err != nil {
			return nil, err
		}
	}
	return view.response("data", view.data), nil
}

// view is one version with its data, as a client may see it.
type view struct {
	number  uint64
	version version
	custom  []byte
	// data is nil when it is hidden.
	data   []byte
	hidden bool
}

// hide takes away the data of a version that is deleted or destroyed, and reports whether it is.
func (v *view) hide(now time.Time) bool {
	if v.hidden = v.version.gone(now); v.hidden {
		v.data = nil
	}
	return v.hidden
}

// view reads a version of a secret and its data together; n is 0 or below for the latest. It returns an
// ErrNotFound for a version that is not there.
func (e *versioned) view(ctx context.Context, name string, n int) (view, error) {
	return keylock.Read(ctx, e.locks, name, func(ctx context.Context) (view, error) {
		ent, err := e.load(ctx, name)
		if errors.Is(err, storage.ErrNotFound) {
			return view{}, engines.NotFound()
		}
		if err != nil {
			return view{}, err
		}
		number := ent.Current
		if n > 0 {
			number = uint64(n)
		}
		found, err := e.find(ctx, name, ent, number)
		if err != nil {
			return view{}, err
		}
		if found == nil {
			return view{}, engines.NotFound()
		}
		v := view{number: number, version: *found, custom: ent.Custom}
		if !v.hide(e.now()) {
			v.data, err = e.data(ctx, name, number, found)
		}
		return v, err
	})
}

// response is the version under "metadata" and content, JSON or nil for null, under name: one buffer, since it is
// the answer to most requests.
func (v *view) response(name string, content []byte) *engines.Response {
	if content == nil {
		content = []byte("null")
	}
	data := make([]byte, 0, 256+len(v.custom)+len(content))
	member := func(key string) { data = append(append(append(data, '"'), key...), `":`...) }
	data = append(data, '{')
	if name < "metadata" {
		member(name)
		data = append(append(data, content...), ',')
	}
	member("metadata")
	data = appendVersion(data, v.number, &v.version, v.custom)
	if name > "metadata" {
		data = append(data, ',')
		member(name)
		data = append(data, content...)
	}
	resp := &engines.Response{Encoded: append(data, '}')}
	if v.hidden {
		resp.Status = 404
	}
	return resp
}

func (e *versioned) write(ctx context.Context, req *engines.Request, p dataParams) (*engines.Response, error) {
	if err := checkWrite(p.Path); err != nil {
		return nil, err
	}
	if !p.HasData {
		return nil, engines.Invalid("no data provided")
	}
	data := []byte("null")
	if p.Data != nil {
		size := engines.JSONSize(p.Data)
		if size > storage.MaxValueSize {
			return nil, errTooLarge
		}
		var err error
		if data, err = appendObject(make([]byte, 0, size+256), p.Data); err != nil {
			return nil, err
		}
	}
	op := opUpdate
	if req.Operation == engines.Create {
		op = opCreate
	}
	return e.store(ctx, p, true, attributionOf(req, op),
		func(context.Context, *change) ([]byte, error) { return data, nil })
}

// store adds a version whose data build returns.
func (e *versioned) store(
	ctx context.Context, p dataParams, create bool, by attribution,
	build func(context.Context, *change) ([]byte, error),
) (*engines.Response, error) {
	cfg, err := e.settings(ctx)
	if err != nil {
		return nil, err
	}
	var resp *engines.Response
	err = e.modify(ctx, p.Path, create, func(ctx context.Context, c *change) (bool, error) {
		if err := checkCAS(cfg, c.entry, p.Options); err != nil {
			return false, err
		}
		data, err := build(ctx, c)
		if err != nil {
			return false, err
		}
		now := e.now()
		if c.isNew {
			// A new secret and its first version are made at the same time.
			c.entry.Created = now
		}
		v := version{Created: now, Deletion: cfg.deletion(c.entry, now), CreatedBy: by}
		if err := c.addVersion(ctx, data, v, cfg.keep(c.entry)); err != nil {
			return false, err
		}
		resp = &engines.Response{Data: versionData(c.entry.Current, &v, c.entry.Custom)}
		return true, nil
	})
	return resp, err
}

// checkCAS compares the cas option with the latest version.
func checkCAS(cfg *config, ent *entry, options map[string]any) error {
	raw, given := options["cas"]
	if !given {
		if cfg.CASRequired || ent.CASRequired {
			return engines.Invalid("check-and-set parameter required for this call")
		}
		return nil
	}
	cas, err := engines.ParseInt(raw)
	if err != nil {
		return engines.Invalid("error parsing check-and-set parameter")
	}
	if cas < 0 || uint64(cas) != ent.Current {
		return engines.Invalid("check-and-set parameter did not match the current version")
	}
	return nil
}

func (e *versioned) deleteLatest(ctx context.Context, req *engines.Request, p dataParams) (*engines.Response, error) {
	if !isName(p.Path) {
		return outsideAPI(req), nil
	}
	by := attributionOf(req, opDelete)
	return e.change(ctx, p.Path, func(_ context.Context, c *change) (bool, error) {
		latest, now := c.entry.version(c.entry.Current), e.now()
		if latest == nil || latest.gone(now) {
			return false, nil
		}
		latest.Deletion, latest.DeletedBy = now, by
		c.entry.UpdatedBy = by
		return true, nil
	})
}

// change is modify for requests that do nothing to a secret that is not there.
func (e *versioned) change(
	ctx context.Context, name string, f func(context.Context, *change) (bool, error),
) (*engines.Response, error) {
	if err := e.modify(ctx, name, false, f); err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	return &engines.Response{}, nil
}
