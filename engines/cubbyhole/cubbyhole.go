// Package cubbyhole is the engine at cubbyhole/: secrets that only the token that wrote them can read, and
// that end with it.
//
// A token's secrets are below the folder of its Caller.CubbyholeID, whose name never leaves the server; who
// revokes the token removes that folder. A value is the JSON object that was written, numbers as sent.
package cubbyhole

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"coffer/engines"
	"coffer/storage"
)

// Factory is the engines.Factory of type "cubbyhole".
func Factory(_ context.Context, cfg engines.Config) (engines.Engine, error) {
	return &engine{storage: cfg.Storage}, nil
}

type engine struct{ storage storage.Storage }

// Routes implements engines.Engine.
func (e *engine) Routes() *engines.Routes {
	return engines.Compile(
		engines.Path("{path...}", "Read, write, list and delete the token's own secrets.",
			engines.AnyParameters(), engines.Exists(e.exists), engines.OnRead(e.read), engines.OnList(e.list),
			engines.OnWrite(e.write), engines.OnDelete(e.remove)),
	)
}

type params struct {
	Path string `path:"path" help:"Location of the secret."`
}

type writeParams struct {
	Path string         `path:"path"`
	Data map[string]any `param:"*"`
}

// folder is where the caller's secrets are, ending in "/". Tokens that leave no trace in storage have none.
func folder(req *engines.Request) (string, error) {
	if req.Caller == nil || req.Caller.Batch || req.Caller.CubbyholeID == "" {
		return "", engines.Invalid(`cubbyhole operations are only supported by "service" type tokens`)
	}
	return req.Caller.CubbyholeID + "/", nil
}

// failed reports an error in the form in which Vault does here, as one of its own.
func failed(text string) error { return engines.Failed("1 error occurred:\n\t* %s\n\n", text) }

// relative refuses names that Vault takes for relative paths.
func relative(path, prefix string) error {
	if strings.Contains(path, "..") {
		return engines.Invalid("1 error occurred:\n\t* %srelative paths not supported\n\n", prefix)
	}
	return nil
}

func isMissing(err error) bool {
	return errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey)
}

func (e *engine) exists(ctx context.Context, req *engines.Request, p params) (bool, error) {
	own, err := folder(req)
	if err != nil {
		return false, err
	}
	if p.Path == "" {
		return false, failed("missing path") // before the policy decides, as in Vault
	}
	_, err = e.storage.Get(ctx, own+p.Path)
	if isMissing(err) {
		return false, nil
	}
	return err == nil, err
}

func (e *engine) read(ctx context.Context, req *engines.Request, p params) (*engines.Response, error) {
	own, err := folder(req)
	if err != nil {
		return nil, err
	}
	if p.Path == "" {
		return nil, failed("missing path")
	}
	if err := relative(p.Path, "read failed: "); err != nil {
		return nil, err
	}
	raw, err := e.storage.Get(ctx, own+p.Path)
	if isMissing(err) {
		return nil, engines.NotFound()
	}
	if err != nil {
		return nil, err
	}
	data, err := decode(raw)
	if err != nil {
		return nil, err
	}
	return &engines.Response{Data: data}, nil
}

// errTooLarge is the answer to a secret of more than storage.MaxValueSize bytes.
var errTooLarge = engines.Invalid("the secret is too large")

// errRecord is returned for bytes that are not a secret's. The key is left out: it names the token's folder.
var errRecord = errors.New("cubbyhole: damaged record")

func decode(raw []byte) (map[string]any, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil || object == nil {
		return nil, errRecord
	}
	data := make(map[string]any, len(object))
	for name, value := range object {
		data[name] = value
	}
	return data, nil
}

func (e *engine) list(ctx context.Context, req *engines.Request, p params) (*engines.Response, error) {
	own, err := folder(req)
	if err != nil {
		return nil, err
	}
	if err := relative(p.Path, ""); err != nil {
		return nil, err
	}
	if p.Path != "" && !strings.HasSuffix(p.Path, "/") {
		p.Path += "/"
	}
	names, err := e.storage.List(ctx, own+p.Path, "", 0)
	if isMissing(err) {
		return nil, engines.NotFound()
	}
	if err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}

func (e *engine) write(ctx context.Context, req *engines.Request, p writeParams) (*engines.Response, error) {
	own, err := folder(req)
	if err != nil {
		return nil, err
	}
	switch {
	case p.Path == "":
		return nil, failed("missing path")
	case strings.HasSuffix(p.Path, "/"):
		return nil, engines.Invalid("cannot write to a path ending in '/'")
	case len(p.Data) == 0:
		return nil, failed("missing data fields")
	case relative(p.Path, "") != nil:
		return nil, failed("internal error")
	case !utf8.ValidString(p.Path):
		return nil, failed("failed to write: key contains invalid UTF-8 characters")
	}
	if engines.JSONSize(p.Data) > storage.MaxValueSize {
		return nil, errTooLarge
	}
	value, err := json.Marshal(p.Data)
	if err != nil {
		return nil, fmt.Errorf("cubbyhole: %w", err)
	}
	err = e.storage.Apply(ctx, storage.Put(own+p.Path, value))
	switch {
	case errors.Is(err, storage.ErrInvalidKey):
		return nil, engines.Invalid("the path is too long or malformed")
	case errors.Is(err, storage.ErrValueTooLarge):
		return nil, errTooLarge
	case err != nil:
		return nil, err
	}
	return &engines.Response{}, nil
}

func (e *engine) remove(ctx context.Context, req *engines.Request, p params) (*engines.Response, error) {
	own, err := folder(req)
	if err != nil {
		return nil, err
	}
	if err := relative(p.Path, ""); err != nil {
		return nil, err
	}
	if err := e.storage.Apply(ctx, storage.Delete(own+p.Path)); err != nil && !isMissing(err) {
		return nil, err
	}
	return &engines.Response{}, nil
}
