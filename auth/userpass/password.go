package userpass

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"coffer/engines"
)

const (
	// hashSize is the length of every bcrypt hash.
	hashSize = 60
	// maxCost bounds the work of hashes that are brought along: this one takes some seconds, and each step
	// doubles it.
	maxCost = 16
	// maxPassword is how much of a password bcrypt looks at, in bytes.
	maxPassword = 72
)

var (
	errBoth    = engines.Invalid("%q and %q cannot be supplied together", "password", "password_hash")
	errNeither = engines.Invalid("%q or %q must be supplied", "password", "password_hash")
)

// passwordParams are a password or the hash of one.
type passwordParams struct {
	Password     string `param:"password" help:"Password, at most 72 bytes."`
	PasswordHash string `param:"password_hash" help:"bcrypt hash of a password, instead of it."`
}

func (p passwordParams) both() bool { return p.Password != "" && p.PasswordHash != "" }
func (p passwordParams) none() bool { return p.Password == "" && p.PasswordHash == "" }

// hash returns the hash to store. Its errors are in Vault's words.
func (p passwordParams) hash(ctx context.Context, client netip.Addr, h *Hasher) ([]byte, error) {
	if p.PasswordHash == "" {
		if len(p.Password) > maxPassword {
			return nil, internal("bcrypt: password length exceeds 72 bytes")
		}
		return h.Hash(ctx, client, []byte(p.Password))
	}
	if err := checkHash(p.PasswordHash); err != nil {
		return nil, internal(err.Error())
	}
	return []byte(p.PasswordHash), nil
}

// checkHash refuses what is no bcrypt hash, or one that is too much work.
func checkHash(hash string) error {
	if len(hash) != hashSize {
		return errors.New("password hash has incorrect length")
	}
	switch {
	case strings.HasPrefix(hash, "$2a$"), strings.HasPrefix(hash, "$2b$"), strings.HasPrefix(hash, "$2y$"):
	default:
		return errors.New("password hash has incorrect prefix")
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return errors.New("password hash has an incorrect cost")
	}
	if cost > maxCost {
		return errors.New("password hash has a cost above 16")
	}
	return nil
}
