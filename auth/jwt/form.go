package jwt

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"coffer/engines"
)

type callbackPostParams struct {
	callbackParams
	IDToken string `param:"id_token" help:"ID token, when that was asked for."`
	// Of the page that asks whether a login of mode "direct" is wanted.
	Question string `param:"question" help:"What the page was given."`
	Answer   string `param:"answer" help:"yes or no."`
}

// noCode says that the code came with a form before. A page that a form led to brings the form along, sealed, behind a
// point.
const noCode = "no_code"

// brought is what a browser brings from the provider: a code or an ID token.
type brought struct{ code, idToken string }

// errForm is returned for a callback with a form that was not sealed for this login.
var errForm = engines.Invalid(loginFailed + "A form came for this login, and the code is not that form's.")

// take uses a state up and returns what a callback with the code is about: the code, or a form that came before. Who
// began a login knows the state and the client_nonce, and may have sent the address to somebody else, whose browser
// posts: therefore the form itself is sealed into the link of the page that it led to, and only that page has it. The
// command line posts the form itself, with the client_nonce: that form is kept.
func (f *flows) take(w *flow, code string) (got brought, err error) {
	got = brought{code: code}
	if sealed, isTicket := strings.CutPrefix(code, noCode+"."); isTicket {
		var ok bool
		if got, ok = f.openForm(w, sealed); !ok {
			return brought{}, errForm
		}
	} else if code == noCode {
		got = brought{}
	}
	f.with(w, func(k *kept) {
		switch {
		case k.spent:
			err = errState
		case k.form != nil:
			got = *k.form
		}
		k.spent = true
		f.dropFormLocked(k)
	})
	return got, err
}

// callbackPost takes what the provider posts with a form. In mode "client" the client fetches its token with a GET.
func (m *method) callbackPost(
	ctx context.Context, req *engines.Request, p callbackPostParams,
) (*engines.Response, error) {
	s, err := m.setup(ctx)
	if errors.Is(err, errUnconfigured) {
		return nil, engines.Invalid(loginFailed + "Could not load configuration.")
	}
	if err != nil {
		return nil, err
	}
	if p.Question != "" {
		return m.confirmDirect(p)
	}
	if s.config.OIDC.ResponseMode != responseFormPost {
		return &engines.Response{Status: http.StatusMethodNotAllowed, Raw: &engines.Raw{ContentType: "application/json"}}, nil
	}
	if len(p.Code)+len(p.IDToken) > maxToken {
		return page(http.StatusBadRequest, "The provider's answer is too long.")
	}
	state, _, _ := strings.Cut(p.State, namespaceMark)
	got := brought{p.Code, p.IDToken}
	w, ok := m.flows.flow(state)
	switch {
	case !ok || w.mode == callbackDevice:
		return page(http.StatusBadRequest, expired)
	case w.mode == callbackDirect:
		return m.callbackDirect(ctx, s, w, got)
	}
	sealed := ""
	if w.proof != "" && same(w.proof, m.flows.proofOf(p.ClientNonce)) {
		// The first form counts.
		if !m.flows.post(w, got, req.Client.Addr) {
			return page(http.StatusBadRequest, expired)
		}
	} else if sealed, err = m.flows.sealForm(w, got); err != nil {
		return nil, err
	}
	mount := mountOf(w.redirect)
	switch {
	case mount == "":
		return page(http.StatusBadRequest, "The redirect is not one of this server's.")
	case len(sealed) > maxTicket:
		return page(http.StatusBadRequest, "The provider's answer is too long.")
	}
	return pageTo("Continue to complete the login.", "/ui/vault/auth/"+mount+"/oidc/callback?"+url.Values{
		"code": {strings.TrimSuffix(noCode+"."+sealed, ".")}, "state": {state}}.Encode())
}

// mountOf is the mount's name in a redirect to …/v1/auth/NAME/….
func mountOf(redirect string) string {
	_, rest, ok := strings.Cut(redirect, "/v1/auth/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}
