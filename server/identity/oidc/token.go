package oidc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"coffer/server/identity"
)

// sign makes the token of a holder as a role says, and tells for how long it is good.
func sign(k *namedKey, r *role, who *identity.Holder, issuer string, now time.Time) (string, error) {
	claims, err := claimsOf(r.Template, who, now)
	if err != nil {
		return "", err
	}
	all := make(map[string]any, len(claims)+6)
	for name, value := range claims {
		all[name] = value
	}
	all["iss"], all["sub"], all["aud"], all["namespace"] = issuer, who.EntityID(), r.Client, "root"
	all["iat"], all["exp"] = now.Unix(), now.Add(r.TTL).Unix()
	signing := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.Signing.Algorithm), Key: k.Signing}
	signer, err := jose.NewSigner(signing, nil)
	if err != nil {
		return "", fmt.Errorf("oidc: key %s: %w", k.Name, err)
	}
	text, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		return "", fmt.Errorf("oidc: sign with key %s: %w", k.Name, err)
	}
	return text, nil
}

var (
	errSignature = errors.New("unable to validate the token signature")
	errNoEntity  = errors.New("entity was not found")
	errDisabled  = errors.New("entity is disabled")
)

// introspect says why a token is not good, for a client unless that is ""; nil for one that is. The texts
// are for the client.
func (s *Store) introspect(ctx context.Context, text, client string) (why, err error) {
	token, err := jwt.ParseSigned(text, algorithmNames())
	if err != nil {
		return fmt.Errorf("error parsing token: %w", err), nil
	}
	var issuer string
	var keys []jose.JSONWebKey
	now := s.cfg.Now()
	err = s.view(ctx, func() {
		issuer = s.issuerURL()
		for _, k := range s.keys {
			keys = append(keys, k.public(now)...)
		}
	})
	if err != nil {
		return nil, err
	}
	var claims jwt.Claims
	if !verified(token, keys, &claims) {
		return errSignature, nil
	}
	expected := jwt.Expected{Issuer: issuer, Time: s.cfg.Wall()}
	if client != "" {
		expected.AnyAudience = []string{client}
	}
	if err := claims.Validate(expected); err != nil {
		return fmt.Errorf("error validating claims: %w", err), nil
	}
	_, err = s.cfg.Holders.Holder(ctx, claims.Subject)
	switch {
	case errors.Is(err, identity.ErrNoEntity):
		return errNoEntity, nil
	case errors.Is(err, identity.ErrDisabled):
		return errDisabled, nil
	}
	return nil, err
}

// verified reports whether the token was signed with the key that it names, and by that key's own
// algorithm; claims are filled then.
func verified(token *jwt.JSONWebToken, keys []jose.JSONWebKey, claims *jwt.Claims) bool {
	if len(token.Headers) != 1 {
		return false
	}
	header := token.Headers[0]
	for i := range keys {
		if keys[i].KeyID == header.KeyID && keys[i].Algorithm == header.Algorithm {
			return token.Claims(&keys[i], claims) == nil
		}
	}
	return false
}

// newClientID makes the client id of a role that was given none.
func newClientID() string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const length = 26
	out := make([]byte, 0, length)
	var b [2 * length]byte
	for {
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		for _, v := range b {
			if v >= 4*62 {
				continue
			}
			if out = append(out, digits[v%62]); len(out) == length {
				return string(out)
			}
		}
	}
}
