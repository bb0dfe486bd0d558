package jwt

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"coffer/engines"
)

// Bounds of the logins that are under way. Anybody may begin one.
const (
	flowLife    = 10 * time.Minute
	maxNonce    = 1 << 10
	maxRedirect = 1 << 10
)

// Beginnings of errors that Vault's web page and command line look for.
const (
	loginFailed  = "Vault login failed. "
	verifyFailed = "Token verification failed. "
	noFlow       = "OIDC login is not configured for this mount"
)

// flow is one login that is under way: from auth_url to the callback, or to the last poll. It is what the state holds.
type flow struct {
	// id names the login; 128 random bits.
	id string
	// state is the flow sealed.
	state, nonce, verifier string
	role, redirect         string
	// provider is the destination that the login began at: what it gave is brought to no other one.
	provider string
	// proof is what is kept of the client's proof that it began the login; "" for none.
	proof string
	// mode is the role's callback mode when the login began.
	mode string
	// from is the client's address, or its network where clients have one of their own.
	from    netip.Addr
	expires time.Time
	// device is the code by which the provider knows a login of mode "device".
	device string
	// interval is how often the client may poll.
	interval time.Duration
}

// network is by what clients are told apart: of IPv6 addresses everybody has as many as he likes.
func network(a netip.Addr) netip.Addr {
	if a = a.Unmap(); !a.Is6() {
		return a
	}
	return netip.PrefixFrom(a, 64).Masked().Addr()
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
		id: newFlowID(), role: name, redirect: p.Redirect, proof: m.flows.proofOf(p.ClientNonce),
		from: network(req.Client.Addr), mode: r.OIDC.Callback, provider: s.config.provider().String(),
		expires: m.now().Add(flowLife),
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
	if w.mode == callbackDirect && w.proof == "" {
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
	m.flows.complete(w, !s.config.OIDC.asksFor(responseIDToken))
	options := []oauth2.AuthCodeOption{oidc.Nonce(w.nonce)}
	if s.config.OIDC.ResponseMode == responseFormPost {
		options = append(options, oauth2.SetAuthURLParam("response_mode", responseFormPost))
	}
	if s.config.OIDC.asksFor(responseIDToken) {
		options = append(options, oauth2.SetAuthURLParam("response_type", responseIDToken))
	} else {
		options = append(options, oauth2.S256ChallengeOption(w.verifier))
	}
	if r.OIDC.MaxAge > 0 {
		options = append(options, oauth2.SetAuthURLParam("max_age", strconv.Itoa(int(r.OIDC.MaxAge/time.Second))))
	}
	if w.mode == callbackDirect {
		w.interval = r.OIDC.interval()
	}
	if err := m.flows.seal(w); err != nil {
		return nil, err
	}
	state := w.state
	if namespace != "" {
		state += namespaceMark + namespace
	}
	data := map[string]any{"auth_url": s.provider.oauth(f, w.redirect, r.OIDC.Scopes).AuthCodeURL(state, options...)}
	if w.mode == callbackDirect {
		data["state"], data["poll_interval"] = w.state, inSeconds(w.interval)
	}
	return data, nil
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

// admitsRedirect reports whether one of the allowed addresses is the redirect, to the letter (RFC 9700, 4.1.3). On the
// user's own machine the port does not count (RFC 8252, 7.3).
func admitsRedirect(allowed []string, redirect string) bool {
	u, err := url.Parse(redirect)
	if err != nil {
		return false
	}
	if !isLoopback(u.Hostname()) {
		return slices.Contains(allowed, redirect)
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

// newFlowID makes the id of a login.
func newFlowID() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // It never fails.
	return string(raw)
}

// same compares what proves something.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
