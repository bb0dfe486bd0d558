package sys

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"coffer/engines"
	"coffer/storage"
)

// The routes of raw show what is behind the barrier, key by key. They exist only where the configuration
// asks for them; elsewhere only who has sudo learns that they do not.
func (e *engine) rawRoutes() []engines.Route {
	if e.Raw == nil {
		return []engines.Route{
			engines.Path("raw/{path...}", "Off: see raw_storage_endpoint.", engines.Sudo(), engines.OnList(rawIsOff),
				engines.OnRead(rawIsOff), engines.OnUpdate(rawIsOff), engines.OnDelete(rawIsOff)),
		}
	}
	return []engines.Route{
		engines.Path("raw/{path...}", "List, read, write or delete a key behind the barrier.", engines.Sudo(),
			engines.OnList(e.listRaw), engines.OnRead(e.readRaw), engines.OnUpdate(e.writeRaw), engines.OnDelete(e.deleteRaw)),
	}
}

func rawIsOff(context.Context, *engines.Request, rawParams) (*engines.Response, error) {
	return nil, engines.ErrUnsupportedPath
}

// rawProtected are the keys that nobody reads or changes here: those of Vault's seal and barrier, which are not behind
// the barrier at all, and the keys with which tokens are made. Whoever had these could make tokens that nobody revokes.
var rawProtected = map[string]bool{
	"core/keyring": true, "core/cluster/local/info": true, "sys/token/keys": true,
	"core/seal-config": true, "core/root-key": true, "core/recovery-key": true,
	"core/master": true, "core/shamir-kek": true,
}

// checkRaw refuses what is protected, in Vault's words.
func checkRaw(verb, path string) error {
	if rawProtected[strings.Trim(path, "/")] {
		return engines.Invalid("cannot %s %q", verb, path)
	}
	return nil
}

type rawListParams struct {
	Path string `path:"path" help:"Folder of keys."`
}

func (e *engine) listRaw(ctx context.Context, _ *engines.Request, p rawListParams) (*engines.Response, error) {
	prefix := p.Path
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	names, err := e.Raw.List(ctx, prefix, "", 0)
	if err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}

type readRawParams struct {
	Path       string `path:"path" help:"Key."`
	Encoding   string `param:"encoding" help:"\"\" for text or \"base64\"."`
	Compressed bool   `param:"compressed" default:"true" help:"Accepted for compatibility: values are not compressed."`
}

func (e *engine) readRaw(ctx context.Context, _ *engines.Request, p readRawParams) (*engines.Response, error) {
	if err := checkEncoding(p.Encoding); err != nil {
		return nil, err
	}
	if err := checkRaw("read", p.Path); err != nil {
		return nil, err
	}
	value, err := e.Raw.Get(ctx, p.Path)
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrInvalidKey):
		return nil, engines.NotFound()
	case err != nil:
		return nil, err
	case p.Compressed && len(value) == 0:
		return nil, engines.Invalid("'data' being decompressed is empty")
	case p.Encoding == "base64":
		return read(map[string]any{"value": base64.StdEncoding.EncodeToString(value)})
	default:
		return read(map[string]any{"value": string(value)})
	}
}

func checkEncoding(encoding string) error {
	if encoding != "" && encoding != "base64" {
		return engines.Invalid("invalid encoding %q", encoding)
	}
	return nil
}

type writeRawParams struct {
	Path            string `path:"path" help:"Key."`
	Value           string `param:"value" help:"Value to store."`
	Encoding        string `param:"encoding" help:"\"\" for text or \"base64\"."`
	CompressionType string `param:"compression_type" help:"Only \"\": values are not compressed."`
}

func (e *engine) writeRaw(ctx context.Context, _ *engines.Request, p writeRawParams) (*engines.Response, error) {
	if err := checkEncoding(p.Encoding); err != nil {
		return nil, err
	}
	if p.CompressionType != "" {
		return nil, engines.Invalid("invalid compression type %q", p.CompressionType)
	}
	value := []byte(p.Value)
	if p.Encoding == "base64" {
		var err error
		if value, err = base64.StdEncoding.DecodeString(p.Value); err != nil {
			return nil, engines.Invalid("%v", err)
		}
	}
	return e.applyRaw(ctx, storage.Put(p.Path, value), "write")
}

type rawParams struct {
	Path string `path:"path" help:"Key."`
}

func (e *engine) deleteRaw(ctx context.Context, _ *engines.Request, p rawParams) (*engines.Response, error) {
	return e.applyRaw(ctx, storage.Delete(p.Path), "delete")
}

func (e *engine) applyRaw(ctx context.Context, op storage.Op, verb string) (*engines.Response, error) {
	if err := checkRaw(verb, op.Key); err != nil {
		return nil, err
	}
	err := e.Raw.Apply(ctx, op)
	switch {
	case errors.Is(err, storage.ErrInvalidKey):
		return nil, engines.Invalid("cannot %s %q", verb, op.Key)
	case err != nil:
		return nil, err
	}
	return done()
}
