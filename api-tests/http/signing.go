package http

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// signingKeys are the keys of the "jwt" directive, by name, new in each run: "rsa", "other" (RSA as well), "ec" (P-256),
// "ed" (Ed25519).
var signingKeys = sync.OnceValues(func() (map[string]crypto.Signer, error) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{"rsa": rsaKey, "other": other, "ec": ec, "ed": ed}, err
})

// usualAlgorithms are what keys sign with unless a directive says otherwise.
var usualAlgorithms = map[string]string{"rsa": "RS256", "other": "RS256", "ec": "ES256", "ed": "EdDSA"}

// publicPEM is the public key with that name, as it stands inside a JSON text, without the last line break.
func publicPEM(name string) (string, error) {
	keys, err := signingKeys()
	if err != nil {
		return "", err
	}
	key, ok := keys[name]
	if !ok {
		return "", errVariable
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", `\n`), nil
}

// serviceAccount is the key of a service account at Google that signs with the key of that name, as it stands inside a
// JSON text.
func serviceAccount(name string) (string, error) {
	keys, err := signingKeys()
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(keys[name])
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "reader@project.example", "token_uri": "https://oauth2.googleapis.com/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		return "", err
	}
	text, err = json.Marshal(string(text))
	if err != nil {
		return "", err
	}
	return string(text[1 : len(text)-1]), nil
}

// signJWT makes a token of the claims. The key is a name of signingKeys, with "/" and an algorithm where it is not the
// usual one: rsa/PS256. rsa/none leaves the signature out, rsa/HS256 takes the public key's text as a shared secret.
func signJWT(key, claims string) (string, error) {
	name, algorithm, _ := strings.Cut(key, "/")
	keys, err := signingKeys()
	if err != nil {
		return "", err
	}
	signer, ok := keys[name]
	if !ok {
		return "", fmt.Errorf("%w: no key %q", errVariable, name)
	}
	switch algorithm {
	case "":
		algorithm = usualAlgorithms[name]
	case "none", "HS256":
		return handMade(name, algorithm, claims)
	}
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", name)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: signer}, options)
	if err != nil {
		return "", err
	}
	signed, err := s.Sign([]byte(claims))
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// handMade is a token that no library would sign.
func handMade(name, algorithm, claims string) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": algorithm, "typ": "JWT", "kid": name})
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	token := encode(header) + "." + encode([]byte(claims))
	if algorithm == "none" {
		return token + ".", nil
	}
	text, err := publicPEM(name)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, []byte(strings.ReplaceAll(text, `\n`, "\n")+"\n"))
	mac.Write([]byte(token))
	return token + "." + encode(mac.Sum(nil)), nil
}
