package kubernetes

import (
	"crypto"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"coffer/auth/strictjson"
	"coffer/engines"
)

const (
	// maxJWT bounds a token, in bytes. Kubernetes' own are about 1 KiB.
	maxJWT = 64 << 10
	// clockSkew is how far the clocks of cluster and server may differ.
	clockSkew = time.Minute
	// unstatedLife is how long a token without an end is good, or one without a beginning was, in seconds.
	unstatedLife = 150
)

// algorithms are the ways a token may be signed: only those whose verifying key cannot sign.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512,
}

// claims are what a token says. Until the API server has confirmed it, it is the client's word.
type claims struct {
	jwt.Claims
	account account
}

// account is a ServiceAccount, and the Secret that an old kind of token was kept in.
type account struct{ namespace, name, uid, secret string }

// accountClaims are the two forms in which tokens name their ServiceAccount: the bound one, and that of the
// tokens which used to be kept in Secrets.
type accountClaims struct {
	Bound *struct {
		Namespace string `json:"namespace"`
		Account   *struct {
			Name string `json:"name"`
			UID  string `json:"uid"`
		} `json:"serviceaccount"`
	} `json:"kubernetes.io"`
	Namespace string `json:"kubernetes.io/serviceaccount/namespace"`
	Name      string `json:"kubernetes.io/serviceaccount/service-account.name"`
	UID       string `json:"kubernetes.io/serviceaccount/service-account.uid"`
	Secret    string `json:"kubernetes.io/serviceaccount/secret.name"`
}

func (c *accountClaims) account() account {
	a := account{namespace: c.Namespace, name: c.Name, uid: c.UID, secret: c.Secret}
	if c.Bound != nil {
		a.namespace = c.Bound.Namespace
		if c.Bound.Account != nil {
			a.name, a.uid = c.Bound.Account.Name, c.Bound.Account.UID
		}
	}
	return a
}

// judged are the claims that decide about a login (RFC 7519, Kubernetes).
var judged = [...]string{"iss", "sub", "aud", "exp", "nbf", "iat", "kubernetes.io",
	"kubernetes.io/serviceaccount/namespace", "kubernetes.io/serviceaccount/service-account.name",
	"kubernetes.io/serviceaccount/service-account.uid", "kubernetes.io/serviceaccount/secret.name"}

// Why a token cannot be read. The text is for the log; the client is told no more than that it was refused.
var (
	errTooLong   = errors.New("longer than a ServiceAccount's token can be")
	errMalformed = errors.New("not a JWT signed with RSA or ECDSA")
	errSignature = errors.New("signed by none of pem_keys")
	errContents  = errors.New("claims of the wrong type")
	errUnsigned  = engines.Denied("invalid algorithm (alg) header parameter: token must be signed")
)

// parseJWT reads a token. With keys, one of them must have signed it. Its errors hold no part of the token.
func parseJWT(token engines.Token, keys []crypto.PublicKey) (*claims, error) {
	text := token.Reveal()
	if len(text) > maxJWT {
		return nil, errTooLong
	}
	parsed, err := jwt.ParseSigned(text, algorithms)
	if err != nil {
		return nil, errMalformed
	}
	if len(parsed.Headers) != 1 {
		return nil, errMalformed
	}
	c, names := new(claims), new(accountClaims)
	var payload json.RawMessage
	if len(keys) == 0 {
		err = parsed.UnsafeClaimsWithoutVerification(&payload, &c.Claims, names)
	} else {
		err = verify(parsed, keys, &payload, &c.Claims, names)
	}
	if err == nil {
		// go-jose matches keys exactly; others that read the token, such as the API server, need not.
		err = strictjson.Check(payload, judged[:]...)
	}
	if errors.Is(err, errSignature) {
		return nil, err
	}
	if err != nil {
		return nil, errContents
	}
	if strings.HasSuffix(text, ".") {
		return nil, errUnsigned
	}
	c.account = names.account()
	return c, nil
}

// verify fills claims once one of the keys has proved to be the signer's.
func verify(parsed *jwt.JSONWebToken, keys []crypto.PublicKey, claims ...any) error {
	for _, key := range keys {
		if parsed.Claims(key) == nil {
			return parsed.Claims(key, claims...)
		}
	}
	return errSignature
}

// check compares the claims with what is expected, in Vault's order and words. Empty expectations expect
// nothing.
func (c *claims) check(issuer, audience string, now time.Time) error {
	if issuer != "" && c.Issuer != issuer {
		return engines.Denied("invalid issuer (iss) claim")
	}
	if audience != "" && !slices.Contains(c.Audience, audience) {
		return engines.Denied("invalid audience (aud) claim: audience claim does not match any expected audience")
	}
	from, until, issued := seconds(c.NotBefore), seconds(c.Expiry), seconds(c.IssuedAt)
	if from == 0 && until == 0 && issued == 0 {
		return nil // tokens kept in Secrets are good until they are deleted
	}
	if until == 0 {
		until = max(from, issued) + unstatedLife
	}
	if from == 0 {
		if from = issued; from == 0 {
			from = until - unstatedLife
		}
	}
	early, late := now.Add(clockSkew), now.Add(-clockSkew)
	switch {
	case early.Before(time.Unix(from, 0)):
		return engines.Denied("invalid not before (nbf) claim: token not yet valid")
	case late.After(time.Unix(until, 0)):
		return engines.Denied("invalid expiration time (exp) claim: token is expired")
	case early.Before(time.Unix(issued, 0)):
		return engines.Denied("invalid issued at (iat) claim: token issued in the future")
	default:
		return nil
	}
}

// farAway is a time, in seconds of Unix, from which arithmetic stays in range.
const farAway = 1 << 50

func seconds(d *jwt.NumericDate) int64 {
	if d == nil {
		return 0
	}
	return max(-farAway, min(farAway, int64(*d)))
}
