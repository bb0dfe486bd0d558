package jwt

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"coffer/engines"
)

// Bounds of the logins that are under way. Anybody may begin one.
const (
	flowLife      = 10 * time.Minute
	maxFlows      = 10_000
	maxFlowsOfOne = 1_000
	maxNonce      = 1 << 10
	maxRedirect   = 4 << 10
)

// Beginnings of errors that Vault's web page and command line look for.
const (
	loginFailed  = "Vault login failed. "
	verifyFailed = "Token verification failed. "
	noFlow       = "OIDC login is not configured for this mount"
)

// flow is one login that is under way: from auth_url to the callback, or to the last poll.
type flow struct {
	state, nonce, verifier string
	role, redirect         string
	// provider is the provider that the login began at: what it gave is brought to no other one.
	provider engines.Destination
	// clientNonce is the client's proof that it began the login; "" for none.
	clientNonce string
	// mode is the role's callback mode when the login began.
	mode string
	// from is the client's address, or its network where clients have one of their own.
	from    netip.Addr
	expires time.Time
	// posted is the form that came; nil while there is none, and in all modes but "client".
	posted *posted
	poll   polling
}

// flows are the logins that are under way at one mount. They live in memory alone: sealing ends them.
type flows struct {
	now func() time.Time

	mu      sync.Mutex
	byState map[string]*flow   // Guarded by mu, as below.
	count   map[netip.Addr]int // How many each client has.
}

func newFlows(now func() time.Time) *flows {
	return &flows{now: now, byState: map[string]*flow{}, count: map[netip.Addr]int{}}
}

var errFlows = errors.New("too many logins are under way")

// add keeps a flow until it expires. It returns errFlows when there are too many, of this client or of all: those
// that are under way must not suffer from those that begin.
func (f *flows) add(w *flow) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.expires = f.now().Add(flowLife)
	if len(f.byState) >= maxFlows || f.count[w.from] >= maxFlowsOfOne {
		f.tidyLocked()
	}
	if len(f.byState) >= maxFlows || f.count[w.from] >= maxFlowsOfOne {
		return errFlows
	}
	f.byState[w.state] = w
	f.count[w.from]++
	return nil
}

// network is by what clients are told apart: of IPv6 addresses everybody has as many as he likes.
func network(a netip.Addr) netip.Addr {
	if a = a.Unmap(); !a.Is6() {
		return a
	}
	return netip.PrefixFrom(a, 64).Masked().Addr()
}

func (f *flows) tidyLocked() {
	now := f.now()
	for _, w := range f.byState {
		if !now.Before(w.expires) {
			f.removeLocked(w)
		}
	}
}

func (f *flows) removeLocked(w *flow) {
	delete(f.byState, w.state)
	if f.count[w.from]--; f.count[w.from] <= 0 {
		delete(f.count, w.from)
	}
}

// take returns the flow of a state and forgets it, so that nobody else can: a state is good for one callback.
func (f *flows) take(state string) (*flow, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.byState[state]
	if !ok {
		return nil, false
	}
	f.removeLocked(w)
	return w, f.now().Before(w.expires)
}

// with calls do with the flow of a state, which stays, and reports whether there is one. No other call for the
// mount's flows runs meanwhile.
func (f *flows) with(state string, do func(*flow)) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.byState[state]
	if !ok || !f.now().Before(w.expires) {
		return false
	}
	do(w)
	return true
}

type authURLParams struct {
	Role        string `param:"role" help:"Role to log in as."`
	Redirect    string `param:"redirect_uri" help:"Where the browser shall bring the answer."`
	ClientNonce string `param:"client_nonce" help:"What the client will show again at the end."`
}

// authURL begins a login. Most of what can be wrong is answered with an empty URL, as Vault does: whoever asks has
// shown nothing yet.
func (m *method) authURL(ctx context.Context, req *engines.Request, p authURLParams) (*engines.Response, error) {
	s, err := m.setup(ctx)
	if errors.Is(err, errUnconfigured) {
		return nil, errConfiguration
	}
	if err != nil {
		return nil, err
	}
	if !s.config.OIDC.hasFlow() {
		return nil, engines.Invalid(noFlow)
	}
	name, r, err := m.authRole(ctx, s.config, &p)
	if err != nil {
		return nil, err
	}
	if len(p.Redirect) > maxRedirect || len(p.ClientNonce) > maxNonce {
		return nil, engines.Invalid("redirect_uri or client_nonce is too long")
	}
	w := &flow{
		state: random(), role: name, redirect: p.Redirect, clientNonce: p.ClientNonce, from: network(req.Client.Addr),
		mode: r.OIDC.Callback, provider: s.config.provider(),
	}
	data, err := m.begin(ctx, s, r, w)
	if err != nil {
		m.logger.Warn("a login could not begin", "role", name, "reason", err)
		data = map[string]any{"auth_url": ""}
	}
	return &engines.Response{Data: data}, nil
}

// authRole finds the role and checks, in Vault's order, that there is a redirect.
func (m *method) authRole(ctx context.Context, c *config, p *authURLParams) (string, *role, error) {
	if p.Redirect == "" && (p.Role != "" || c.DefaultRole != "") {
		name, r, err := m.loginRole(ctx, c, p.Role)
		if err == nil && r.OIDC.Callback == callbackDevice {
			return name, r, nil
		}
		return "", nil, engines.Invalid("missing redirect_uri")
	}
	return m.loginRole(ctx, c, p.Role)
}

// begin makes the address that the user visits. Its errors are for the log.
func (m *method) begin(ctx context.Context, s *setup, r *role, w *flow) (map[string]any, error) {
	if w.mode == callbackDevice {
		return m.beginDevice(ctx, s, r, w)
	}
	if w.mode == callbackDirect && w.clientNonce == "" {
		// The state passes through the browser: it does not prove who began the login.
		return nil, errors.New("the callback mode needs a client_nonce")
	}
	namespace := ""
	if s.config.NamespaceInState {
		var err error
		if w.redirect, namespace, err = cutNamespace(w.redirect); err != nil {
			return nil, errors.New("the redirect_uri is no URI")
		}
	}
	if !admitsRedirect(r.OIDC.Redirects, w.redirect) {
		return nil, errors.New("the role does not allow the redirect_uri")
	}
	if s.config.OIDC.ResponseMode == responseFormPost {
		// A form is posted to the API and not to the web page.
		w.redirect = strings.Replace(w.redirect, "ui/vault", "v1", 1)
	}
	f, err := s.provider.discover(ctx)
	if err != nil {
		return nil, err
	}
	w.nonce = random()
	options := []oauth2.AuthCodeOption{oidc.Nonce(w.nonce)}
	if s.config.OIDC.ResponseMode == responseFormPost {
		options = append(options, oauth2.SetAuthURLParam("response_mode", responseFormPost))
	}
	if s.config.OIDC.asksFor(responseIDToken) {
		options = append(options, oauth2.SetAuthURLParam("response_type", responseIDToken))
	} else {
		w.verifier = oauth2.GenerateVerifier()
		options = append(options, oauth2.S256ChallengeOption(w.verifier))
	}
	if r.OIDC.MaxAge > 0 {
		options = append(options, oauth2.SetAuthURLParam("max_age", strconv.Itoa(int(r.OIDC.MaxAge/time.Second))))
	}
	state := w.state
	if namespace != "" {
		state += namespaceMark + namespace
	}
	data := map[string]any{"auth_url": s.provider.oauth(f, w.redirect, r.OIDC.Scopes).AuthCodeURL(state, options...)}
	if w.mode == callbackDirect {
		w.poll.interval = r.OIDC.interval()
		data["state"], data["poll_interval"] = w.state, inSeconds(w.poll.interval)
	}
	return data, m.flows.add(w)
}

// namespaceMark stands between a state and the namespace that the web page takes from it.
const namespaceMark = ",ns="

// cutNamespace takes the parameter namespace out of a redirect.
func cutNamespace(redirect string) (rest, namespace string, err error) {
	u, err := url.Parse(redirect)
	if err != nil {
		return "", "", err
	}
	query := u.Query()
	if namespace = query.Get("namespace"); namespace == "" {
		return redirect, "", nil
	}
	query.Del("namespace")
	u.RawQuery = query.Encode()
	return u.String(), namespace, nil
}

// admitsRedirect reports whether one of the allowed addresses is the redirect. On the user's own machine the port
// does not count (RFC 8252, 7.3).
func admitsRedirect(allowed []string, redirect string) bool {
	u, err := url.Parse(redirect)
	if err != nil {
		return false
	}
	if !isLoopback(u.Hostname()) {
		return slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, redirect) })
	}
	u.Host = u.Hostname()
	return slices.ContainsFunc(allowed, func(text string) bool {
		a, err := url.Parse(text)
		if err != nil {
			return false
		}
		a.Host = a.Hostname()
		return a.String() == u.String()
	})
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// random is 256 bits that nobody can guess.
func random() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // It never fails.
	return base64.RawURLEncoding.EncodeToString(raw)
}

// same compares what proves something.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
