package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"coffer/auth"
	"coffer/engines"
)

// setup is a configuration put to work. It does not change; what it fetched stays with it until the
// configuration is replaced.
type setup struct {
	config *config
	// keys are tried in order.
	keys []keySet
	// provider is nil without a discovery URL.
	provider *provider
	// google is nil unless provider_config names Google Workspace.
	google *google
}

func (m *method) asker(c *client) asker {
	return asker{ctx: m.ctx, client: c, logger: m.logger, now: m.now, wall: m.wall}
}

// newSetup puts a configuration to work without asking anybody. Its errors are texts for the client.
func (m *method) newSetup(c *config) (*setup, error) {
	s := &setup{config: c}
	remote := func(u keyURL) (*remoteKeys, error) {
		client, err := newClient(u.CA, c.IgnoredExtensions)
		if err != nil {
			return nil, err
		}
		return newRemoteKeys(m.asker(client), u.URL), nil
	}
	switch {
	case len(c.Keys.Static) > 0:
		keys, err := parseStaticKeys(c.Keys.Static)
		if err != nil {
			return nil, err
		}
		s.keys = []keySet{keys}
	case c.OIDC.Discovery != "":
		client, err := newClient(c.OIDC.CA, c.IgnoredExtensions)
		if err != nil {
			return nil, errors.New("error checking oidc discovery URL")
		}
		s.provider = newProvider(m.asker(client), c)
		s.keys = []keySet{s.provider}
	case c.Keys.JWKS.URL != "":
		keys, err := remote(c.Keys.JWKS)
		if err != nil {
			return nil, errors.New("error checking jwks_ca_pem")
		}
		s.keys = []keySet{keys}
	default:
		pairs, err := decodePairs(c.Keys.Pairs)
		if err != nil {
			return nil, err
		}
		for _, pair := range pairs {
			keys, err := remote(pair)
			if err != nil {
				return nil, errors.New("error checking jwks_ca_pem")
			}
			s.keys = append(s.keys, keys)
		}
	}
	var err error
	s.google, err = m.newDirectory(c)
	return s, err
}

// newDirectory is how to ask Google's directory, nil where that is not wanted.
func (m *method) newDirectory(c *config) (*google, error) {
	if c.Provider["provider"] != providerGSuite {
		return nil, nil //nolint:nilnil // most configurations have none
	}
	settings, err := parseGSuite(c.Provider)
	if err != nil {
		return nil, initializing(err)
	}
	client, err := newClient(m.google.roots, nil)
	if err != nil {
		return nil, err
	}
	return newGoogle(m.asker(client), settings, m.google.directory), nil
}

// probe asks whom the configuration names, so that a slip shows when it is made.
func (s *setup) probe(ctx context.Context) error {
	for _, keys := range s.keys {
		switch k := keys.(type) {
		case *provider:
			if _, err := k.discover(ctx); err != nil {
				return engines.Invalid("error checking oidc discovery URL")
			}
		case *remoteKeys:
			if _, err := k.fetch(ctx); err != nil {
				return engines.Invalid("error checking jwks URL %s", k.url)
			}
		}
	}
	if s.google != nil {
		if err := s.google.check(); err != nil {
			return initializing(err)
		}
	}
	return nil
}

// parseStaticKeys reads public keys or certificates in PEM.
func parseStaticKeys(texts []string) (staticKeys, error) {
	keys := make(staticKeys, 0, len(texts))
	for _, text := range texts {
		key, err := parsePublicKey(text)
		if err != nil {
			return nil, fmt.Errorf("error parsing public key: %w", err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func parsePublicKey(text string) (crypto.PublicKey, error) {
	errNoKey := errors.New("data does not contain any valid public keys")
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errNoKey
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		key = cert.PublicKey
	}
	switch key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return key, auth.CheckKey(key)
	default:
		return nil, errNoKey
	}
}
