package jwt

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"coffer/auth/strictjson"
	"coffer/engines"
)

// How a login comes back. Vault knows the first alone.
const (
	// callbackClient: the provider sends the browser to the client, which calls oidc/callback.
	callbackClient = "client"
	// callbackDirect: the provider sends the browser here; the client polls. It needs no port of its own.
	callbackDirect = "direct"
	// callbackDevice: the user visits the provider on any device and enters a code there (RFC 8628); the client
	// polls.
	callbackDevice = "device"
)

const (
	defaultInterval = 5 * time.Second
	// slowerBy is how much a provider's "slow_down" adds.
	slowerBy = 5 * time.Second
)

// interval is how often a client may poll.
func (f *flowSettings) interval() time.Duration {
	if f.Poll > 0 {
		return f.Poll
	}
	return defaultInterval
}

// inSeconds is how a client is told the interval: OpenBao's command line takes a string alone.
func inSeconds(interval time.Duration) string {
	return strconv.FormatInt(int64(interval/time.Second), 10)
}

// outcome is how a login went.
type outcome struct {
	login *engines.Login
	err   error
}

// Errors of polling, as RFC 8628 has them.
var (
	errPending = engines.Invalid("authorization_pending")
	errSlower  = engines.Invalid("slow_down")
)

type pollParams struct {
	State       string `param:"state" help:"State of the login."`
	ClientNonce string `param:"client_nonce" help:"What the client gave when the login began."`
}

// poll answers with the token of a login that ends elsewhere, once it has ended.
func (m *method) poll(ctx context.Context, req *engines.Request, p pollParams) (*engines.Response, error) {
	s, err := m.setup(ctx)
	if errors.Is(err, errUnconfigured) {
		return nil, engines.Invalid(loginFailed + "Could not load configuration")
	}
	if err != nil {
		return nil, err
	}
	w, ok := m.flows.flow(p.State)
	// Who has not the nonce learns nothing, and does not make the one who has it wait.
	if !ok || w.mode != callbackDirect && w.mode != callbackDevice || !same(w.proof, m.flows.proofOf(p.ClientNonce)) {
		return nil, errState
	}
	var done *outcome
	m.flows.with(w, func(k *kept) { done, err = k.outcome, k.poll(w, m.now()) })
	if err != nil {
		return nil, err
	}
	r, err := m.flowRole(ctx, w)
	if err != nil {
		return nil, err
	}
	if !r.Token.Admits(req.Client.Addr) {
		return nil, engines.ErrDenied
	}
	if w.mode == callbackDevice {
		done = m.pollDevice(ctx, s, r, w)
	}
	if done == nil {
		return nil, errPending
	}
	// One answer only: of two that poll at once the second finds nothing.
	if !m.flows.spend(w) {
		return nil, errState
	}
	if done.err != nil {
		return nil, done.err
	}
	// It has waited for its client since the person confirmed it.
	if err := done.login.StillGood(ctx); err != nil {
		return nil, err
	}
	m.flows.last(w)
	return &engines.Response{Login: done.login}, nil
}

// poll reports whether the client may ask now; the mount's flows are locked.
func (k *kept) poll(w *flow, now time.Time) error {
	switch {
	case k.spent:
		return errState
	case now.Before(k.next):
		return errSlower
	}
	k.next = now.Add(min(w.interval+k.slower, maxInterval*time.Second))
	return nil
}

// beginDevice asks the provider for the code that the user enters. Its errors are for the log.
func (m *method) beginDevice(ctx context.Context, s *setup, r *role, w *flow) (map[string]any, error) {
	f, err := s.provider.discover(ctx)
	if err != nil {
		return nil, err
	}
	if f.Endpoint().DeviceAuthURL == "" {
		return nil, errors.New("the provider has no device_authorization_endpoint")
	}
	if !m.flows.beginDevice(w.from) {
		return nil, errors.New("too many logins of this mode begin: a crowd must not make us a flood upon the provider")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := s.provider.oauth(f, "", r.OIDC.Scopes).DeviceAuth(s.provider.context(ctx))
	if err != nil {
		return nil, tokenError(err)
	}
	w.device = answer.DeviceCode
	w.interval = max(r.OIDC.interval(), time.Duration(min(answer.Interval, maxInterval))*time.Second)
	if err := m.flows.seal(w); err != nil {
		return nil, err
	}
	address := answer.VerificationURIComplete
	if address == "" {
		address = answer.VerificationURI
	}
	return map[string]any{
		"auth_url": address, "user_code": answer.UserCode, "state": w.state,
		"poll_interval": inSeconds(w.interval),
	}, nil
}

// maxInterval bounds what a provider may ask for, in seconds.
const maxInterval = 60

// pollDevice asks the provider whether the user has agreed. It returns nil while he has not.
func (m *method) pollDevice(ctx context.Context, s *setup, r *role, w *flow) *outcome {
	if s.provider == nil || !s.config.OIDC.hasFlow() || s.config.provider().String() != w.provider {
		return &outcome{err: errState}
	}
	f, err := s.provider.discover(ctx)
	if err != nil {
		return nil
	}
	token, code, err := s.provider.askDevice(ctx, f, w.device)
	switch {
	case err != nil || code == "authorization_pending":
		return nil
	case code == "slow_down":
		m.flows.with(w, func(k *kept) {
			k.slower += slowerBy
			k.next = m.now().Add(min(w.interval+k.slower, maxInterval*time.Second))
		})
		return nil
	case code != "":
		return &outcome{err: engines.Invalid(loginFailed+"The provider answered %q.", code[:min(len(code), maxErrorCode)])}
	}
	claims, err := s.provider.verifyTokens(ctx, f, token, w, r)
	if err != nil {
		return &outcome{err: engines.Invalid(verifyFailed+"%v", err)}
	}
	login, err := m.accept(ctx, s, f, w, r, claims, token)
	return &outcome{login: login, err: err}
}

// askDevice asks the token endpoint once. It returns the tokens, or the code of the provider's error.
func (p *provider) askDevice(ctx context.Context, f *found, device string) (*oauth2.Token, string, error) {
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {device},
		"client_id": {p.config.OIDC.ClientID},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.Endpoint().TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(p.config.OIDC.ClientID), url.QueryEscape(p.config.OIDC.ClientSecret))
	body, _, err := p.client.ask(req)
	if err != nil {
		return nil, "", err
	}
	answer, err := strictjson.Object(body)
	if err != nil {
		return nil, "", err
	}
	if code, ok := answer["error"].(string); ok && code != "" {
		return nil, code, nil
	}
	access, _ := answer["access_token"].(string)
	if access == "" {
		return nil, "", errors.New("no access_token")
	}
	return (&oauth2.Token{AccessToken: access, TokenType: "Bearer"}).WithExtra(answer), "", nil
}
