// Package mfa asks people for a second factor when they log in: a code of RFC 6238 (TOTP). It keeps the methods,
// the enforcements that say whose logins need one, the secrets of entities, and the logins that wait for a code. It
// serves identity/mfa/. See DESIGN.md.
package mfa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
	"coffer/storage/mirror"
)

// Identities tells who there is.
type Identities interface {
	// HasEntity reports whether there is an entity with that id, disabled or not, and not merged into another.
	HasEntity(ctx context.Context, id string) (bool, error)
	// HasGroup reports whether there is a group with that id.
	HasGroup(ctx context.Context, id string) (bool, error)
}

// Mounts tells which auth methods are mounted.
type Mounts interface {
	// AuthMounts returns them all.
	AuthMounts() []engines.Mount
}

// Config is what a Store works with.
type Config struct {
	// Storage is the place of the engine at identity/; the store's keys live below "mfa/".
	Storage    storage.Storage
	Identities Identities
	Mounts     Mounts
	// Now is the time of what waits and is counted, Wall that of codes.
	Now, Wall func() time.Time
	Logger    *slog.Logger
}

// Store keeps methods, enforcements and waiting logins. It is safe for concurrent use.
type Store struct {
	cfg      Config
	attempts *attempts
	waiting  *waiting
	// secrets are held by method and entity from the look at a secret until it is written.
	secrets *keylock.Set

	mirror *mirror.Mirror
	// methods and enforcements are what mirror guards.
	methods      map[string]*method
	enforcements map[string]*enforcement
	// lostMethods and lostEnforcements are the ids and the names of those that cannot be read, "" for one whose name
	// cannot be.
	lostMethods, lostEnforcements map[string]bool
}

const (
	folder            = "mfa/"
	methodFolder      = folder + "method/"
	enforcementFolder = folder + "enforcement/"
	secretFolder      = folder + "secret/"
)

func secretKey(method, entity string) string { return secretFolder + method + "/" + entity }

// New opens what is in cfg.Storage.
func New(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, secrets: keylock.New(), attempts: newAttempts(), waiting: newWaiting()}
	var err error
	s.mirror, err = mirror.New(ctx, cfg.Storage, s.load)
	return s, err
}

// load reads methods and enforcements. What cannot be read is lost: nobody knows whose logins it was for.
func (s *Store) load(ctx context.Context) (put func(), err error) {
	methods, enforcements := make(map[string]*method), make(map[string]*enforcement)
	lostMethods, lostEnforcements := make(map[string]bool), make(map[string]bool)
	err = storage.Each(ctx, s.cfg.Storage, methodFolder, func(id string, b []byte) error {
		m, err := decodeMethod(id, b)
		if err == nil {
			methods[id] = m
		}
		return err
	}, func(id string) { lostMethods[id] = true })
	if err != nil {
		return nil, err
	}
	err = storage.Each(ctx, s.cfg.Storage, enforcementFolder, func(name string, b []byte) error {
		e, err := decodeEnforcement(name, b)
		if err == nil {
			enforcements[name] = e
		}
		return err
	}, func(name string) { lostEnforcements[name] = true })
	return func() {
		s.methods, s.enforcements = methods, enforcements
		s.lostMethods, s.lostEnforcements = lostMethods, lostEnforcements
	}, err
}

// Reread looks again at what was lost.
func (s *Store) Reread(ctx context.Context) error { return s.mirror.Reread(ctx) }

// view runs f while nothing changes; f only reads.
func (s *Store) view(ctx context.Context, f func()) error { return s.mirror.View(ctx, f) }

// change runs f, which returns what to commit and what then puts it into the maps.
func (s *Store) change(ctx context.Context, f func() (ops []storage.Op, done func(), err error)) error {
	return s.mirror.Change(ctx, f)
}

// method returns a method, or nil.
func (s *Store) method(ctx context.Context, id string) (m *method, err error) {
	err = s.view(ctx, func() { m = s.methods[id] })
	return m, err
}

// readSecret returns an entity's secret, or errNoSecret.
func (s *Store) readSecret(ctx context.Context, method, entity string) (*secret, error) {
	key := secretKey(method, entity)
	b, err := s.cfg.Storage.Get(ctx, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, errNoSecret
	case err != nil:
		return nil, fmt.Errorf("mfa: read %s: %w", key, err)
	}
	mine, err := decodeSecret(key, b)
	if err != nil {
		storage.SetAside(s.cfg.Storage, key, err)
	}
	return mine, err
}

// errNoSecret is returned for an entity without a secret for a method.
var errNoSecret = errors.New("mfa: no secret")
