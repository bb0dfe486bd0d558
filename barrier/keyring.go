package barrier

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"coffer/barrier/record"
	"coffer/barrier/secret"
)

// nameKeySize is the length of the key of AES-SIV in bytes: two AES-256 keys.
const nameKeySize = 64

// keyring is what the root key protects: everything needed to read the barrier. It is immutable.
type keyring struct {
	// terms are in ascending order; the last one encrypts.
	terms  []termKey
	names  secret.Key
	config RotationConfig
	// guarded tells that there is a manifest. Without it nobody could tell one that was removed from one that never was.
	guarded bool
}

type termKey struct {
	id        uint32
	installed time.Time // UTC
	key       secret.Key
}

func newKeyring(now time.Time) keyring {
	return keyring{names: secret.Random(nameKeySize), config: DefaultRotationConfig(), guarded: true}.withNewTerm(now)
}

func (k keyring) active() termKey { return k.terms[len(k.terms)-1] }

// withNewTerm returns the keyring with one more term, that encrypts from now on.
func (k keyring) withNewTerm(now time.Time) keyring {
	id := uint32(1)
	if len(k.terms) > 0 {
		id = k.active().id + 1
	}
	k.terms = append(slices.Clip(k.terms), termKey{
		id: id, installed: now.UTC().Round(0), key: secret.Random(record.KeySize),
	})
	return k
}

func (k keyring) zero() {
	k.names.Zero()
	for _, term := range k.terms {
		term.key.Zero()
	}
}

// The encoded keyring, numbers in big endian:
//
//	version (1 byte, 2; 1 without a manifest) | enabled (1: 0 or 1) | max operations (8) | interval in seconds (8) |
//	name key (64) | for each term: id (4), installed in Unix nanoseconds (8), key (32)
const (
	keyringVersion = 2
	keyringBefore  = 1
	keyringHeader  = 1 + 1 + 8 + 8 + nameKeySize
	keyringTerm    = 4 + 8 + record.KeySize
)

// encode returns the keyring's bytes, which the caller clears.
func (k keyring) encode() []byte {
	// The exact capacity keeps append from leaving copies of keys behind.
	b := make([]byte, 0, keyringHeader+len(k.terms)*keyringTerm)
	enabled := byte(0)
	if k.config.Enabled {
		enabled = 1
	}
	version := byte(keyringVersion)
	if !k.guarded {
		version = keyringBefore
	}
	b = append(b, version, enabled)
	b = binary.BigEndian.AppendUint64(b, k.config.MaxOperations)
	b = binary.BigEndian.AppendUint64(b, uint64(max(0, k.config.Interval/time.Second)))
	b = append(b, k.names.Reveal()...)
	for _, term := range k.terms {
		b = binary.BigEndian.AppendUint32(b, term.id)
		b = binary.BigEndian.AppendUint64(b, uint64(term.installed.UnixNano()))
		b = append(b, term.key.Reveal()...)
	}
	return b
}

// decodeKeyring is the inverse of encode. It keeps nothing of b.
func decodeKeyring(b []byte) (keyring, error) {
	if len(b) < keyringHeader+keyringTerm || (len(b)-keyringHeader)%keyringTerm != 0 {
		return keyring{}, fmt.Errorf("%w: a keyring of %d bytes", ErrCorrupt, len(b))
	}
	if b[0] != keyringVersion && b[0] != keyringBefore || b[1] > 1 {
		return keyring{}, fmt.Errorf("%w: a keyring of version %d", ErrCorrupt, b[0])
	}
	interval := binary.BigEndian.Uint64(b[10:])
	if interval > uint64(maxInterval/time.Second) {
		return keyring{}, fmt.Errorf("%w: a rotation interval of %d s", ErrCorrupt, interval)
	}
	k := keyring{guarded: b[0] == keyringVersion, config: RotationConfig{
		Enabled:       b[1] == 1,
		MaxOperations: binary.BigEndian.Uint64(b[2:]),
		Interval:      time.Duration(interval) * time.Second,
	}}
	if err := k.config.Validate(); err != nil {
		return keyring{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	k.names = secret.New(b[18:keyringHeader])
	previous := uint32(0)
	for rest := b[keyringHeader:]; len(rest) > 0; rest = rest[keyringTerm:] {
		id := binary.BigEndian.Uint32(rest)
		if id <= previous {
			return keyring{}, fmt.Errorf("%w: term %d follows term %d", ErrCorrupt, id, previous)
		}
		previous = id
		k.terms = append(k.terms, termKey{
			id:        id,
			installed: time.Unix(0, int64(binary.BigEndian.Uint64(rest[4:]))).UTC(), //nolint:gosec // as it was encoded
			key:       secret.New(rest[12:keyringTerm]),
		})
	}
	return k, nil
}

// seal returns the keyring's record under the root key.
func (k keyring) seal(root secret.Key) ([]byte, error) {
	c, err := record.NewCipher(root, 0)
	if err != nil {
		return nil, err
	}
	plain := k.encode()
	defer clear(plain)
	return c.Seal(plain, []byte(keyringPath)), nil
}

// openKeyring is the inverse of seal. It returns ErrWrongKey when the root key does not open the record.
// It overwrites data.
func openKeyring(data []byte, root secret.Key) (keyring, error) {
	c, err := record.NewCipher(root, 0)
	if err != nil {
		return keyring{}, err
	}
	if term, err := record.Term(data); err != nil || term != 0 {
		return keyring{}, fmt.Errorf("%w: %s", ErrCorrupt, keyringPath)
	}
	plain, err := c.Open(data, []byte(keyringPath))
	if err != nil {
		return keyring{}, fmt.Errorf("%w: %s does not open", ErrWrongKey, keyringPath)
	}
	defer clear(plain)
	return decodeKeyring(plain)
}
