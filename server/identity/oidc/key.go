package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
)

// defaultKey is there from the beginning. It is made when it is needed first: an RSA key takes a while.
const defaultKey = "default"

// clockSlack is how far the clock may go back between two starts.
const clockSlack = 5 * time.Minute

// anyClient in a key's list of clients stands for all.
const anyClient = "*"

// Defaults of a key, and the bounds of its settings.
const (
	defaultPeriod = 24 * time.Hour
	minPeriod     = time.Minute
	maxPeriod     = 100 * 365 * 24 * time.Hour
	maxPeriods    = 10
	// maxRetired bounds how many old keys are published; the oldest go first.
	maxRetired = 100
)

func newDefaultKey() *namedKey {
	return &namedKey{
		Name: defaultKey, Algorithm: string(jose.RS256), Rotation: defaultPeriod, Verification: defaultPeriod,
		Clients: []string{anyClient},
	}
}

// algorithms make keys, by the names that clients know. Only read.
var algorithms = map[string]func() (crypto.Signer, error){ //nolint:gochecknoglobals // a table
	string(jose.RS256): newRSA, string(jose.RS384): newRSA, string(jose.RS512): newRSA,
	string(jose.ES256): func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
	string(jose.ES384): func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
	string(jose.ES512): func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
	string(jose.EdDSA): func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	},
}

const rsaBits = 2048

func newRSA() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, rsaBits) }

// algorithmNames are the algorithms in the order in which discovery lists them.
func algorithmNames() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	}
}

func newJWK(algorithm string) (*jose.JSONWebKey, error) {
	key, err := algorithms[algorithm]()
	if err != nil {
		return nil, fmt.Errorf("oidc: make a %s key: %w", algorithm, err)
	}
	return &jose.JSONWebKey{
		Key: key, Algorithm: algorithm, Use: "sig",
		KeyID: uuid.NewString(),
	}, nil
}

// allows reports whether a role with that client id may use the key.
func (k *namedKey) allows(client string) bool {
	return slices.Contains(k.Clients, anyClient) || slices.Contains(k.Clients, client)
}

// filled returns the key with something to sign with now and next.
func (k *namedKey) filled(now time.Time) (*namedKey, error) {
	if k.Signing != nil {
		return k, nil
	}
	c := *k
	var err error
	if c.Signing, err = newJWK(c.Algorithm); err != nil {
		return nil, err
	}
	c.Next, err = newJWK(c.Algorithm)
	c.Due = now.Add(c.Rotation)
	return &c, err
}

// rotated returns the key with its next one signing; the old one is published for verification from now.
func (k *namedKey) rotated(now time.Time, verification time.Duration) (*namedKey, error) {
	c, err := k.filled(now)
	if err != nil || c != k {
		return c, err
	}
	r := *k
	r.Retired = slices.DeleteFunc(slices.Clone(k.Retired), func(old retiredKey) bool { return !now.Before(old.Expires) })
	r.Retired = append(r.Retired, retiredKey{Key: k.Signing.Public(), Expires: now.Add(verification)})
	r.Retired = r.Retired[max(0, len(r.Retired)-maxRetired):]
	r.Signing = k.Next
	r.Next, err = newJWK(k.Algorithm)
	r.Due = now.Add(k.Rotation)
	return &r, err
}

// current makes a key ready to sign: made when it never was, rotated when that is due. Keys rotate when
// they are used, so there is nothing to do for those that nobody uses.
func (s *Store) current(ctx context.Context, name string) (*namedKey, error) {
	now := s.cfg.Now()
	// A key that is due later than a whole rotation from now was made under a clock that was wrong.
	ready := func(k *namedKey) bool {
		return k == nil || (k.Signing != nil && now.Before(k.Due) && !k.Due.After(now.Add(k.Rotation+clockSlack)))
	}
	var k *namedKey
	if err := s.view(ctx, func() { k = s.keys[name] }); err != nil || ready(k) {
		return k, err
	}
	err := s.change(ctx, func(e *edit) error {
		if k = s.keys[name]; ready(k) {
			return nil
		}
		next, err := k.rotated(now, k.Verification)
		if err != nil {
			return err
		}
		k = next
		return s.putKey(e, next)
	})
	return k, err
}

// public are the keys with which signatures are verified at now.
func (k *namedKey) public(now time.Time) []jose.JSONWebKey {
	var keys []jose.JSONWebKey
	if k.Signing != nil {
		keys = append(keys, k.Signing.Public(), k.Next.Public())
	}
	for _, old := range k.Retired {
		if now.Before(old.Expires) {
			keys = append(keys, old.Key)
		}
	}
	return keys
}
