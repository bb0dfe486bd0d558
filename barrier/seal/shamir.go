package seal

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/vault/shamir"

	"coffer/barrier/record"
	"coffer/barrier/secret"
)

// UnsealKeySize is the length of the unseal key in bytes. A share of a split one has one byte more.
const UnsealKeySize = record.KeySize

// ErrShares is what a SharesError is.
var ErrShares = errors.New("seal: these shares cannot be combined")

// SharesError is returned by Combine for shares that cannot belong together: too few, of unequal or wrong
// length, or one of them twice. Shares that could belong together but do not combine to a wrong key.
type SharesError struct {
	// Reason is the text of the Shamir library, which Vault shows to its clients.
	Reason string
}

// Error implements error.
func (e *SharesError) Error() string { return ErrShares.Error() + ": " + e.Reason }

// Is makes it an ErrShares.
func (*SharesError) Is(target error) bool { return target == ErrShares }

// Shamir is the seal whose key operators hold in shares.
type Shamir struct {
	key secret.Key
	// place is where the root key is kept, so that what is kept elsewhere does not open.
	place string
}

// NewShamir returns the seal with the given unseal key of UnsealKeySize bytes.
func NewShamir(unseal secret.Key) *Shamir { return &Shamir{key: unseal, place: RootKeyPath} }

// newRecovery is NewShamir for the recovery key beside a seal that opens by itself.
func newRecovery(recovery secret.Key) *Shamir { return &Shamir{key: recovery, place: RecoveryKeyPath} }

// Type implements Seal.
func (*Shamir) Type() string { return TypeShamir }

// Wrap implements Seal.
func (s *Shamir) Wrap(_ context.Context, root secret.Key) ([]byte, error) {
	c, err := record.NewCipher(s.key, 0)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return c.Seal(root.Reveal(), []byte(s.place)), nil
}

// Unwrap implements Seal.
func (s *Shamir) Unwrap(_ context.Context, wrapped []byte) (secret.Key, error) {
	c, err := record.NewCipher(s.key, 0)
	if err != nil {
		// Shares of another length than ours.
		return secret.Key{}, fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	plain, err := c.Open(wrapped, []byte(s.place))
	switch {
	case errors.Is(err, record.ErrMalformed):
		return secret.Key{}, fmt.Errorf("%w: %s: %w", ErrCorrupt, s.place, err)
	case err != nil:
		return secret.Key{}, fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	defer clear(plain)
	return secret.New(plain), nil
}

// Split splits a key into shares of which threshold are needed; with one share, the share is the key. The
// limits are those of Config.
func Split(key secret.Key, shares, threshold int) ([]secret.Key, error) {
	if err := (Config{Type: TypeShamir, Shares: shares, Threshold: threshold}).Validate(); err != nil {
		return nil, err
	}
	if shares == 1 {
		return []secret.Key{key.Clone()}, nil
	}
	parts, err := shamir.Split(key.Reveal(), shares, threshold)
	if err != nil {
		return nil, fmt.Errorf("seal: split the key: %w", err)
	}
	split := make([]secret.Key, len(parts))
	for i, part := range parts {
		split[i] = secret.New(part)
		clear(part)
	}
	return split, nil
}

// Combine is the inverse of Split: it takes threshold shares, in any order. Wrong shares give a wrong key
// or ErrShares.
func Combine(shares []secret.Key) (secret.Key, error) {
	switch len(shares) {
	case 0:
		return secret.Key{}, &SharesError{Reason: "no shares"}
	case 1:
		return shares[0].Clone(), nil
	}
	parts := make([][]byte, len(shares))
	for i, share := range shares {
		parts[i] = share.Reveal()
	}
	key, err := shamir.Combine(parts)
	if err != nil {
		return secret.Key{}, &SharesError{Reason: err.Error()}
	}
	defer clear(key)
	return secret.New(key), nil
}
