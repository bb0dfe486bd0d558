package jwt

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// errNoKey is also Vault's answer to a payload that holds no claims.
var errNoKey = errors.New("no known key successfully validated the token signature")

// staticKeys are the public keys of the configuration.
type staticKeys []crypto.PublicKey

// verify implements keySet.
func (k staticKeys) verify(_ context.Context, token *signed) ([]byte, error) {
	if token.err != nil && !token.alien {
		return nil, token.err
	}
	for _, key := range k {
		if token.alien {
			break
		}
		if payload, err := token.jws.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errNoKey
}

// How a JWKS is kept.
const (
	// refreshAfter is the age at which a set is fetched anew before it is used.
	refreshAfter = 15 * time.Minute
	// keptFor is how long a set is used while its server does not answer.
	keptFor = 24 * time.Hour
	// fetchBurst is how many fetches may follow upon each other, and fetchEvery how soon there may be a
	// further one: tokens with made-up key names must not become a flood upon somebody else's server.
	fetchBurst = 5
	fetchEvery = 10 * time.Second
	// maxKeys bounds a set; each key may cost a signature check.
	maxKeys = 200
)

// remoteKeys is a JWKS at a URL. It is fetched when it is needed, when it has become old, and when a token names
// a key that it does not have.
type remoteKeys struct {
	// ctx bounds the fetches, which outlive the requests that cause them.
	ctx    context.Context
	url    string
	client *client
	now    func() time.Time

	mu      sync.Mutex
	keys    []jose.JSONWebKey // Guarded by mu, as all below; replaced, never changed.
	fetched time.Time
	failed  error // of the last fetch
	bucket  bucket
	flight  *flight
}

// flight is a fetch that is under way. Its results are there once done is closed.
type flight struct {
	done chan struct{}
	keys []jose.JSONWebKey
	err  error
}

func newRemoteKeys(ctx context.Context, url string, client *client, now func() time.Time) *remoteKeys {
	return &remoteKeys{ctx: ctx, url: url, client: client, now: now, bucket: bucket{tokens: fetchBurst}}
}

var errSignature = errors.New("failed to verify id token signature")

// verify implements keySet.
func (r *remoteKeys) verify(ctx context.Context, token *signed) ([]byte, error) {
	if token.err != nil {
		return nil, fmt.Errorf("oidc: malformed jwt: %w", token.err)
	}
	keys, fresh, err := r.current(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetching keys %w", err)
	}
	if payload := verifyWith(keys, token); payload != nil {
		return payload, nil
	}
	if fresh {
		return nil, errSignature
	}
	if keys, err = r.fetch(ctx); err != nil {
		return nil, fmt.Errorf("fetching keys %w", err)
	}
	if payload := verifyWith(keys, token); payload != nil {
		return payload, nil
	}
	return nil, errSignature
}

// verifyWith returns the payload, or nil when none of the keys has signed the token.
func verifyWith(keys []jose.JSONWebKey, token *signed) []byte {
	id := token.header().KeyID
	for i := range keys {
		if id != "" && keys[i].KeyID != id {
			continue
		}
		if payload, err := token.jws.Verify(&keys[i]); err == nil {
			return payload
		}
	}
	return nil
}

// current returns the set, fetching it when there is none or it is old. Fresh tells that it was just fetched.
func (r *remoteKeys) current(ctx context.Context) (keys []jose.JSONWebKey, fresh bool, err error) {
	r.mu.Lock()
	keys, age := r.keys, r.now().Sub(r.fetched)
	r.mu.Unlock()
	if keys != nil && age < refreshAfter {
		return keys, false, nil
	}
	fetched, err := r.fetch(ctx)
	if err != nil && keys != nil && age < keptFor && ctx.Err() == nil {
		return keys, true, nil
	}
	return fetched, true, err
}

// errTooOften is returned when the set was asked for too often and no earlier fetch says why.
var errTooOften = errors.New("keys were fetched too often, try again later")

// fetch gets the set anew. Those who ask while a fetch is under way share it.
func (r *remoteKeys) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	r.mu.Lock()
	f := r.flight
	if f == nil {
		if !r.bucket.take(r.now()) {
			defer r.mu.Unlock()
			if r.failed == nil && r.keys != nil {
				return r.keys, nil
			}
			return nil, errors.Join(r.failed, errTooOften)
		}
		f = &flight{done: make(chan struct{})}
		r.flight = f
		go r.run(f)
	}
	r.mu.Unlock()
	select {
	case <-f.done:
		return f.keys, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *remoteKeys) run(f *flight) {
	f.keys, f.err = r.get()
	r.mu.Lock()
	if r.failed = f.err; f.err == nil {
		r.keys, r.fetched = f.keys, r.now()
	}
	r.flight = nil
	r.mu.Unlock()
	close(f.done)
}

func (r *remoteKeys) get() ([]jose.JSONWebKey, error) {
	body, err := r.client.get(r.ctx, r.url)
	if err != nil {
		return nil, fmt.Errorf("oidc: get keys failed: %w", err)
	}
	return parseJWKS(body)
}

// parseJWKS reads a set and keeps of it the keys that can check signatures. Keys of kinds that are not known here
// are left out, as RFC 7517 asks.
func parseJWKS(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("oidc: failed to decode keys")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("oidc: more than %d keys", maxKeys)
	}
	keys := make([]jose.JSONWebKey, 0, len(set.Keys))
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := json.Unmarshal(raw, &key); err != nil || !key.Valid() || !key.IsPublic() || key.Use == "enc" {
			continue
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// bucket limits how often something happens.
type bucket struct {
	tokens int
	since  time.Time // when the last token was put in
}

// take reports whether it may happen now.
func (b *bucket) take(now time.Time) bool {
	if n := int(now.Sub(b.since) / fetchEvery); b.tokens >= fetchBurst || n >= fetchBurst {
		b.tokens, b.since = max(b.tokens, min(n, fetchBurst)), now
	} else if n > 0 {
		b.tokens, b.since = min(b.tokens+n, fetchBurst), b.since.Add(time.Duration(n)*fetchEvery)
	}
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}
