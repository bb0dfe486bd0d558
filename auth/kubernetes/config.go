package kubernetes

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// config is how the API server is reached and its tokens are checked; never changed in place.
type config struct {
	Host                  string   `json:"host"`
	CACert                string   `json:"ca_cert,omitempty"`
	PEMKeys               []string `json:"pem_keys,omitempty"`
	Issuer                string   `json:"issuer,omitempty"`
	DisableIssuer         bool     `json:"disable_iss_validation,omitempty"`
	DisableLocal          bool     `json:"disable_local_ca_jwt,omitempty"`
	AnnotationsAsMetadata bool     `json:"use_annotations_as_alias_metadata,omitempty"`

	// reviewer is the token that the API server is asked with; zero for none given.
	reviewer engines.Token
	// keys are PEMKeys, parsed.
	keys []crypto.PublicKey
}

// storedConfig is the one place where the reviewer's token is written down: behind the barrier.
type storedConfig struct {
	config
	Reviewer string `json:"token_reviewer_jwt,omitempty"`
}

// configParams describe the whole configuration: what is not sent gets its default.
type configParams struct {
	Host          string   `param:"kubernetes_host" help:"The API server: a host, host:port or URL."`
	CACert        string   `param:"kubernetes_ca_cert" help:"PEM of the CA that signed the API server's certificate."`
	Reviewer      string   `param:"token_reviewer_jwt" help:"Token with the right to ask for TokenReviews."`
	PEMKeys       []string `param:"pem_keys" help:"Public keys or certificates, PEM, that must have signed the tokens."`
	Issuer        string   `param:"issuer" help:"Issuer the tokens must name. Deprecated."`
	DisableIssuer bool     `param:"disable_iss_validation" default:"true" help:"Skip the check of the issuer. Deprecated."`
	DisableLocal  bool     `param:"disable_local_ca_jwt" help:"Do not fall back on the pod's own token and CA."`
	Annotations   bool     `param:"use_annotations_as_alias_metadata" help:"Take alias metadata from annotations."`
}

// errNoConfig is returned until the mount is configured.
var errNoConfig = errors.New("kubernetes: not configured")

// settings returns the configuration, from memory unless it has changed, or errNoConfig.
func (m *method) settings(ctx context.Context) (*config, error) {
	if c := m.config.Load(); c != nil {
		return c, nil
	}
	return keylock.Read(ctx, m.locks, configKey, func(ctx context.Context) (*config, error) {
		var stored storedConfig
		err := m.load(ctx, configKey, &stored)
		if errors.Is(err, storage.ErrNotFound) {
			return nil, errNoConfig
		}
		if err != nil {
			return nil, err
		}
		c := stored.config
		c.reviewer = engines.NewToken(stored.Reviewer)
		if c.keys, err = parseKeys(c.PEMKeys); err != nil {
			return nil, err
		}
		m.config.Store(&c)
		return &c, nil
	})
}

func (m *method) readConfig(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	c, err := m.settings(ctx)
	if errors.Is(err, errNoConfig) {
		return nil, engines.NotFound()
	}
	if err != nil {
		return nil, err
	}
	return &engines.Response{Data: map[string]any{
		"kubernetes_host":                   c.Host,
		"kubernetes_ca_cert":                c.CACert,
		"pem_keys":                          append([]string{}, c.PEMKeys...),
		"issuer":                            c.Issuer,
		"disable_iss_validation":            c.DisableIssuer,
		"disable_local_ca_jwt":              c.DisableLocal,
		"token_reviewer_jwt_set":            !c.reviewer.IsZero(),
		"use_annotations_as_alias_metadata": c.AnnotationsAsMetadata,
	}}, nil
}

func (m *method) writeConfig(ctx context.Context, _ *engines.Request, p configParams) (*engines.Response, error) {
	c := &config{
		Host: p.Host, CACert: p.CACert, PEMKeys: p.PEMKeys, Issuer: p.Issuer, DisableIssuer: p.DisableIssuer,
		DisableLocal: p.DisableLocal, AnnotationsAsMetadata: p.Annotations,
		reviewer: engines.NewToken(strings.TrimSpace(p.Reviewer)),
	}
	if c.Host == "" {
		return nil, engines.Invalid("no host provided")
	}
	if block, _ := pem.Decode([]byte(c.CACert)); c.CACert != "" && block == nil {
		return nil, engines.Invalid("The provided CA PEM data contains no valid certificates")
	}
	var err error
	if c.keys, err = parseKeys(c.PEMKeys); err != nil {
		return nil, err
	}
	if _, err := apiURL(c.Host); err != nil {
		return nil, engines.Invalid("kubernetes_host is not a host, a host:port pair or a URL")
	}
	ca, err := m.caOf(c)
	if err != nil {
		return nil, engines.Invalid("%v", err)
	}
	if ca != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(ca)) {
		m.log.Warn("the CA of the Kubernetes API server holds no certificate that can be read; no login will succeed")
	}
	return keylock.Write(ctx, m.locks, configKey, func(ctx context.Context) (*engines.Response, error) {
		// Should the commit fail, only storage knows which configuration is true.
		m.config.Store(nil)
		if err := m.save(ctx, configKey, storedConfig{config: *c, Reviewer: c.reviewer.Reveal()}); err != nil {
			return nil, err
		}
		m.config.Store(c)
		resp := &engines.Response{}
		if _, err := m.pod.token(); err == nil && c.reviewer.IsZero() && !c.DisableLocal && !m.isOwn(c) {
			resp.Warnings = []string{"the pod's own token is sent only by https to a server with a certificate of the pod's " +
				"own CA: without token_reviewer_jwt the API server is asked with the token of whoever logs in"}
		}
		return resp, nil
	})
}

// parseKeys reads public keys out of PEM texts. It returns an ErrInvalid in Vault's words.
func parseKeys(texts []string) ([]crypto.PublicKey, error) {
	keys := make([]crypto.PublicKey, 0, len(texts))
	for _, text := range texts {
		key, err := parseKey(text)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func parseKey(text string) (crypto.PublicKey, error) {
	errNone := engines.Invalid("data does not contain any valid RSA or ECDSA public keys")
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errNone
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		cert, certErr := x509.ParseCertificate(block.Bytes)
		if certErr != nil {
			return nil, engines.Invalid("%v", certErr)
		}
		key = cert.PublicKey
	}
	switch key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		if err := auth.CheckKey(key); err != nil {
			return nil, engines.Invalid("%v", err)
		}
		return key, nil
	default:
		return nil, errNone
	}
}
