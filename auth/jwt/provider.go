package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"coffer/auth/strictjson"
)

// skewOfProvider is how far a provider's clock may be ahead.
const skewOfProvider = time.Minute

// provider is an OpenID provider that is found by its discovery document. The document is fetched when it is first
// needed and kept; it must name the issuer that was asked for.
type provider struct {
	asker
	config *config
	// group makes those who wait for the document share it.
	group singleflight.Group

	mu     sync.Mutex
	found  *found // Guarded by mu, as the bucket.
	bucket bucket
}

// found is what the discovery document says.
type found struct {
	*oidc.Provider
	keys *remoteKeys
}

func newProvider(a asker, c *config) *provider {
	return &provider{asker: a, config: c, bucket: bucket{tokens: fetchBurst}}
}

// context hands the client to the libraries, which look for it there.
func (p *provider) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.client.Client)
}

// discover returns what the provider says of itself, or errNoProvider: the reason is for the log alone, for it may
// quote the provider.
func (p *provider) discover(ctx context.Context) (*found, error) {
	p.mu.Lock()
	f := p.found
	p.mu.Unlock()
	if f != nil {
		return f, nil
	}
	return share(ctx, &p.group, p.ask)
}

func (p *provider) ask() (*found, error) {
	p.mu.Lock()
	f, allowed := p.found, p.bucket.take(p.now())
	p.mu.Unlock()
	switch {
	case f != nil:
		return f, nil
	case !allowed:
		return nil, errNoProvider
	}
	f, err := p.fetch()
	if err != nil {
		p.logger.Warn("an OIDC provider cannot be used", "url", p.config.OIDC.Discovery, "error", err)
		return nil, errNoProvider
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found = f
	return f, nil
}

// discovered are the members of a discovery document that somebody reads (OpenID Connect Discovery, RFC 8628).
var discovered = [...]string{"issuer", "authorization_endpoint", "token_endpoint", "device_authorization_endpoint",
	"jwks_uri", "userinfo_endpoint", "id_token_signing_alg_values_supported"}

// fetch reads the discovery document.
func (p *provider) fetch() (*found, error) {
	ctx, cancel := context.WithTimeout(p.ctx, askTimeout)
	defer cancel()
	op, err := oidc.NewProvider(p.context(ctx), p.config.OIDC.Discovery)
	if err != nil {
		return nil, err
	}
	var document struct {
		JWKS string `json:"jwks_uri"`
	}
	var text json.RawMessage
	if err := op.Claims(&text); err != nil {
		return nil, err
	}
	// The library has read the document without regard to case: it must have read what stands there.
	if err := strictjson.Check(text, discovered[:]...); err != nil {
		return nil, err
	}
	if err := strictjson.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if document.JWKS == "" {
		return nil, errors.New("the document names no jwks_uri")
	}
	return &found{Provider: op, keys: newRemoteKeys(p.asker, document.JWKS)}, nil
}

var errNoProvider = errors.New("the OIDC provider could not be reached or is not what it should be")

// verify implements keySet.
func (p *provider) verify(ctx context.Context, token *signed) ([]byte, error) {
	f, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	return f.keys.verify(ctx, token)
}

// VerifySignature implements oidc.KeySet.
func (r *remoteKeys) VerifySignature(ctx context.Context, text string) ([]byte, error) {
	return r.verify(ctx, parseToken(text))
}

// oauth is the provider as oauth2 knows it.
func (p *provider) oauth(f *found, redirect string, scopes []string) *oauth2.Config {
	if !slices.Contains(scopes, oidc.ScopeOpenID) {
		scopes = append([]string{oidc.ScopeOpenID}, scopes...)
	}
	return &oauth2.Config{
		ClientID: p.config.OIDC.ClientID, ClientSecret: p.config.OIDC.ClientSecret, Endpoint: f.Endpoint(),
		RedirectURL: redirect, Scopes: scopes,
	}
}

// exchange turns the code that the browser brought into tokens. Its errors are texts for the client.
func (p *provider) exchange(ctx context.Context, f *found, w *flow, code string) (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var options []oauth2.AuthCodeOption
	if w.verifier != "" {
		options = append(options, oauth2.VerifierOption(w.verifier))
	}
	token, err := p.oauth(f, w.redirect, nil).Exchange(p.context(ctx), code, options...)
	if err != nil {
		return nil, fmt.Errorf("unable to exchange auth code with provider: %w", tokenError(err))
	}
	return token, nil
}

// tokenError is what the client may know of a refusal at the token endpoint: the code of the error, as RFC 6749
// has them, and not whatever else the endpoint says.
func tokenError(err error) error {
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode != "":
		return fmt.Errorf("the provider answered %q", refused.ErrorCode[:min(len(refused.ErrorCode), maxErrorCode)])
	case errors.As(err, &refused) && refused.Response != nil:
		return fmt.Errorf("the provider answered %d", refused.Response.StatusCode)
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("the provider did not answer in time")
	default:
		return errors.New("the provider could not be reached or answered nonsense")
	}
}

const maxErrorCode = 64

// verifyID returns the claims of an ID token that is meant for this client and this login. Its errors are texts
// for the client.
func (p *provider) verifyID(ctx context.Context, f *found, text string, w *flow, r *role) (map[string]any, error) {
	algorithms := p.config.Algorithms
	if len(algorithms) == 0 {
		algorithms = []string{oidc.RS256}
	}
	// The audience is looked at below, with more rules than the library has.
	verifier := oidc.NewVerifier(p.config.OIDC.Discovery, f.keys,
		&oidc.Config{SkipClientIDCheck: true, SupportedSigningAlgs: algorithms, Now: p.wall})
	id, err := verifier.Verify(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("invalid id_token: %w", err)
	}
	var payload json.RawMessage
	if err := id.Claims(&payload); err != nil {
		return nil, fmt.Errorf("invalid id_token: %w", err)
	}
	claims, err := decodeClaims(payload)
	if err != nil {
		return nil, fmt.Errorf("invalid id_token: %w", err)
	}
	now := p.wall()
	switch {
	case w.nonce != "" && id.Nonce != w.nonce:
		return nil, errors.New("invalid id_token nonce: invalid nonce")
	case now.Add(skewOfProvider).Before(id.IssuedAt):
		return nil, errors.New("invalid id_token: issued in the future")
	case id.Subject == "":
		return nil, errors.New("invalid id_token: sub: missing required claim")
	}
	if err := p.checkAudience(id.Audience, claims["azp"], r.Bounds.Audiences); err != nil {
		return nil, err
	}
	return claims, checkAuthTime(claims["auth_time"], r.OIDC.MaxAge, now)
}

// checkAudience admits a token that is for this client, or for another one that it was given to (azp).
func (p *provider) checkAudience(audience []string, party any, bound []string) error {
	client := p.config.OIDC.ClientID
	isParty := party == client
	switch {
	case len(audience) == 0:
		return errors.New("invalid id_token: aud: missing required claim")
	case len(bound) > 0 && !slices.ContainsFunc(bound, func(b string) bool { return slices.Contains(audience, b) }):
		return errors.New("invalid id_token audiences: invalid audience")
	case party != nil && !isParty:
		return errors.New("invalid id_token: invalid authorized party (azp)")
	case len(audience) > 1 && (!slices.Contains(audience, client) || !isParty):
		return errors.New("invalid id_token: multiple audiences, and this client is not the authorized party")
	case len(audience) == 1 && audience[0] != client && !isParty:
		return errors.New("invalid id_token: the audience is not this client")
	}
	return nil
}

// checkAuthTime refuses a login that rests on a proof of identity older than the role allows.
func checkAuthTime(raw any, maxAge time.Duration, now time.Time) error {
	if maxAge <= 0 {
		return nil
	}
	number, ok := raw.(json.Number)
	if !ok {
		return errors.New("missing auth_time claim when max age was requested: missing required claim")
	}
	at, err := number.Float64()
	if err != nil || at < float64(now.Add(-maxAge-skewOfProvider).Unix()) {
		return errors.New("auth_time is beyond max age: expired auth_time")
	}
	return nil
}

// checkAccess checks that the access token belongs to the ID token, when the ID token says which.
func checkAccess(hash any, access, algorithm string) error {
	text, ok := hash.(string)
	if !ok || text == "" || access == "" {
		return nil
	}
	if text != halfHash(access, algorithm) {
		return errors.New("access_token failed verification")
	}
	return nil
}

// mergeUserInfo adds what the provider tells of the user to the claims. It must be of the same subject.
func (p *provider) mergeUserInfo(ctx context.Context, f *found, access *oauth2.Token, claims map[string]any) error {
	if f.UserInfoEndpoint() == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := f.UserInfo(p.context(ctx), oauth2.StaticTokenSource(access))
	if err != nil {
		return err
	}
	var payload json.RawMessage
	if err := info.Claims(&payload); err != nil {
		return err
	}
	more, err := decodeClaims(payload)
	if err != nil {
		return err
	}
	if subject, _ := more["sub"].(string); subject == "" || subject != claims["sub"] {
		return errors.New("it is about another subject")
	}
	if issuer, ok := more["iss"]; ok && issuer != claims["iss"] {
		return errors.New("it is from another issuer")
	}
	for name, value := range more {
		claims[name] = value
	}
	return nil
}
