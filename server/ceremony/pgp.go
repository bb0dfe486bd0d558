package ceremony

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp"

	"coffer/barrier/secret"
)

// pgpKey is an operator's public key.
type pgpKey struct {
	entity *openpgp.Entity
}

// parsePGPKey is what pgpReader.key promises.
func parsePGPKey(text string) (pgpKey, error) {
	if base64.StdEncoding.DecodedLen(len(text)) > maxPGPKey+2 { // up to two bytes are padding
		return pgpKey{}, invalid("error parsing given PGP key: %v", errTooLarge)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return pgpKey{}, invalid("error decoding given PGP key: %v", err)
	}
	entity, err := readEntity(raw)
	if err != nil {
		return pgpKey{}, invalid("error parsing given PGP key: %v", err)
	}
	key := pgpKey{entity}
	if _, err := key.encrypt(nil); err != nil {
		return pgpKey{}, invalid("error encrypting with given PGP key: %v", err)
	}
	return key, nil
}

// fingerprint is in lower-case hex.
func (k pgpKey) fingerprint() string { return hex.EncodeToString(k.entity.PrimaryKey.Fingerprint) }

// fingerprints returns nil for no keys: clients see null.
func fingerprints(keys []pgpKey) []string {
	var prints []string
	for _, key := range keys {
		prints = append(prints, key.fingerprint())
	}
	return prints
}

func (k pgpKey) encrypt(plaintext []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := openpgp.Encrypt(&out, []*openpgp.Entity{k.entity}, nil, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("ceremony: encrypt for a PGP key: %w", err)
	}
	if _, err := w.Write(plaintext); err != nil {
		return nil, fmt.Errorf("ceremony: encrypt for a PGP key: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("ceremony: encrypt for a PGP key: %w", err)
	}
	return out.Bytes(), nil
}

// ShareList is shares as clients get them: as they are, or encrypted each for one PGP key. What is
// encrypted is a share's hex text.
type ShareList struct {
	// Keys are in hex, KeysBase64 the same in base64.
	Keys       []string `json:"keys"`
	KeysBase64 []string `json:"keys_base64"`
}

// noShares is the list where there are none: clients see empty lists.
func noShares() ShareList { return ShareList{Keys: []string{}, KeysBase64: []string{}} }

// newShareList encrypts each share for the key of the same place; without keys it encrypts nothing.
func newShareList(ctx context.Context, shares []secret.Key, keys []pgpKey) (ShareList, error) {
	var list ShareList
	for i, share := range shares {
		b := share.Reveal()
		if len(keys) > 0 {
			if err := ctx.Err(); err != nil {
				return ShareList{}, err
			}
			text := hex.AppendEncode(nil, b)
			var err error
			b, err = keys[i].encrypt(text)
			clear(text)
			if err != nil {
				return ShareList{}, err
			}
		}
		list.Keys = append(list.Keys, hex.EncodeToString(b))
		list.KeysBase64 = append(list.KeysBase64, base64.StdEncoding.EncodeToString(b))
	}
	return list, nil
}
