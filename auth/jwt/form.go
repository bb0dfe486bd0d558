package jwt

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
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

// noCode says that the code came with a form before.
const noCode = "no_code"

// brought is what a browser brings from the provider: a code or an ID token.
type brought struct{ code, idToken string }

// posted is a form of a login of mode "client", which waits for the client's callback. Who began the login knows the
// state and the client_nonce, and may have sent the address to somebody else, whose browser posts: the callback must
// show that it is of who posted.
type posted struct {
	brought
	// ticket is the code in the link of the page that the form led to. Only that page has it.
	ticket string
	// byClient is set for a form that came with the client_nonce. Providers do not know it and so their forms lack it,
	// and nobody can add it by the address: parameters of a POST are those of its body. The command line posts it with
	// what its own listener was given, and shows no more than the nonce at its callback when that was an ID token.
	byClient bool
}

var errForm = engines.Invalid(loginFailed + "A form came for this login, and the code is not that form's.")

// brings returns what a callback with the code is about: the code, or the form that came before. It returns errForm
// when there is a form and the callback does not show that it is of who posted it.
func (w *flow) brings(code string) (brought, error) {
	f := w.posted
	switch {
	case f == nil && code == noCode:
		return brought{}, nil
	case f == nil:
		return brought{code: code}, nil
	case f.byClient, same(f.ticket, code), f.code != "" && same(f.code, code):
		return f.brought, nil
	default:
		return brought{}, errForm
	}
}

// callbackPost takes what the provider posts with a form. In mode "client" it is kept until the client fetches its
// token with a GET.
func (m *method) callbackPost(
	ctx context.Context, _ *engines.Request, p callbackPostParams,
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
	form := &posted{brought: brought{p.Code, p.IDToken}, ticket: noCode + "." + rand.Text()}
	mode, redirect, kept := "", "", false
	m.flows.with(state, func(w *flow) {
		mode, redirect = w.mode, w.redirect
		// The first form counts: whoever reads the address of the page must not replace it.
		if kept = mode != callbackDirect && mode != callbackDevice && w.posted == nil; kept {
			form.byClient = w.clientNonce != "" && same(w.clientNonce, p.ClientNonce)
			w.posted = form
		}
	})
	switch {
	case mode == callbackDirect:
		return m.callbackDirect(ctx, s, state, form.brought)
	case !kept:
		return page(http.StatusBadRequest, expired)
	}
	mount := mountOf(redirect)
	if mount == "" {
		return page(http.StatusBadRequest, "The redirect is not one of this server's.")
	}
	return pageTo("Continue to complete the login.",
		"/ui/vault/auth/"+mount+"/oidc/callback?code="+form.ticket+"&state="+state)
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
