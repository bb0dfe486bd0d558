package jwt

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

const uiRedirect = "https://v.example.org/ui/vault/auth/oidc/oidc/callback"

// withForms is withOP for a provider that posts a form with a code or an ID token.
func withForms(t testing.TB, o *op, s storage.Storage, response string) *mounted {
	v := mount(t, s)
	v.must("config", claims{"oidc_discovery_url": o.URL, "oidc_client_id": clientID, "oidc_client_secret": clientSecret,
		"oidc_response_mode": "form_post", "oidc_response_types": response})
	v.must("role/r", claims{"user_claim": "email", "allowed_redirect_uris": "http://localhost/cb," + uiRedirect})
	return v
}

// ticketOf is the code in the link of the page that a form leads to.
func ticketOf(t *testing.T, resp *engines.Response, state string) string {
	t.Helper()
	link := regexp.MustCompile(`"/ui/vault/auth/oidc/oidc/callback\?code=(no_code\.[\w-]+)&amp;state=` +
		regexp.QuoteMeta(state) + `"`).FindSubmatch(resp.Raw.Body)
	if resp.Status != 200 || link == nil || !resp.Raw.KeepsOpener {
		t.Fatalf("the form leads to %d %s", resp.Status, resp.Raw.Body)
	}
	return string(link[1])
}

func TestFormPost(t *testing.T) {
	o := newOP(t)
	v := withForms(t, o, memory.New(), "id_token")
	post := func(state, token string) *engines.Response {
		return v.must("oidc/callback", claims{"state": state, "id_token": token})
	}
	q := v.begin(claims{"redirect_uri": uiRedirect})
	if q.Get("redirect_uri") != "https://v.example.org/v1/auth/oidc/oidc/callback" || q.Get("response_mode") != "form_post" ||
		q.Get("response_type") != "id_token" {
		t.Errorf("the address asks for %v", q)
	}
	token := func(nonce string) string {
		return sign(t, "rsa", claims{"iss": o.URL, "aud": clientID, "sub": "alice", "email": "a", "nonce": nonce,
			"iat": epoch.Unix(), "exp": epoch.Unix() + 60})
	}
	if resp := post("<script>", token("")); resp.Status != 400 || strings.Contains(string(resp.Raw.Body), "<script>") {
		t.Errorf("unknown state: %d %s", resp.Status, resp.Raw.Body)
	}
	resp := post(q.Get("state"), token(q.Get("nonce")))
	ticket := ticketOf(t, resp, q.Get("state"))
	// A second form has a link of its own, and does not replace the first.
	if second := ticketOf(t, post(q.Get("state"), token("another")), q.Get("state")); second == ticket {
		t.Error("two forms lead to one link")
	}
	got, err := v.end(q, claims{"code": ticket})
	if err != nil || got.Login.Alias != "a" {
		t.Errorf("callback: %+v, %v", got, err)
	}
	q = v.begin(claims{"redirect_uri": uiRedirect})
	ticket = ticketOf(t, post(q.Get("state"), token("another")), q.Get("state"))
	if _, err := v.end(q, claims{"code": ticket}); err == nil || !strings.Contains(err.Error(), "nonce") {
		t.Errorf("another login's ID token: %v, want an error about the nonce", err)
	}
}

// TestFormOfAnotherIsNotForWhoBegan has somebody else's browser post the form of a login: who began it and sent him
// the address knows the state and the client_nonce, and asks for the token.
func TestFormOfAnotherIsNotForWhoBegan(t *testing.T) {
	o := newOP(t)
	mallory, victim := netip.MustParseAddr("10.6.6.6"), netip.MustParseAddr("10.0.0.1")
	for _, response := range []string{"code", "id_token"} {
		v := withForms(t, o, memory.New(), response)
		// attempt returns who the callback logs in, "" for nobody.
		attempt := func(form claims, code func(page *engines.Response, q url.Values) string) string {
			v.from = mallory
			q := v.begin(claims{"redirect_uri": uiRedirect, "client_nonce": "n"})
			v.from = victim
			posted := claims{"state": q.Get("state")}
			if posted[response] = q.Get("nonce"); response == "id_token" {
				posted[response] = sign(t, "rsa", claims{"iss": o.URL, "aud": clientID, "sub": "alice",
					"email": "alice@example.org", "nonce": q.Get("nonce"), "iat": epoch.Unix(), "exp": epoch.Unix() + 60})
			}
			for name, value := range form {
				posted[name] = value
			}
			resp := v.must("oidc/callback", posted)
			v.from = mallory
			got, err := v.end(q, claims{"code": code(resp, q), "client_nonce": "n"})
			if err != nil {
				if !errors.Is(err, engines.ErrInvalid) {
					t.Errorf("%s: %v, want ErrInvalid", response, err)
				}
				return ""
			}
			return got.Login.Alias
		}
		for _, guess := range []string{"", noCode, noCode + ".", noCode + ".AAAAAAAAAAAAAAAAAAAAAAAAAA", "x"} {
			if who := attempt(nil, func(*engines.Response, url.Values) string { return guess }); who != "" {
				t.Errorf("%s, code %q: who began the login is logged in as %s, who was asked nothing", response, guess, who)
			}
			if who := attempt(claims{"client_nonce": "m"}, func(*engines.Response, url.Values) string { return guess }); who != "" {
				t.Errorf("%s, code %q, a form with another client_nonce: logged in as %s", response, guess, who)
			}
		}
		// Whose page it is gets the token.
		if who := attempt(nil, func(resp *engines.Response, q url.Values) string {
			return ticketOf(t, resp, q.Get("state"))
		}); who != "alice@example.org" {
			t.Errorf("%s: with the page's link: %q", response, who)
		}
	}
}

// TestFormOfTheCommandLine posts as `vault login` does with what its own listener was given: with its client_nonce.
// Its callback repeats the code, or shows none when there was an ID token.
func TestFormOfTheCommandLine(t *testing.T) {
	o := newOP(t)
	for _, tc := range []struct{ response, nonce, wants string }{
		{"code", "n", "alice@example.org"},
		{"code", "", "alice@example.org"}, // A client without a nonce shows the code that was posted.
		{"id_token", "n", "alice@example.org"},
		{"id_token", "", ""}, // It shows nothing.
	} {
		v := withForms(t, o, memory.New(), tc.response)
		q := v.begin(claims{"client_nonce": tc.nonce})
		form := claims{"state": q.Get("state"), "code": "", "id_token": "", "client_nonce": tc.nonce}
		code := ""
		if tc.response == "code" {
			code = q.Get("nonce")
			form["code"] = code
		} else {
			form["id_token"] = sign(t, "rsa", claims{"iss": o.URL, "aud": clientID, "sub": "alice",
				"email": "alice@example.org", "nonce": q.Get("nonce"), "iat": epoch.Unix(), "exp": epoch.Unix() + 60})
		}
		if resp := v.must("oidc/callback", form); resp.Status != 400 {
			t.Errorf("%+v: the form is answered with %d, want 400 as in Vault", tc, resp.Status)
		}
		resp, err := v.end(q, claims{"code": code, "client_nonce": tc.nonce})
		who := ""
		if err == nil {
			who = resp.Login.Alias
		}
		if who != tc.wants || tc.wants == "" && !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%+v: %q, %v", tc, who, err)
		}
	}
}

// paused is a store whose next read of a role waits.
type paused struct {
	storage.Storage
	hold             atomic.Bool
	arrived, proceed chan struct{}
}

func (p *paused) Get(ctx context.Context, key string) ([]byte, error) {
	if strings.Contains(key, "role") && p.hold.CompareAndSwap(true, false) {
		close(p.arrived)
		<-p.proceed
	}
	return p.Storage.Get(ctx, key)
}

// TestQuestionIsForTheBrowserThatBroughtTheForm has who began the login come to callback just before the form of
// somebody else's browser does.
func TestQuestionIsForTheBrowserThatBroughtTheForm(t *testing.T) {
	for _, code := range []string{noCode, "", "x"} {
		o := newOP(t)
		store := &paused{Storage: memory.New(), arrived: make(chan struct{}), proceed: make(chan struct{})}
		v := withForms(t, o, store, "code")
		v.must("role/r", claims{"callback_mode": "direct"})
		q := v.begin(claims{"client_nonce": "n"})
		store.hold.Store(true)
		pages := make(chan *engines.Response, 1)
		go func() { // who began the login
			resp, err := v.end(q, claims{"code": code})
			if err != nil {
				t.Error(err)
			}
			pages <- resp
		}()
		var early, victims *engines.Response
		victim := func() {
			victims = v.must("oidc/callback", claims{"state": q.Get("state"), "code": q.Get("nonce")})
		}
		select {
		case <-store.arrived:
			victim()
			close(store.proceed)
			early = <-pages
		case early = <-pages:
			close(store.proceed)
			victim()
		}
		if body := string(early.Raw.Body); early.Status != 400 || strings.Contains(body, "question") || strings.Contains(body, "alice") {
			t.Errorf("code %q: who began the login gets %d %s", code, early.Status, body)
		}
		// A visit that took the victim's place has ended the login; one that was refused has not.
		if asked := strings.Contains(string(victims.Raw.Body), `name="question"`); asked != (code == noCode) {
			t.Errorf("code %q: the victim gets %d %s", code, victims.Status, victims.Raw.Body)
		}
		if login, err := v.poll(q.Get("state"), "n"); err == nil {
			t.Errorf("code %q: who began the login is logged in as %s, who was asked nothing", code, login.Alias)
		}
	}
}

// TestSecondVisitMeanwhile brings the form a second time while the first is still being looked at.
func TestSecondVisitMeanwhile(t *testing.T) {
	o := newOP(t)
	store := &paused{Storage: memory.New(), arrived: make(chan struct{}), proceed: make(chan struct{})}
	v := withForms(t, o, store, "code")
	v.must("role/r", claims{"callback_mode": "direct"})
	q := v.begin(claims{"client_nonce": "n"})
	form := claims{"state": q.Get("state"), "code": q.Get("nonce")}
	store.hold.Store(true)
	pages := make(chan *engines.Response, 1)
	go func() {
		resp, err := v.call(engines.Update, "oidc/callback", form)
		if err != nil {
			t.Error(err)
		}
		pages <- resp
	}()
	<-store.arrived
	second := v.must("oidc/callback", form)
	close(store.proceed)
	for _, resp := range []*engines.Response{second, <-pages} {
		if resp.Status != 400 || !strings.Contains(string(resp.Raw.Body), oneVisit) {
			t.Errorf("a browser that came twice gets %d %s", resp.Status, resp.Raw.Body)
		}
	}
	if _, err := v.poll(q.Get("state"), "n"); !errors.Is(err, errVisitedTwice) {
		t.Errorf("poll: %v, want errVisitedTwice", err)
	}
}
