package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"coffer/barrier/record"
	"coffer/barrier/secret"
)

// MaxKeyID is the length in bytes of the longest id of a StaticKey.
const MaxKeyID = 64

// StaticKey is a key of the static seal.
type StaticKey struct {
	// ID names the key in the stored record and in errors; 1 to MaxKeyID bytes, and no secret.
	ID string
	// Load returns the key of record.KeySize bytes, for the caller to zero. It is called whenever the key is
	// needed, so that a sealed server does not hold it and a file that comes late is found. Its error holds
	// no part of the key.
	Load func() (secret.Key, error)
}

// Static is the seal whose key the server finds by itself: in a file, in the environment or in its
// configuration. It is safe for concurrent use when its keys' Load is.
//
// The record that it makes is:
//
//	version (1 byte, 1) | length of the key's id (1) | id | record of the root key
//
// The id is part of the associated data.
type Static struct {
	// keys begins with the one that wraps. The others only unwrap.
	keys []StaticKey
}

const staticVersion = 1

// NewStatic returns the seal that wraps with current and unwraps with previous as well, if there is one.
func NewStatic(current StaticKey, previous ...StaticKey) *Static {
	return &Static{keys: append([]StaticKey{current}, previous...)}
}

// Type implements Seal.
func (*Static) Type() string { return TypeStatic }

// Wrap implements Seal. It returns ErrNoKey when the current key cannot be had.
func (s *Static) Wrap(_ context.Context, root secret.Key) ([]byte, error) {
	current := s.keys[0]
	size := len(current.ID)
	if size == 0 || size > MaxKeyID {
		return nil, fmt.Errorf("%w: the id of a static key has 1 to %d bytes", ErrInvalidConfig, MaxKeyID)
	}
	c, err := current.cipher()
	if err != nil {
		return nil, err
	}
	wrapped := append([]byte{staticVersion, byte(size)}, current.ID...)
	return append(wrapped, c.Seal(root.Reveal(), staticPlace(current.ID))...), nil
}

// Unwrap implements Seal. Its errors name the key that wrapped.
func (s *Static) Unwrap(_ context.Context, wrapped []byte) (secret.Key, error) {
	id, sealed, err := parseStatic(wrapped)
	if err != nil {
		return secret.Key{}, err
	}
	key, err := s.find(id)
	if err != nil {
		return secret.Key{}, err
	}
	c, err := key.cipher()
	if err != nil {
		return secret.Key{}, err
	}
	plain, err := c.Open(sealed, staticPlace(id))
	switch {
	case errors.Is(err, record.ErrMalformed):
		return secret.Key{}, fmt.Errorf("%w: %s: %w", ErrCorrupt, RootKeyPath, err)
	case err != nil:
		return secret.Key{}, fmt.Errorf("%w: the data wants the key %q, and the one of that id is another", ErrWrongKey, id)
	}
	defer clear(plain)
	return secret.New(plain), nil
}

// Stale implements Auto.
func (s *Static) Stale(wrapped []byte) bool {
	id, _, err := parseStatic(wrapped)
	return err == nil && id != s.keys[0].ID
}

// find returns the key that wrapped, by its id.
func (s *Static) find(id string) (StaticKey, error) {
	known := make([]string, len(s.keys))
	for i, key := range s.keys {
		if key.ID == id {
			return key, nil
		}
		known[i] = key.ID
	}
	return StaticKey{}, fmt.Errorf("%w: the data wants the key %q, the configuration has %q", ErrWrongKey, id, known)
}

// cipher loads the key for one use.
func (k StaticKey) cipher() (*record.Cipher, error) {
	key, err := k.Load()
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrNoKey, k.ID, err)
	}
	defer key.Zero()
	c, err := record.NewCipher(key, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrNoKey, k.ID, err)
	}
	return c, nil
}

// staticPlace is the associated data: no other record, and no other id, opens in its place.
func staticPlace(id string) []byte { return []byte(RootKeyPath + "\x00" + TypeStatic + "\x00" + id) }

// parseStatic takes apart what Wrap returned.
func parseStatic(wrapped []byte) (id string, sealed []byte, err error) {
	rest, found := bytes.CutPrefix(wrapped, []byte{staticVersion})
	if !found || len(rest) == 0 {
		return "", nil, fmt.Errorf("%w: %s is not of a static seal", ErrCorrupt, RootKeyPath)
	}
	length := int(rest[0])
	if length == 0 || length > MaxKeyID || len(rest) < 1+length {
		return "", nil, fmt.Errorf("%w: %s: the id of its key is cut off", ErrCorrupt, RootKeyPath)
	}
	return string(rest[1 : 1+length]), rest[1+length:], nil
}
