package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// plainPrefix is the folder of version 1. Each value is the JSON object that was written, with sorted keys
// and numbers as they were sent.
const plainPrefix = "plain/"

// plain is version 1: one value for each name, without history.
type plain struct {
	storage storage.Storage
	ttls    engines.TTLs
}

// Routes implements engines.Engine.
func (*plain) Routes() *engines.Routes { return engines.RoutesOf[*plain](plainRoutes) }

func plainRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("{path...}", "Read, write, list and delete secrets.",
			engines.AnyParameters(), engines.Exists(engines.Method((*plain).exists)),
			engines.OnRead(engines.Method((*plain).read)), engines.OnList(engines.Method((*plain).list)),
			engines.OnWrite(engines.Method((*plain).write)), engines.OnDelete(engines.Method((*plain).remove))),
	}
}

type plainParams struct {
	Path string `path:"path" help:"Location of the secret."`
}

type plainListParams struct {
	Path  string `path:"path"`
	After string `param:"after" help:"Name after which the list begins."`
	Limit int    `param:"limit" help:"Most names to return; 0 for all."`
}

type plainWriteParams struct {
	Path string         `path:"path"`
	Data map[string]any `param:"*"`
}

func (e *plain) exists(ctx context.Context, _ *engines.Request, p plainParams) (bool, error) {
	_, err := e.storage.Get(ctx, plainPrefix+p.Path)
	if isMissing(err) {
		return false, nil
	}
	return err == nil, err
}

func (e *plain) read(ctx context.Context, _ *engines.Request, p plainParams) (*engines.Response, error) {
	if isRelative(p.Path) {
		return nil, engines.Invalid("%s", engines.Numbered("read failed: relative paths not supported"))
	}
	raw, err := e.storage.Get(ctx, plainPrefix+p.Path)
	if isMissing(err) {
		return nil, engines.NotFound()
	}
	if err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, fmt.Errorf("kv: damaged record of %s%s", plainPrefix, p.Path)
	}
	data := make(map[string]any, len(object))
	for name, value := range object {
		data[name] = value
	}
	return &engines.Response{Data: data, Secret: &engines.Secret{TTL: e.ttl(object), Unleased: true}}, nil
}

// ttl is what the secret says of its own life in "ttl" or "lease", else the mount's default.
func (e *plain) ttl(object map[string]json.RawMessage) time.Duration {
	raw, ok := object["ttl"]
	if !ok {
		raw, ok = object["lease"]
	}
	if ok {
		if d, err := rawDuration(raw); err == nil {
			return d
		}
	}
	return e.ttls.DefaultTTL()
}

// rawDuration reads a duration out of JSON; null is 0.
func rawDuration(raw json.RawMessage) (time.Duration, error) {
	if string(raw) == "null" {
		return 0, nil
	}
	var value any = json.Number(raw)
	if len(raw) > 0 && raw[0] == '"' {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return 0, err
		}
		value = text
	}
	return engines.ParseDuration(value)
}

func (e *plain) list(ctx context.Context, _ *engines.Request, p plainListParams) (*engines.Response, error) {
	if isRelative(p.Path) {
		return nil, engines.Invalid("%s", engines.Numbered("relative paths not supported"))
	}
	return list(ctx, e.storage, plainPrefix, p.Path, p.After, p.Limit)
}

func (e *plain) write(ctx context.Context, _ *engines.Request, p plainWriteParams) (*engines.Response, error) {
	if p.Path == "" {
		return nil, engines.Invalid("missing path")
	}
	if err := checkName(p.Path); err != nil {
		return nil, err
	}
	if len(p.Data) == 0 {
		return nil, engines.Invalid("missing data fields")
	}
	if isRelative(p.Path) {
		return nil, engines.Failed("%s", engines.Numbered("internal error"))
	}
	if engines.JSONSize(p.Data) > storage.MaxValueSize {
		return nil, errTooLarge
	}
	value, err := json.Marshal(p.Data)
	if err != nil {
		return nil, engines.Invalid("the data cannot be stored")
	}
	if err := e.storage.Apply(ctx, storage.Put(plainPrefix+p.Path, value)); err != nil {
		return nil, refused(err)
	}
	return &engines.Response{}, nil
}

func (e *plain) remove(ctx context.Context, _ *engines.Request, p plainParams) (*engines.Response, error) {
	if isRelative(p.Path) {
		return nil, engines.Invalid("%s", engines.Numbered("relative paths not supported"))
	}
	err := e.storage.Apply(ctx, storage.Delete(plainPrefix+p.Path))
	if err != nil && !isMissing(err) {
		return nil, err
	}
	return &engines.Response{}, nil
}

// isRelative reports whether Vault takes the name for a relative path, which version 1 refuses.
func isRelative(name string) bool { return strings.Contains(name, "..") }
