package jwt

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/netip"

	"coffer/engines"
)

// directLogin is a login whose browser comes back here, not to the client. Whoever began it may have sent its address
// to somebody else, whose browser the provider knows already: so the person at the browser is asked who began it
// before the client that polls gets his token.
type directLogin struct {
	// busy is set once a browser was here: a second visit must not put another login in its place. It ends the login,
	// because the page of the first may be lost, and who polls shall not wait for its answer.
	busy bool
	// question is what only the page that asks knows; "" while nothing is asked.
	question string
	// asked is the login that the answer is for.
	asked *engines.Login
}

// Answers of the page that asks.
const (
	answerYes = "yes"
	answerNo  = "no"
)

var (
	errNotConfirmed = engines.Invalid(loginFailed + "It was not confirmed in the browser.")
	errVisitedTwice = engines.Invalid(loginFailed + "The browser came twice before it was confirmed.")
)

// oneVisit is the text for a browser that comes again.
const oneVisit = "This address is good for one visit. If you had not answered yet, the login has ended: begin it anew."

// visit admits the first visit of a browser, and ends a login that has another before it is confirmed; the mount's
// flows are locked.
func (k *kept) visit() bool {
	first := !k.direct.busy
	k.direct.busy = true
	if !first && k.outcome == nil {
		k.outcome = &outcome{err: errVisitedTwice}
		k.direct.question, k.direct.asked = "", nil
	}
	return first
}

// callbackDirect asks the person at the browser whether it was he who began the login.
func (m *method) callbackDirect(ctx context.Context, s *setup, w *flow, got brought) (*engines.Response, error) {
	if s.provider == nil || !s.config.OIDC.hasFlow() {
		return page(http.StatusBadRequest, expired)
	}
	first, over := false, false
	m.flows.with(w, func(k *kept) {
		if over = k.spent; !over {
			first = k.visit()
		}
	})
	switch {
	case over:
		return page(http.StatusBadRequest, expired)
	case !first:
		return page(http.StatusBadRequest, oneVisit)
	}
	r, err := m.flowRole(ctx, w)
	var login *engines.Login
	if err == nil {
		login, err = m.complete(ctx, s, r, w, got)
	}
	if err != nil {
		m.flows.with(w, func(k *kept) { k.outcome = &outcome{err: err} })
		m.logger.Warn("a login failed", "role", w.role, "reason", err)
		return page(http.StatusBadRequest, "The login failed. The client that began it knows the reason.")
	}
	question, asks := rand.Text(), false
	m.flows.with(w, func(k *kept) {
		k.lasting = true
		// Another visit may have ended the login meanwhile, or be ahead where this one was forgotten.
		if asks = k.outcome == nil && k.direct.question == ""; asks {
			k.direct = directLogin{busy: true, question: question, asked: login}
		}
	})
	if !asks {
		return page(http.StatusBadRequest, oneVisit)
	}
	return ask(confirmation{
		User: login.Alias, Role: w.role, From: w.from, State: w.state, Question: question, Yes: answerYes, No: answerNo,
	})
}

// confirmDirect takes the answer of the page that asks.
func (m *method) confirmDirect(p callbackPostParams) (*engines.Response, error) {
	w, ok := m.flows.flow(p.State)
	known := false
	if ok {
		m.flows.with(w, func(k *kept) {
			d := &k.direct
			if known = d.question != "" && same(d.question, p.Question); !known {
				return
			}
			k.outcome = &outcome{err: errNotConfirmed}
			if p.Answer == answerYes {
				k.outcome = &outcome{login: d.asked}
			}
			d.question, d.asked = "", nil
		})
	}
	switch {
	case !known:
		return page(http.StatusBadRequest, expired)
	case p.Answer == answerYes:
		return page(http.StatusOK, "You are logged in. You can close this window.")
	default:
		return page(http.StatusOK, "The login was refused. Nobody has got a token.")
	}
}

// confirmation is what the page that asks shows and sends back.
type confirmation struct {
	User, Role string
	// From is where the login began, or the network of that client.
	From            netip.Addr
	State, Question string
	Yes, No         string
}
