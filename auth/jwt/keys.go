package jwt

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"coffer/auth/strictjson"
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

// remoteKeys is a JWKS at a URL. It is fetched when it is needed, when it has become old, and for a token that none
// of its keys has signed.
type remoteKeys struct {
	asker
	url string
	// group makes those who wait for a fetch share it.
	group singleflight.Group

	mu      sync.Mutex
	keys    []jose.JSONWebKey // Guarded by mu, as below; replaced, never changed.
	fetched time.Time
	bucket  bucket
}

// asker is what is needed to ask a provider.
type asker struct {
	// ctx bounds what is asked, which outlives the requests that want to know.
	ctx    context.Context
	client *client
	logger *slog.Logger
	// now is the time of what is kept here, wall that of tokens.
	now, wall func() time.Time
}

func newRemoteKeys(a asker, url string) *remoteKeys {
	return &remoteKeys{asker: a, url: url, bucket: bucket{tokens: fetchBurst}}
}

var errSignature = errors.New("failed to verify id token signature")

// verify implements keySet.
func (r *remoteKeys) verify(ctx context.Context, token *signed) ([]byte, error) {
	if token.err != nil {
		return nil, fmt.Errorf("oidc: malformed jwt: %w", token.err)
	}
	keys, fresh, err := r.current(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	if payload := verifyWith(keys, token); payload != nil {
		return payload, nil
	}
	if fresh {
		return nil, errSignature
	}
	if keys, err = r.fetch(ctx); err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
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

// What a client is told of keys that cannot be had; the log has the reason.
var (
	errNoKeys   = errors.New("the keys cannot be fetched")
	errTooOften = errors.New("the keys were fetched too often, try again later")
)

// fetch gets the set anew, or returns the present one when it was fetched too often.
func (r *remoteKeys) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	return share(ctx, &r.group, r.refresh)
}

// share calls do, once for all who ask meanwhile, and waits for it as long as ctx lives.
func share[T any](ctx context.Context, g *singleflight.Group, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	select {
	case r := <-g.DoChan("", func() (any, error) { value, err := do(); return result{value, err}, nil }):
		done, ok := r.Val.(result)
		if !ok {
			return none, fmt.Errorf("jwt: shared result %T", r.Val)
		}
		return done.value, done.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (r *remoteKeys) refresh() ([]jose.JSONWebKey, error) {
	r.mu.Lock()
	keys, allowed := r.keys, r.bucket.take(r.now())
	r.mu.Unlock()
	switch {
	case !allowed && keys == nil:
		return nil, errTooOften
	case !allowed:
		return keys, nil
	}
	body, err := r.client.get(r.ctx, r.url)
	if err == nil {
		keys, err = parseJWKS(body)
	}
	if err != nil {
		r.logger.Warn("keys cannot be fetched", "url", r.url, "error", err)
		return nil, errNoKeys
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.fetched = keys, r.now()
	return keys, nil
}

// parseJWKS reads a set and keeps of it the keys that can check signatures. Keys of kinds that are not known here
// are left out, as RFC 7517 asks; and go-jose knows none of RSA above jose.MaxRSAModulusBits.
func parseJWKS(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := strictjson.Unmarshal(body, &set); err != nil {
		return nil, errors.New("oidc: failed to decode keys")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("oidc: more than %d keys", maxKeys)
	}
	keys := make([]jose.JSONWebKey, 0, len(set.Keys))
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := strictjson.Unmarshal(raw, &key); err != nil || !key.Valid() || !key.IsPublic() || key.Use == "enc" {
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
