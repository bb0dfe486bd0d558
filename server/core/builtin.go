package core

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"

	"coffer/engines"
	"coffer/engines/cubbyhole"
	"coffer/server/mounts"
)

// builtin is a mount that the server brings itself.
type builtin struct {
	kind                    mounts.Kind
	path, typ, description  string
	passthroughRequestHeads []string
	local, sealWrap         bool
	build                   func(context.Context, engines.Config) (engines.Engine, error)
}

func (s *session) builtins() []builtin {
	return []builtin{
		{kind: mounts.Secret, path: "sys/", typ: "system", sealWrap: true,
			description:             "system endpoints used for control, policy and debugging",
			passthroughRequestHeads: []string{"Accept"},
			build:                   func(context.Context, engines.Config) (engines.Engine, error) { return s.newSys(), nil }},
		{kind: mounts.Secret, path: cubbyholePath, typ: "cubbyhole", local: true,
			description: "per-token private secret storage", build: cubbyhole.Factory},
		{kind: mounts.Secret, path: identityPath, typ: "identity", description: "identity store",
			passthroughRequestHeads: []string{"Authorization"}, build: s.newIdentity},
		{kind: mounts.Auth, path: "auth/token/", typ: "token", description: "token based credentials",
			build: func(_ context.Context, cfg engines.Config) (engines.Engine, error) { return s.tokens.Engine(cfg), nil }},
	}
}

const (
	cubbyholePath = "cubbyhole/"
	identityPath  = "identity/"
)

func (s *session) mountBuiltins() error {
	for _, b := range s.builtins() {
		build := func(cfg engines.Config) (engines.Engine, error) { return b.build(s.ctx, cfg) }
		err := s.mounts.Builtin(s.builtinEntry(b), build)
		if err != nil {
			return fmt.Errorf("mount %s: %w", b.path, err)
		}
	}
	return nil
}

// builtinEntry is the row of a built-in mount. Its UUID and accessor follow from the installation's id: they
// are the same after every unseal and others in every installation.
func (s *session) builtinEntry(b builtin) mounts.Entry {
	sum := sha256.Sum256([]byte(s.cluster.ID + "/" + b.path))
	u := sum[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80 // version 8 of RFC 9562: made by a rule of one's own
	typ := b.typ
	if b.kind == mounts.Auth {
		typ = "auth_" + typ
	}
	return mounts.Entry{
		Kind: b.kind, Path: b.path, Type: b.typ, Description: b.description, Local: b.local, SealWrap: b.sealWrap,
		UUID:     uuid.UUID(u).String(),
		Accessor: typ + "_" + hex.EncodeToString(sum[16:20]),
		Tuning:   mounts.Tuning{PassthroughRequestHeaders: b.passthroughRequestHeads},
	}
}

// builtinFolder is where a built-in mount keeps what it stores.
func (s *session) builtinFolder(path string) string {
	for _, b := range s.builtins() {
		if b.path == path {
			return mounts.StoragePrefix(s.builtinEntry(b))
		}
	}
	return ""
}
