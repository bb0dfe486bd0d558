package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"coffer/barrier/record"
	"coffer/barrier/secret"
)

// MaxKeyText is how many bytes a text or a file with a key may have.
const MaxKeyText = 1 << 10

// ErrKeyText is returned for what is no key. Its text tells the length and nothing else of it.
var ErrKeyText = errors.New("expected a key of 32 bytes as hex (64 digits) or base64 (44 characters)")

// ParseKey returns the key that text is in hex or base64 (of either alphabet, padded or not). Space around it
// does not count. The caller zeroes the key.
func ParseKey(text []byte) (secret.Key, error) {
	if len(text) > MaxKeyText {
		return secret.Key{}, fmt.Errorf("%w, got more than %d bytes", ErrKeyText, MaxKeyText)
	}
	text = bytes.TrimSpace(text)
	plain := make([]byte, MaxKeyText)
	defer clear(plain)
	if hex.DecodedLen(len(text)) == record.KeySize {
		if n, err := hex.Decode(plain, text); err == nil && n == record.KeySize {
			return secret.New(plain[:n]), nil
		}
	}
	for _, encoding := range []*base64.Encoding{
		base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding,
	} {
		n, err := encoding.Strict().Decode(plain, text)
		switch {
		case err != nil:
			continue
		case n != record.KeySize:
			return secret.Key{}, fmt.Errorf("%w, got %d characters", ErrKeyText, len(text))
		}
		return secret.New(plain[:n]), nil
	}
	return secret.Key{}, fmt.Errorf("%w, got %d characters of something else", ErrKeyText, len(text))
}

// ParseKeyFile is ParseKey for what a file holds, which may also be the 32 bytes themselves.
func ParseKeyFile(content []byte) (secret.Key, error) {
	if len(content) != record.KeySize || isText(content) {
		return ParseKey(content)
	}
	return secret.New(content), nil
}

// isText reports whether content is made of base64's characters alone, as hex is too: 32 of them are a key
// of 16 or 24 bytes. That 32 random bytes look like this does not happen (2^-62).
func isText(content []byte) bool {
	for _, c := range content {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case c == '+', c == '/', c == '-', c == '_', c == '=', c == '\n', c == '\r':
		default:
			return false
		}
	}
	return true
}
