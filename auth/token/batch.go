package token

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"coffer/engines"
)

// A batch token is "hvb." and the unpadded base64url of: version byte, salt, AES-256-GCM ciphertext of
// the record. Each token has a key of its own, the HMAC-SHA256 of its salt, so the nonce can be zero and
// no number of tokens wears a key out (NIST SP 800-38D, section 8.3).
const (
	batchVersion = 1
	batchSalt    = 24
)

func (k *keys) batchCipher(salt []byte) (cipher.AEAD, error) {
	mac := hmac.New(sha256.New, k.batch[:])
	mac.Write(salt)
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// sealBatch makes the text of a batch token.
func (k *keys) sealBatch(e *Entry) (engines.Token, error) {
	plain, err := e.encode()
	if err != nil {
		return engines.Token{}, err
	}
	header := make([]byte, 1+batchSalt)
	header[0] = batchVersion
	_, _ = rand.Read(header[1:]) // never fails (crypto/rand)
	aead, err := k.batchCipher(header[1:])
	if err != nil {
		return engines.Token{}, err
	}
	// The key is derived anew for each token, so the nonce may be the same.
	sealed := aead.Seal(header, make([]byte, aead.NonceSize()), plain, header) //nolint:gosec // see above
	return engines.NewToken(batchPrefix + base64.RawURLEncoding.EncodeToString(sealed)), nil
}

// openBatch returns the entry in a batch token. It does not look at the time.
func (k *keys) openBatch(t engines.Token) (*Entry, error) {
	text := t.Reveal()
	if len(text) > maxToken || !t.HasPrefix(batchPrefix) {
		return nil, ErrBadToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text[len(batchPrefix):])
	if err != nil || len(b) < 1+batchSalt || b[0] != batchVersion {
		return nil, ErrBadToken
	}
	header, sealed := b[:1+batchSalt], b[1+batchSalt:]
	aead, err := k.batchCipher(header[1:])
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed, header)
	if err != nil {
		return nil, ErrBadToken
	}
	e, err := decode("", plain)
	if err != nil {
		return nil, fmt.Errorf("batch token: %w", err)
	}
	return e.withToken(t), nil
}
