package token

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"coffer/engines"
	"coffer/storage"
)

// Where the store's keys live in the barrier.
const (
	root         = "sys/token/"
	keysKey      = root + "keys"
	entryFolder  = root + "id/"
	parentFolder = root + "parent/" // + id of the parent + "/" + id of the child
	roleFolder   = root + "roles/"
)

// Prefixes of tokens.
const (
	servicePrefix = "hvs."
	batchPrefix   = "hvb."
	legacyPrefix  = "s."
)

const keySize = 32

// keys are the secrets of the store; they never leave the barrier and this struct.
type keys struct {
	id    [keySize]byte // HMAC-SHA256 of a token's text gives its accessor, and of that its id
	batch [keySize]byte // batch tokens are encrypted under keys derived from it
}

func openKeys(ctx context.Context, store storage.Storage) (k keys, err error) {
	b, err := store.Get(ctx, keysKey)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		b = make([]byte, 1+2*keySize)
		b[0] = recordVersion
		_, _ = rand.Read(b[1:]) // never fails (crypto/rand)
		if err := store.Apply(ctx, storage.Put(keysKey, b)); err != nil {
			return k, fmt.Errorf("%s: %w", keysKey, err)
		}
	case err != nil:
		return k, fmt.Errorf("%s: %w", keysKey, err)
	case len(b) != 1+2*keySize || b[0] != recordVersion:
		return k, fmt.Errorf("%s: %w", keysKey, ErrCorrupt)
	}
	copy(k.id[:], b[1:])
	copy(k.batch[:], b[1+keySize:])
	clear(b)
	return k, nil
}

const idLength = 1 + 2*sha256.Size

// idOf is the name under which a service token is kept.
func (k *keys) idOf(t engines.Token) string { return k.idOfAccessor(k.accessorOf(t)) }

// accessorOf is the token's accessor: 24 digits of base 62 of the keyed hash of its text, some 142 bits.
func (k *keys) accessorOf(t engines.Token) string {
	sum := k.hash("token", t.Reveal())
	var accessor [shortText]byte
	for i := range accessor {
		accessor[i] = base62Digits[sum[i]%62]
	}
	return string(accessor[:])
}

// idOfAccessor leads from the accessor to the id without a record that says so: "h" and the keyed hash.
func (k *keys) idOfAccessor(accessor string) string {
	sum := k.hash("accessor", accessor)
	var id [idLength]byte
	id[0] = 'h'
	hex.Encode(id[1:], sum[:])
	return string(id[:])
}

// hash is HMAC-SHA256 (RFC 2104) of the text; what it is the hash of keeps the uses apart.
func (k *keys) hash(what, text string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, k.id[:])
	mac.Write([]byte(what))
	mac.Write([]byte{0})
	mac.Write([]byte(text))
	mac.Sum(sum[:0])
	return sum
}

// idOfLease takes the token's id from the id of its lease.
func idOfLease(leaseID string) (id string, ok bool) {
	id = leaseID[strings.LastIndexByte(leaseID, '/')+1:]
	if len(id) != idLength || id[0] != 'h' {
		return "", false
	}
	_, err := hex.DecodeString(id[1:])
	return id, err == nil
}

func entryKey(id string) string             { return entryFolder + id }
func parentKey(parent, id string) string    { return parentFolder + parent + "/" + id }
func (s *Store) cubbyhole(id string) string { return s.cfg.CubbyholePrefix + id + "/" }

// Lengths of the texts that are made here. Vault's service tokens have 95 characters; root tokens and
// accessors have 24 of base 62, and generate-root's one-time password counts on it.
const (
	shortText   = 24
	serviceText = 68 // bytes, 91 characters of base64
)

// newServiceToken makes the text of a token: short for root tokens, as Vault's are.
func newServiceToken(short bool) engines.Token {
	if short {
		return engines.NewToken(servicePrefix + base62(shortText))
	}
	var b [serviceText]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return engines.NewToken(servicePrefix + base64.RawURLEncoding.EncodeToString(b[:]))
}

const base62Digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// base62 returns n random digits, each equally likely.
func base62(n int) string {
	out := make([]byte, 0, n)
	var b [2 * shortText]byte
	for {
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		for _, v := range b {
			if v >= 4*62 {
				continue
			}
			if out = append(out, base62Digits[v%62]); len(out) == n {
				return string(out)
			}
		}
	}
}
