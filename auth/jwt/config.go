package jwt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"coffer/engines"
	"coffer/storage"
)

const configKey = "config"

// Ways in which a provider may answer the browser's request.
const (
	responseCode     = "code"
	responseIDToken  = "id_token"
	responseQuery    = "query"
	responseFormPost = "form_post"
)

// config is the stored configuration.
type config struct {
	Keys       keyConfig  `json:"keys"`
	OIDC       oidcConfig `json:"oidc"`
	Issuer     string     `json:"issuer,omitempty"`
	Algorithms []string   `json:"algorithms,omitempty"`
	// DefaultRole is for logins that name none; in lower case.
	DefaultRole      string         `json:"default_role,omitempty"`
	Provider         map[string]any `json:"provider,omitempty"`
	NamespaceInState bool           `json:"namespace_in_state,omitempty"`
	// IgnoredExtensions are OIDs of critical extensions that servers' certificates may have.
	IgnoredExtensions []string `json:"ignored_extensions,omitempty"`
}

// keyConfig says where the keys come from: one of Static, JWKS, Pairs, or the discovery URL of oidcConfig.
type keyConfig struct {
	Static []string `json:"static,omitempty"`
	JWKS   keyURL   `json:"jwks"`
	// Pairs are shown as they were sent.
	Pairs []any `json:"pairs,omitempty"`
}

// keyURL is where a JWKS is, and whom its server's certificate is from ("": the system's roots).
type keyURL struct {
	URL string `json:"url,omitempty"`
	CA  string `json:"ca,omitempty"`
}

// oidcConfig is how to reach an OpenID provider.
type oidcConfig struct {
	Discovery     string   `json:"discovery,omitempty"`
	CA            string   `json:"ca,omitempty"`
	ClientID      string   `json:"client_id,omitempty"`
	ClientSecret  string   `json:"client_secret,omitempty"`
	ResponseMode  string   `json:"response_mode,omitempty"`
	ResponseTypes []string `json:"response_types,omitempty"`
}

// provider is where codes of logins may be exchanged.
func (c *config) provider() engines.Destination {
	return engines.NewDestination([]string{c.OIDC.Discovery}, c.OIDC.CA, strings.Join(c.IgnoredExtensions, ","))
}

// hasFlow reports whether people can log in with their browsers.
func (c *oidcConfig) hasFlow() bool {
	return c.Discovery != "" && c.ClientID != "" && c.ClientSecret != ""
}

// asksFor reports whether the provider is asked for this type of response.
func (c *oidcConfig) asksFor(response string) bool {
	if len(c.ResponseTypes) == 0 {
		return response == responseCode
	}
	return slices.Contains(c.ResponseTypes, response)
}

// configParams replace the whole configuration.
type configParams struct {
	keyParams
	oidcParams
	BoundIssuer       string         `param:"bound_issuer" help:"What the iss claim must be."`
	Algorithms        []string       `param:"jwt_supported_algs" help:"Algorithms that tokens may be signed with."`
	DefaultRole       string         `param:"default_role" as:"name" help:"Role of logins that name none."`
	Provider          map[string]any `param:"provider_config" help:"Settings of a provider that needs its own treatment."`
	NamespaceInState  *bool          `param:"namespace_in_state" help:"Whether a namespace goes into the state."`
	IgnoredExtensions []string       `param:"unsupported_critical_cert_extensions" help:"OIDs of extensions to ignore."`
}

type keyParams struct {
	StaticKeys []string `param:"jwt_validation_pubkeys" help:"Public keys or certificates in PEM."`
	JWKSURL    string   `param:"jwks_url" help:"Where a JWKS is."`
	JWKSCA     string   `param:"jwks_ca_pem" help:"Certificates that vouch for the server of the JWKS."`
	Pairs      any      `param:"jwks_pairs" help:"Several JWKS, each with jwks_url and jwks_ca_pem."`
}

type oidcParams struct {
	Discovery     string   `param:"oidc_discovery_url" help:"The provider's issuer URL."`
	DiscoveryCA   string   `param:"oidc_discovery_ca_pem" help:"Certificates that vouch for the provider's server."`
	ClientID      string   `param:"oidc_client_id" help:"Client that the provider knows."`
	ClientSecret  string   `param:"oidc_client_secret" help:"The client's secret."`
	ResponseMode  string   `param:"oidc_response_mode" help:"query or form_post."`
	ResponseTypes []string `param:"oidc_response_types" help:"code, id_token."`
}

// config makes what is stored of what was sent. It returns an ErrInvalid in Vault's words.
func (p *configParams) config() (*config, error) {
	c := &config{
		Keys: keyConfig{Static: p.StaticKeys, JWKS: keyURL{p.JWKSURL, p.JWKSCA}, Pairs: listOf(p.Pairs)},
		OIDC: oidcConfig{Discovery: p.Discovery, CA: p.DiscoveryCA, ClientID: p.ClientID, ClientSecret: p.ClientSecret,
			ResponseMode: p.ResponseMode, ResponseTypes: p.ResponseTypes},
		Issuer: p.BoundIssuer, Algorithms: p.Algorithms, DefaultRole: engines.FoldASCII(p.DefaultRole),
		Provider: p.Provider, IgnoredExtensions: p.IgnoredExtensions, NamespaceInState: true,
	}
	return c, c.check()
}

// listOf makes a list of what may be one thing.
func listOf(raw any) []any {
	switch v := raw.(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

// check returns an ErrInvalid for what makes no sense by itself.
func (c *config) check() error {
	pairs := c.Keys.Pairs
	ways := 0
	for _, used := range []bool{c.OIDC.Discovery != "", len(c.Keys.Static) > 0, c.Keys.JWKS.URL != "", len(pairs) > 0} {
		if used {
			ways++
		}
	}
	switch {
	case ways != 1:
		return engines.Invalid(
			"exactly one of 'jwt_validation_pubkeys', 'jwks_url', 'jwks_pairs' or 'oidc_discovery_url' must be set")
	case (c.OIDC.ClientID == "") != (c.OIDC.ClientSecret == ""):
		return engines.Invalid("both 'oidc_client_id' and 'oidc_client_secret' must be set for OIDC")
	case c.OIDC.ClientID != "" && c.OIDC.Discovery == "":
		return engines.Invalid("'oidc_discovery_url' must be set for OIDC")
	case c.Keys.JWKS.CA != "" && len(pairs) > 0:
		return engines.Invalid("CA PEMs must be provided as part of the 'jwks_pairs' when using multiple JWKS URLs")
	case len(pairs) > 0 && c.Issuer != "":
		return engines.Invalid("Bound issuer is not supported for use with 'jwks_pairs'")
	}
	return nil
}

// checkRest is what Vault looks at after the keys.
func (c *config) checkRest() error {
	for _, name := range c.Algorithms {
		if !slices.Contains(algorithmNames(), name) {
			return engines.Invalid("invalid jwt_supported_algs: unsupported signing algorithm %q", name)
		}
	}
	for _, response := range c.OIDC.ResponseTypes {
		if response != responseCode && response != responseIDToken {
			return engines.Invalid("invalid response_types %v. 'code' and 'id_token' are allowed", c.OIDC.ResponseTypes)
		}
	}
	switch c.OIDC.ResponseMode {
	case "", responseQuery:
		if c.OIDC.asksFor(responseIDToken) {
			return engines.Invalid("query response_mode may not be used with an id_token response_type")
		}
	case responseFormPost:
	default:
		return engines.Invalid("invalid response_mode: %q", c.OIDC.ResponseMode)
	}
	_, err := c.special()
	return err
}

// pairParams are one entry of jwks_pairs.
type pairParams struct {
	URL string `param:"jwks_url"`
	CA  string `param:"jwks_ca_pem"`
}

// decodePairs reads jwks_pairs. Its errors are texts for the client.
func decodePairs(items []any) ([]keyURL, error) {
	pairs := make([]keyURL, 0, len(items))
	for _, item := range items {
		object, ok := item.(map[string]any)
		if !ok {
			return nil, errors.New("invalid jwks_pairs: jwks_pairs must be provided as a list of json objects " +
				"with the fields jwks_url and jwks_ca_pem")
		}
		p, err := engines.Decode[pairParams](object)
		if err != nil {
			return nil, fmt.Errorf("invalid jwks_pairs: %w", err)
		}
		pairs = append(pairs, keyURL(p))
	}
	return pairs, nil
}

// show is the answer to a read: everything but secrets.
func (c *config) show() map[string]any {
	return map[string]any{
		"bound_issuer":                         c.Issuer,
		"default_role":                         c.DefaultRole,
		"jwks_ca_pem":                          c.Keys.JWKS.CA,
		"jwks_pairs":                           append([]any{}, c.Keys.Pairs...),
		"jwks_url":                             c.Keys.JWKS.URL,
		"jwt_supported_algs":                   append([]string{}, c.Algorithms...),
		"jwt_validation_pubkeys":               append([]string{}, c.Keys.Static...),
		"namespace_in_state":                   c.NamespaceInState,
		"oidc_client_id":                       c.OIDC.ClientID,
		"oidc_discovery_ca_pem":                c.OIDC.CA,
		"oidc_discovery_url":                   c.OIDC.Discovery,
		"oidc_response_mode":                   c.OIDC.ResponseMode,
		"oidc_response_types":                  append([]string{}, c.OIDC.ResponseTypes...),
		"provider_config":                      c.shownProvider(),
		"unsupported_critical_cert_extensions": append([]string{}, c.IgnoredExtensions...),
	}
}

// errUnconfigured is returned while there is no configuration.
var errUnconfigured = errors.New("jwt: no configuration")

// loadConfig reads the stored configuration, or returns errUnconfigured.
func (m *method) loadConfig(ctx context.Context) (*config, error) {
	raw, err := m.storage.Get(ctx, configKey)
	if isMissing(err) {
		return nil, errUnconfigured
	}
	if err != nil {
		return nil, err
	}
	c := &config{}
	if err := decodeJSON(raw, c); err != nil {
		return nil, fmt.Errorf("jwt: stored configuration: %w", err)
	}
	return c, nil
}

// decodeJSON reads what was stored, numbers as they were.
func decodeJSON(raw []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	return dec.Decode(to)
}

// setup returns the configuration put to work, or errUnconfigured.
func (m *method) setup(ctx context.Context) (*setup, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ready != nil {
		return m.ready, nil
	}
	c, err := m.loadConfig(storage.Unbudgeted(ctx))
	if err != nil {
		return nil, err
	}
	s, err := m.newSetup(c)
	if err != nil {
		return nil, fmt.Errorf("jwt: stored configuration: %w", err)
	}
	m.ready = s
	return s, nil
}

func (m *method) readConfig(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	s, err := m.setup(ctx)
	if errors.Is(err, errUnconfigured) {
		return nil, engines.NotFound()
	}
	if err != nil {
		return nil, err
	}
	return &engines.Response{Data: s.config.show()}, nil
}

func (m *method) writeConfig(ctx context.Context, _ *engines.Request, p configParams) (*engines.Response, error) {
	c, err := p.config()
	if err != nil {
		return nil, err
	}
	s, err := m.newSetup(c)
	if err != nil {
		return nil, engines.Invalid("%v", err)
	}
	// The provider is asked before the lock is taken: it may be slow.
	if err := s.probe(ctx); err != nil {
		return nil, err
	}
	if err := c.checkRest(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.NamespaceInState != nil {
		c.NamespaceInState = *p.NamespaceInState
	} else if old, err := m.loadConfig(storage.Unbudgeted(ctx)); err == nil {
		c.NamespaceInState = old.NamespaceInState
	} else if !errors.Is(err, errUnconfigured) {
		return nil, err
	}
	value, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("jwt: configuration: %w", err)
	}
	if err := m.storage.Apply(ctx, storage.Put(configKey, value)); err != nil {
		// What is stored now is read when it is needed.
		m.ready = nil
		return nil, err
	}
	m.ready = s
	return &engines.Response{}, nil
}
