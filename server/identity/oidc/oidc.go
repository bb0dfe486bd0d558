// Package oidc signs identity tokens: what a token's holder shows to others to prove who it is, and what
// those verify it with. It serves identity/oidc/.
//
// A named key signs; a role says which key, for whom and with which claims. See DESIGN.md.
package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"coffer/engines"
	"coffer/server/identity"
	"coffer/storage"
	"coffer/storage/mirror"
)

// Holders tells who holds a token; *identity.Store is one.
type Holders interface {
	// Holder returns an entity with its groups, identity.ErrNoEntity or identity.ErrDisabled.
	Holder(ctx context.Context, entityID string) (*identity.Holder, error)
}

// Config is what a Store works with.
type Config struct {
	// Storage is the place of the engine; the store's keys live below "oidc/".
	Storage storage.Storage
	Holders Holders
	// Address is the URL at which clients reach the server: the issuer, unless one is configured.
	Address string
	Logger  *slog.Logger
	// Now is the time of keys, Wall that of tokens.
	Now, Wall func() time.Time
}

// Store keeps keys and roles. It is safe for concurrent use.
type Store struct {
	cfg Config

	mirror *mirror.Mirror
	// issuer, keys and roles are what mirror guards.
	issuer string
	keys   map[string]*namedKey
	roles  map[string]*role
	// lost are the keys of the records that cannot be read.
	lost map[string]bool

	// relative warns of an issuer that is no URL, once.
	relative sync.Once
}

const (
	folder     = "oidc/"
	configKey  = folder + "config"
	keyFolder  = folder + "key/"
	roleFolder = folder + "role/"
)

// New opens what is in cfg.Storage.
func New(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{cfg: cfg}
	var err error
	s.mirror, err = mirror.New(ctx, cfg.Storage, s.load)
	return s, err
}

// load reads everything. What needs a record that cannot be read fails.
func (s *Store) load(ctx context.Context) (put func(), err error) {
	var c configRecord
	lost := make(map[string]bool)
	switch err = s.read(ctx, configKey, &c); {
	case errors.Is(err, storage.ErrDamaged):
		lost[configKey] = true
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return nil, err
	}
	keys := map[string]*namedKey{defaultKey: newDefaultKey()}
	err = storage.Each(ctx, s.cfg.Storage, keyFolder, func(name string, b []byte) error {
		k, err := decodeKey(name, b)
		if err == nil {
			keys[name] = k
		}
		return err
	}, func(name string) {
		lost[keyFolder+name] = true
		delete(keys, name) // the default key is not made anew
	})
	if err != nil {
		return nil, err
	}
	roles := make(map[string]*role)
	err = storage.Each(ctx, s.cfg.Storage, roleFolder, func(name string, b []byte) error {
		r, err := decodeRole(name, b)
		if err == nil {
			roles[name] = r
		}
		return err
	}, func(name string) { lost[roleFolder+name] = true })
	return func() { s.issuer, s.keys, s.roles, s.lost = c.Issuer, keys, roles, lost }, err
}

// Reread looks again at what was lost.
func (s *Store) Reread(ctx context.Context) error { return s.mirror.Reread(ctx) }

// errLost is the answer where a record is needed that cannot be read.
var errLost = engines.Failed("the stored key, role or configuration of identity tokens cannot be read: see sys/damaged")

// missing is the answer for a record that is not there: otherwise, or errLost.
func (s *Store) missing(ctx context.Context, key string, otherwise error) error {
	lost := false
	if err := s.view(ctx, func() { lost = s.lost[key] }); err != nil {
		return err
	}
	if lost {
		return errLost
	}
	return otherwise
}

func (s *Store) read(ctx context.Context, key string, into any) error {
	b, err := s.cfg.Storage.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("oidc: read %s: %w", key, err)
	}
	if err = decode(key, b, into); err != nil {
		storage.SetAside(s.cfg.Storage, key, err)
	}
	return err
}

// view runs f while nothing changes; f only reads.
func (s *Store) view(ctx context.Context, f func()) error { return s.mirror.View(ctx, f) }

// edit is what one request changes: one commit, and what then puts it into the maps.
type edit struct {
	ops  []storage.Op
	done []func()
}

// change runs f, which says what to change, and commits it.
func (s *Store) change(ctx context.Context, f func(*edit) error) error {
	return s.mirror.Change(ctx, func() ([]storage.Op, func(), error) {
		var e edit
		err := f(&e)
		return e.ops, func() {
			for _, done := range e.done {
				done()
			}
		}, err
	})
}

// put adds a record to the edit; one that was lost is there again.
func (s *Store) put(e *edit, key string, v any, done func()) error {
	b, err := encode(v)
	e.ops = append(e.ops, storage.Put(key, b))
	e.done = append(e.done, done, func() { delete(s.lost, key) })
	return err
}

func (e *edit) remove(key string, done func()) {
	e.ops, e.done = append(e.ops, storage.Delete(key)), append(e.done, done)
}

func (s *Store) putKey(e *edit, k *namedKey) error {
	return s.put(e, keyFolder+k.Name, k, func() { s.keys[k.Name] = k })
}

// issuerURL is the iss claim of tokens; the caller holds mu.
func (s *Store) issuerURL() string {
	address := s.issuer
	if address == "" {
		address = s.cfg.Address
	}
	return address + issuerPath
}

const issuerPath = "/v1/identity/oidc"

// warnRelative warns in the log, once, when the issuer of a token is a path alone, as in Vault without api_addr:
// those who verify tokens compare the issuer with a URL and refuse this one.
func (s *Store) warnRelative(issuer string) {
	if issuer == issuerPath {
		s.relative.Do(func() {
			s.cfg.Logger.Warn("identity tokens have an issuer without a host, which no verifier accepts: "+
				"set api_addr in the configuration, or issuer in identity/oidc/config", "issuer", issuer)
		})
	}
}

// validIssuer reports whether an issuer is a scheme, a host and perhaps a port.
func validIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	if err != nil || len(issuer) > maxIssuer {
		return false
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host}
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && bare.String() == issuer
}

const maxIssuer = 2 << 10

// rolesOf are the names of the roles that use a key, sorted; the caller holds mu.
func (s *Store) rolesOf(key string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.roles)) {
		if s.roles[name].Key == key {
			names = append(names, name)
		}
	}
	return names
}
