package jwt

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"golang.org/x/oauth2"

	"coffer/engines"
)

type callbackParams struct {
	State       string `param:"state" help:"State of the login."`
	Code        string `param:"code" help:"What the provider gave the browser."`
	ClientNonce string `param:"client_nonce" help:"What the client gave when the login began."`
}

var errState = engines.Invalid(loginFailed + "Expired or missing OAuth state.")

// callback ends a login. In mode "direct" it is the browser that comes here, and the person at it is asked; the client
// polls.
func (m *method) callback(ctx context.Context, req *engines.Request, p callbackParams) (*engines.Response, error) {
	s, err := m.setup(ctx)
	if errors.Is(err, errUnconfigured) {
		return nil, engines.Invalid(loginFailed + "Could not load configuration")
	}
	if err != nil {
		return nil, err
	}
	state, _, _ := strings.Cut(p.State, namespaceMark)
	w, ok := m.flows.flow(state)
	switch {
	case !ok:
		return nil, errState
	case w.mode == callbackDirect && strings.HasPrefix(p.Code, noCode):
		// The form of this mode is asked about when it comes: there is none to fetch.
		return page(http.StatusBadRequest, expired)
	case w.mode == callbackDirect:
		return m.callbackDirect(ctx, s, w, brought{code: p.Code})
	}
	got, err := m.flows.take(w, p.Code)
	if err != nil {
		return nil, err
	}
	if w.proof != "" && !same(w.proof, m.flows.proofOf(p.ClientNonce)) {
		return nil, engines.Invalid("invalid client_nonce")
	}
	if w.mode == callbackDevice || s.provider == nil || !s.config.OIDC.hasFlow() {
		return nil, errState
	}
	r, err := m.flowRole(ctx, w)
	if err != nil {
		return nil, err
	}
	if !r.Token.Admits(req.Client.Addr) {
		return nil, engines.ErrDenied
	}
	login, err := m.complete(ctx, s, r, w, got)
	if err != nil {
		return nil, err
	}
	m.flows.last(w)
	return &engines.Response{Login: login}, nil
}

// flowRole reads the role of a login as it is now.
func (m *method) flowRole(ctx context.Context, w *flow) (*role, error) {
	r, err := m.role(ctx, w.role)
	if errors.Is(err, errNoRole) {
		return nil, engines.Invalid(loginFailed + "Role could not be found")
	}
	return r, err
}

// complete turns what the browser brought into a login.
func (m *method) complete(ctx context.Context, s *setup, r *role, w *flow, got brought) (*engines.Login, error) {
	if s.config.provider().String() != w.provider {
		return nil, errState
	}
	f, err := s.provider.discover(ctx)
	if err != nil {
		return nil, engines.Failed("error getting provider for login operation: %v", err)
	}
	if got.code == "" {
		if got.idToken == "" {
			return nil, engines.Invalid(loginFailed + "No code or id_token received.")
		}
		claims, err := s.provider.verifyID(ctx, f, got.idToken, w, r)
		if err != nil {
			return nil, engines.Invalid(verifyFailed+"%v", err)
		}
		return m.accept(ctx, s, f, w, r, claims, nil)
	}
	access, err := s.provider.exchange(ctx, f, w, got.code)
	if err != nil {
		return nil, engines.Invalid(loginFailed+"Error exchanging oidc code: %q.", err.Error())
	}
	claims, err := s.provider.verifyTokens(ctx, f, access, w, r)
	if err != nil {
		return nil, engines.Invalid(loginFailed+"Error exchanging oidc code: %q.", err.Error())
	}
	return m.accept(ctx, s, f, w, r, claims, access)
}

// verifyTokens checks what the token endpoint gave.
func (p *provider) verifyTokens(
	ctx context.Context, f *found, access *oauth2.Token, w *flow, r *role,
) (map[string]any, error) {
	text, ok := access.Extra("id_token").(string)
	if !ok {
		return nil, errors.New("id_token is missing from auth code exchange")
	}
	claims, err := p.verifyID(ctx, f, text, w, r)
	if err != nil {
		return nil, err
	}
	return claims, checkAccess(claims["at_hash"], access.AccessToken, parseToken(text).header().Algorithm)
}

// halfHash is how an ID token names another token: the left half of its hash (OpenID Connect Core 3.1.3.6).
func halfHash(text, algorithm string) string {
	var sum []byte
	switch algorithm[max(0, len(algorithm)-3):] {
	case "384":
		s := sha512.Sum384([]byte(text))
		sum = s[:]
	case "512", "DSA":
		s := sha512.Sum512([]byte(text))
		sum = s[:]
	default:
		s := sha256.Sum256([]byte(text))
		sum = s[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// accept makes a login of the claims of a verified ID token. access is nil when there was none.
func (m *method) accept(
	ctx context.Context, s *setup, f *found, w *flow, r *role, claims map[string]any, access *oauth2.Token,
) (*engines.Login, error) {
	delete(claims, "nonce")
	if subject, _ := claims["sub"].(string); r.Bounds.Subject != "" && r.Bounds.Subject != subject {
		return nil, engines.Failed("sub claim does not match bound subject")
	}
	text := ""
	if access != nil {
		text = access.AccessToken
		// Without it there are fewer claims; the bounds decide whether they are enough.
		if err := s.provider.mergeUserInfo(ctx, f, access, claims); err != nil {
			m.logger.Warn("error reading /userinfo endpoint", "error", err)
		}
	}
	if r.OIDC.Verbose {
		m.logClaims(ctx, w.role, claims)
	}
	return m.identify(ctx, s, w.role, r, claims, text)
}

// logClaims is for finding out what a provider says. The claims tell of a person, but no token is among them.
func (m *method) logClaims(ctx context.Context, role string, claims map[string]any) {
	text, err := json.Marshal(claims)
	if err != nil {
		return
	}
	m.logger.DebugContext(ctx, "OIDC provider response", "role", role, "claims", string(text))
}
