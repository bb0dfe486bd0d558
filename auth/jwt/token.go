package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"coffer/auth/strictjson"
)

// maxToken bounds the text of a token, in bytes. Those of the busiest providers have a few thousand.
const maxToken = 128 << 10

// Leeways where a role has none.
const (
	defaultLeeway = 150 * time.Second
	defaultSkew   = 60 * time.Second
)

// algorithms are all that a token may be signed with. None of them takes a shared secret: a public key must
// never serve as one.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512,
		jose.PS256, jose.PS384, jose.PS512, jose.EdDSA,
	}
}

func algorithmNames() []string {
	var names []string
	for _, a := range algorithms() {
		names = append(names, string(a))
	}
	return names
}

// keySet knows keys that sign tokens. It is safe for concurrent use.
type keySet interface {
	// verify returns the payload when one of the keys has signed the token; else an error that is a text for
	// the client.
	verify(ctx context.Context, token *signed) ([]byte, error)
}

// signed is a token whose signature nobody has checked.
type signed struct {
	jws *jose.JSONWebSignature
	// err is why there is no jws; alien tells an algorithm that no key here can have.
	err   error
	alien bool
}

// parseToken reads the outer form of a token. What is wrong with it is told by the key sets, each in its words.
func parseToken(text string) *signed {
	if len(text) > maxToken {
		return &signed{err: fmt.Errorf("token is longer than %d bytes", maxToken)}
	}
	jws, err := jose.ParseSignedCompact(text, algorithms())
	var unexpected *jose.ErrUnexpectedSignatureAlgorithm
	return &signed{jws: jws, err: err, alien: errors.As(err, &unexpected)}
}

// header is the token's protected header; only for a token with a jws.
func (s *signed) header() jose.Header { return s.jws.Signatures[0].Header }

// expected is what a token must be besides signed.
type expected struct {
	issuer, subject string
	audiences       []string
	algorithms      []string
	leeways         leeways
	now             time.Time
}

// validate returns the claims of a token that one of the keys has signed and that is as expected. Its errors are
// texts for the client.
func validate(ctx context.Context, text string, keys []keySet, want *expected) (map[string]any, error) {
	token := parseToken(text)
	payload, err := verifyAny(ctx, token, keys)
	if err != nil {
		return nil, fmt.Errorf("error verifying token signature: %w", err)
	}
	claims, err := decodeClaims(payload)
	if err != nil {
		return nil, fmt.Errorf("error verifying token signature: %w", errNoKey)
	}
	if len(want.algorithms) > 0 && !slices.Contains(want.algorithms, token.header().Algorithm) {
		return nil, errors.New("invalid algorithm (alg) header parameter: token signed with unexpected algorithm")
	}
	var known josejwt.Claims
	// No other spelling of a claim in it passed decodeClaims.
	if err := json.Unmarshal(payload, &known); err != nil {
		return nil, err
	}
	return claims, want.check(&known)
}

func verifyAny(ctx context.Context, token *signed, keys []keySet) (payload []byte, err error) {
	err = errors.New("there are no keys")
	for _, k := range keys {
		if payload, err = k.verify(ctx, token); err == nil {
			return payload, nil
		}
	}
	return nil, err
}

// judged are the claims that the login itself looks at, in tokens, ID tokens and answers about users (RFC 7519, OpenID
// Connect Core). Libraries read some of them without regard to case, so no other spelling of them may stand in a token.
var judged = [...]string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "nonce", "azp", "auth_time", "at_hash", "acr"}

// decodeClaims reads a payload: one JSON object, numbers as they are written.
func decodeClaims(payload []byte) (map[string]any, error) {
	return strictjson.Object(payload, judged[:]...)
}

func (e *expected) check(c *josejwt.Claims) error {
	if e.issuer != "" && e.issuer != c.Issuer {
		return errors.New("invalid issuer (iss) claim")
	}
	if e.subject != "" && e.subject != c.Subject {
		return errors.New("invalid subject (sub) claim")
	}
	if len(e.audiences) > 0 && !slices.ContainsFunc(e.audiences, c.Audience.Contains) {
		return errors.New("invalid audience (aud) claim: audience claim does not match any expected audience")
	}
	return e.checkTimes(c)
}

// checkTimes copies the rules of Vault's login: one of the three times must be there, and what is missing is
// derived from the others with a leeway.
func (e *expected) checkTimes(c *josejwt.Claims) error {
	issued, expires, begins := seconds(c.IssuedAt), seconds(c.Expiry), seconds(c.NotBefore)
	if issued == 0 && expires == 0 && begins == 0 {
		return errors.New("no issued at (iat), not before (nbf), or expiration time (exp) claims in token")
	}
	if expires == 0 {
		expires = max(issued, begins) + int64(leeway(e.leeways.Expiration, defaultLeeway)/time.Second)
	}
	if begins == 0 {
		begins = issued
		if issued == 0 {
			begins = expires - int64(leeway(e.leeways.NotBefore, defaultLeeway)/time.Second)
		}
	}
	skew := leeway(e.leeways.ClockSkew, defaultSkew)
	// Compared as numbers: time.Time wraps around at the ends of what a claim can hold.
	early, late := e.now.Add(skew).Unix(), e.now.Add(-skew).Add(time.Second-time.Nanosecond).Unix()
	switch {
	case early < begins:
		return errors.New("invalid not before (nbf) claim: token not yet valid")
	case late > expires:
		return errors.New("invalid expiration time (exp) claim: token is expired")
	case early < issued:
		return errors.New("invalid issued at (iat) claim: token issued in the future")
	}
	return nil
}

func seconds(d *josejwt.NumericDate) int64 {
	if d == nil {
		return 0
	}
	return int64(*d)
}

// leeway is what a setting means: 0 the usual, below 0 none.
func leeway(set, usual time.Duration) time.Duration {
	switch {
	case set < 0:
		return 0
	case set == 0:
		return usual
	default:
		return set
	}
}
