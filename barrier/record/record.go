// Package record is the form of every encrypted value that coffer stores:
//
//	version (1 byte, 1) | term of the key (4 bytes, big endian) | nonce (12) | AES-256-GCM ciphertext and tag
//
// The associated data is the place of the value, so that one moved elsewhere does not open.
package record

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"coffer/barrier/secret"
)

const (
	// KeySize is the length of a key in bytes: AES-256.
	KeySize = 32
	// Overhead is what a record is longer than its plaintext, in bytes.
	Overhead = headerSize + nonceSize + tagSize

	version    = 1
	headerSize = 1 + 4
	nonceSize  = 12
	tagSize    = 16
)

// Errors of this package.
var (
	// ErrKeySize is returned by NewCipher for a key that has not KeySize bytes.
	ErrKeySize = errors.New("record: a key must have 32 bytes")
	// ErrMalformed is returned for bytes that are no record of a known version.
	ErrMalformed = errors.New("record: not an encrypted record")
	// ErrAuthentication is returned when a record does not open: another key, another place, or changed.
	ErrAuthentication = errors.New("record: wrong key, or the record was changed or moved")
)

// Cipher seals and opens records with one key. It is safe for concurrent use.
type Cipher struct {
	aead cipher.AEAD
	term uint32
}

// NewCipher returns the cipher of a key of KeySize bytes. The term is written into each record; a reader
// finds the key by it.
func NewCipher(key secret.Key, term uint32) (*Cipher, error) {
	if key.Len() != KeySize {
		return nil, ErrKeySize
	}
	block, err := aes.NewCipher(key.Reveal())
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &Cipher{aead: aead, term: term}, nil
}

// Seal returns the record of plaintext with a fresh random nonce. One key may seal 2^32 records at most
// (NIST SP 800-38D, 8.3).
func (c *Cipher) Seal(plaintext, place []byte) []byte {
	const prefix = headerSize + nonceSize
	data := make([]byte, prefix, len(plaintext)+Overhead)
	data[0] = version
	binary.BigEndian.PutUint32(data[1:], c.term)
	_, _ = rand.Read(data[headerSize:prefix]) // never returns an error
	return c.aead.Seal(data, data[headerSize:prefix], plaintext, place)
}

// Open returns the plaintext of a record, which it writes over data; data and place must not overlap. It
// does not look at the term.
func (c *Cipher) Open(data, place []byte) ([]byte, error) {
	if _, err := Term(data); err != nil {
		return nil, err
	}
	nonce, ciphertext := data[headerSize:headerSize+nonceSize], data[headerSize+nonceSize:]
	plaintext, err := c.aead.Open(ciphertext[:0], nonce, ciphertext, place)
	if err != nil {
		return nil, ErrAuthentication
	}
	return plaintext, nil
}

// Term returns the term of the key that opens the record.
func Term(data []byte) (uint32, error) {
	if len(data) < Overhead || data[0] != version {
		return 0, ErrMalformed
	}
	return binary.BigEndian.Uint32(data[1:]), nil
}
