// Package seal is how the root key of the barrier is protected while the server is sealed.
//
// Two plaintext records tell how to get it back: ConfigPath says what kind of seal it is and into how
// many shares the operators' key was split, RootKeyPath holds the root key as the seal encrypted it. Where
// the seal opens by itself there is a third: RecoveryKeyPath holds the root key once more, encrypted with
// the key that operators hold in shares, so that who loses the seal's key has not lost everything.
package seal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"coffer/barrier/secret"
	"coffer/storage"
)

// Where the records are, in the storage below the barrier.
const (
	ConfigPath      = "core/seal-config"
	RootKeyPath     = "core/root-key"
	RecoveryKeyPath = "core/recovery-key"
	// AnsweredPath is there once the answer of the initialisation was sent. It is written while the server is sealed,
	// and protects nothing.
	AnsweredPath = "core/init-answered"
)

// The types of seals: operators hold the key in shares; a key that the server finds by itself.
const (
	TypeShamir = "shamir"
	TypeStatic = "static"
)

// MaxShares is the greatest number of shares: they are points in a field of 256 elements.
const MaxShares = 255

// Errors of this package.
var (
	// ErrNotInitialized is returned when the storage has no record of a seal.
	ErrNotInitialized = errors.New("seal: not initialized")
	// ErrWrongKey is returned when the unseal key, or what was combined to one, does not decrypt the
	// root key.
	ErrWrongKey = errors.New("seal: wrong unseal key")
	// ErrNoKey is returned when a seal's key cannot be had at the moment. Its text names the key.
	ErrNoKey = errors.New("seal: the key is not available")
	// ErrInvalidConfig is returned for shares or a threshold outside their limits.
	ErrInvalidConfig = errors.New("seal: invalid configuration")
	// ErrCorrupt is returned when a stored record is not what this package wrote. Its text names the record.
	ErrCorrupt = errors.New("seal: stored record is damaged")
)

// Seal encrypts the root key with a key that the storage does not have.
type Seal interface {
	// Type names the kind of seal, as Vault's sys/seal-status does: "shamir", "transit", …
	Type() string
	// Wrap returns root encrypted, for RootKeyPath.
	Wrap(ctx context.Context, root secret.Key) ([]byte, error)
	// Unwrap is the inverse of Wrap. It returns ErrWrongKey when the seal's key is not the one that
	// wrapped, ErrNoKey when that key cannot be had, ErrCorrupt when wrapped is not what Wrap returned. It
	// may overwrite wrapped.
	Unwrap(ctx context.Context, wrapped []byte) (secret.Key, error)
}

// Auto is a Seal that opens without operators.
type Auto interface {
	Seal
	// Stale reports whether wrapped is under another key than Wrap would use now. What Wrap never
	// returned is not stale.
	Stale(wrapped []byte) bool
}

// Config is the record at ConfigPath.
type Config struct {
	// Type is what Seal.Type returns.
	Type string `json:"type"`
	// Shares is into how many shares the operators' key was split, 1 to MaxShares; Threshold is how many of
	// them are needed, 1 to Shares, and 1 only when Shares is 1. It is the unseal key of a Shamir seal, and
	// the recovery key of any other.
	Shares    int `json:"shares"`
	Threshold int `json:"threshold"`
	// Marks are those of the shares; nil when the record has none.
	Marks *Marks `json:"marks,omitempty"`
	// Former is the key that a rekey replaced, while it is still good; nil for none.
	Former *Former `json:"former,omitempty"`
	// Unclaimed tells that nobody has used what the initialisation handed out: a share or a token.
	Unclaimed bool `json:"unclaimed,omitempty"`
}

// Validate returns ErrInvalidConfig when a field is outside its limits.
func (c Config) Validate() error {
	switch {
	case c.Type == "":
		return fmt.Errorf("%w: no type", ErrInvalidConfig)
	case c.Shares < 1 || c.Shares > MaxShares:
		return fmt.Errorf("%w: shares must be between 1 and %d", ErrInvalidConfig, MaxShares)
	case c.Threshold < 1 || c.Threshold > c.Shares:
		return fmt.Errorf("%w: threshold must be between 1 and the number of shares", ErrInvalidConfig)
	case c.Threshold == 1 && c.Shares > 1:
		return fmt.Errorf("%w: threshold must be greater than 1 for several shares", ErrInvalidConfig)
	}
	if err := c.Marks.validate(c.Shares); err != nil || c.Former == nil {
		return err
	}
	if err := c.Former.Config(c.Type).Validate(); err != nil {
		return fmt.Errorf("the former key: %w", err)
	}
	return nil
}

// Op returns the change that stores the configuration alone, while the keys stay.
func (c Config) Op() (storage.Op, error) {
	if err := c.Validate(); err != nil {
		return storage.Op{}, err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return storage.Op{}, fmt.Errorf("seal: encode the configuration: %w", err)
	}
	return storage.Put(ConfigPath, data), nil
}

// ReadConfig returns the stored configuration, ErrNotInitialized or ErrCorrupt.
func ReadConfig(ctx context.Context, s storage.Storage) (Config, error) {
	data, err := read(ctx, s, ConfigPath)
	if err != nil {
		return Config{}, err
	}
	return decodeConfig(data)
}

func decodeConfig(data []byte) (Config, error) {
	var c Config
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("%w: %s: %w", ErrCorrupt, ConfigPath, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%w: %s has something behind its end", ErrCorrupt, ConfigPath)
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("%w: %s: %w", ErrCorrupt, ConfigPath, err)
	}
	return c, nil
}

// Records returns the changes that store the configuration and the root key under the seal. The caller
// applies them together with the barrier's own.
func Records(ctx context.Context, s Seal, c Config, root secret.Key) ([]storage.Op, error) {
	if c.Type != s.Type() {
		return nil, fmt.Errorf("%w: type %q for a seal of type %q", ErrInvalidConfig, c.Type, s.Type())
	}
	config, err := c.Op()
	if err != nil {
		return nil, err
	}
	wrapped, err := s.Wrap(ctx, root)
	if err != nil {
		return nil, err
	}
	return []storage.Op{config, storage.Put(RootKeyPath, wrapped)}, nil
}

// RecordsWith is Records for a seal of either kind. operators is the key that operators hold in shares: the
// unseal key when auto is nil, else the recovery key beside auto. The type of c follows from auto. What an
// earlier seal left is removed.
func RecordsWith(ctx context.Context, auto Auto, c Config, root, operators secret.Key) ([]storage.Op, error) {
	if auto == nil {
		c.Type = TypeShamir
		ops, err := Records(ctx, NewShamir(operators), c, root)
		if err != nil {
			return nil, err
		}
		return append(ops, storage.Delete(RecoveryKeyPath)), nil
	}
	c.Type = auto.Type()
	ops, err := Records(ctx, auto, c, root)
	if err != nil {
		return nil, err
	}
	wrapped, err := newRecovery(operators).Wrap(ctx, root)
	if err != nil {
		return nil, err
	}
	return append(ops, storage.Put(RecoveryKeyPath, wrapped)), nil
}

// RecoveryRecords returns the changes that give the root key under a seal that opens by itself another
// recovery key.
func RecoveryRecords(ctx context.Context, c Config, root, recovery secret.Key) ([]storage.Op, error) {
	config, err := c.Op()
	if err != nil {
		return nil, err
	}
	wrapped, err := newRecovery(recovery).Wrap(ctx, root)
	if err != nil {
		return nil, err
	}
	return []storage.Op{config, storage.Put(RecoveryKeyPath, wrapped)}, nil
}

// RootKeyWith returns the stored root key by the key that operators hold in shares, or the errors of RootKey.
func RootKeyWith(ctx context.Context, store storage.Storage, c Config, operators secret.Key) (secret.Key, error) {
	if c.Type == TypeShamir {
		return RootKey(ctx, store, NewShamir(operators))
	}
	wrapped, err := read(ctx, store, RecoveryKeyPath)
	if errors.Is(err, ErrNotInitialized) {
		return secret.Key{}, fmt.Errorf("%w: %s is missing", ErrCorrupt, RecoveryKeyPath)
	}
	if err != nil {
		return secret.Key{}, err
	}
	return newRecovery(operators).Unwrap(ctx, wrapped)
}

// Renewal returns the change that puts the stored root key under the key that auto uses now, or nothing when
// it is under that key already.
func Renewal(ctx context.Context, store storage.Storage, auto Auto, root secret.Key) ([]storage.Op, error) {
	wrapped, err := read(ctx, store, RootKeyPath)
	if err != nil || !auto.Stale(wrapped) {
		return nil, err
	}
	if wrapped, err = auto.Wrap(ctx, root); err != nil {
		return nil, err
	}
	return []storage.Op{storage.Put(RootKeyPath, wrapped)}, nil
}

// RootKey returns the stored root key, ErrNotInitialized, ErrWrongKey, ErrNoKey or ErrCorrupt.
func RootKey(ctx context.Context, store storage.Storage, s Seal) (secret.Key, error) {
	wrapped, err := read(ctx, store, RootKeyPath)
	if err != nil {
		return secret.Key{}, err
	}
	return s.Unwrap(ctx, wrapped)
}

func read(ctx context.Context, s storage.Storage, path string) ([]byte, error) {
	data, err := s.Get(ctx, path)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, ErrNotInitialized
	case err != nil:
		return nil, fmt.Errorf("seal: read %s: %w", path, err)
	}
	return data, nil
}
