// Package kv is the key-value secrets engine: version 1 keeps one value for each name, version 2 keeps a
// history of them. DESIGN.md says how they are stored.
package kv

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"coffer/engines"
	"coffer/storage"
)

// Factory is the engines.Factory of type "kv". The mount's option "version" chooses between 1, which is
// the default, and 2. A mount that has become version 2 is upgraded here: what fits into one commit before
// Factory returns, the rest beside the requests, which are refused until it is done. It returns an
// ErrInvalid for any other version.
func Factory(ctx context.Context, cfg engines.Config) (engines.Engine, error) {
	switch cfg.Mount.Options["version"] {
	case "", "1":
		return &plain{storage: cfg.Storage, ttls: cfg.TTLs}, nil
	case "2":
		return newVersioned(ctx, cfg)
	default:
		return nil, engines.Invalid("nil backend of type %q returned from factory", cfg.Mount.Type)
	}
}

// checkName returns an error for a name that nothing can be stored under.
func checkName(name string) error {
	switch {
	case strings.HasSuffix(name, "/"):
		return engines.Invalid("cannot write to a path ending in '/'")
	case !utf8.ValidString(name):
		return engines.Failed("%s", engines.Numbered("failed to write: key contains invalid UTF-8 characters"))
	default:
		return nil
	}
}

// isMissing reports whether err says that there is nothing under the key, or could not be.
func isMissing(err error) bool {
	return errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey)
}

// errTooLarge is the answer to a secret of more than storage.MaxValueSize bytes.
var errTooLarge = engines.Invalid("the secret is too large")

// refused turns the errors of storage that the client's input caused into ones that tell so.
func refused(err error) error {
	switch {
	case errors.Is(err, storage.ErrInvalidKey):
		return engines.Invalid("the path is too long or malformed")
	case errors.Is(err, storage.ErrValueTooLarge):
		return errTooLarge
	default:
		return err
	}
}

// folder is the prefix of a list: path with a "/" at its end, or "".
func folder(path string) string {
	if path == "" || strings.HasSuffix(path, "/") {
		return path
	}
	return path + "/"
}

// listLimit bounds one page of names; a client that asks for more gets what it asked for up to this, and
// one that asks for none gets all, as in Vault.
const listLimit = 1 << 20

// list returns the names below path, which are kept below prefix.
func list(ctx context.Context, s storage.Storage, prefix, path, after string, limit int) (*engines.Response, error) {
	if limit <= 0 || limit > listLimit {
		limit = listLimit
	}
	names, err := s.List(ctx, prefix+folder(path), after, limit)
	if isMissing(err) {
		return nil, engines.NotFound()
	}
	if err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}
