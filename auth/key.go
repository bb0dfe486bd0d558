package auth

import (
	"crypto"
	"crypto/rsa"
	"errors"
)

// MaxRSABits bounds the keys of RSA that signatures are checked with, as crypto/tls does: a larger one would let each
// login cost whoever has to check it much.
const MaxRSABits = 8192

// ErrLargeKey is returned for a key of RSA of more than MaxRSABits.
var ErrLargeKey = errors.New("RSA keys of more than 8192 bits are not supported")

// CheckKey returns ErrLargeKey for a public key that is too large to check signatures with.
func CheckKey(key crypto.PublicKey) error {
	if k, ok := key.(*rsa.PublicKey); ok && k.N.BitLen() > MaxRSABits {
		return ErrLargeKey
	}
	return nil
}
