package jwt

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/auth"
	"coffer/engines"
)

// begin begins a login and returns the parameters of its address.
func (v *mounted) begin(more claims) url.Values {
	v.t.Helper()
	params := claims{"role": "r", "redirect_uri": "http://localhost:8250/cb"}
	for name, value := range more {
		params[name] = value
	}
	address, _ := v.must("oidc/auth_url", params).Data["auth_url"].(string)
	u, err := url.Parse(address)
	if err != nil || address == "" {
		v.t.Fatalf("auth_url %q, %v; log:\n%s", address, err, v.log)
	}
	return u.Query()
}

// end brings back what the provider gave: the provider takes the nonce for a code.
func (v *mounted) end(q url.Values, more claims) (*engines.Response, error) {
	v.t.Helper()
	params := claims{"state": q.Get("state"), "code": q.Get("nonce")}
	for name, value := range more {
		params[name] = value
	}
	return v.call(engines.Read, "oidc/callback", params)
}

func TestBrowserLogin(t *testing.T) {
	o := newOP(t)
	v := withOP(t, o)
	v.must("role/r", claims{"groups_claim": "groups", "claim_mappings": claims{"nickname": "nick"}, "oidc_scopes": "profile",
		"verbose_oidc_logging": true, "bound_subject": "alice"})
	o.set(func() { o.claims = claims{"groups": []string{"g"}} })
	q := v.begin(claims{"client_nonce": "n"})
	want := url.Values{"client_id": {clientID}, "response_type": {"code"}, "scope": {"openid profile"},
		"redirect_uri": {"http://localhost:8250/cb"}, "code_challenge_method": {"S256"},
		"state": {q.Get("state")}, "nonce": {q.Get("nonce")}, "code_challenge": {q.Get("code_challenge")}}
	if diff := cmp.Diff(want, q); diff != "" {
		t.Errorf("address (-want +got):\n%s", diff)
	}
	resp, err := v.end(q, claims{"client_nonce": "n"})
	if err != nil {
		t.Fatal(err)
	}
	metadata := map[string]string{"role": "r", "nick": "al"}
	login := &engines.Login{DisplayName: "alice@example.org", Alias: "alice@example.org", GroupAliases: []string{"g"},
		Metadata: metadata, AliasMetadata: metadata, Policies: []string{}, Internal: map[string]any{"role": "r"}}
	resp.Login.StillGood = nil // see TestLoginIsNotGoodAnyMore
	if diff := cmp.Diff(login, resp.Login); diff != "" {
		t.Errorf("login (-want +got):\n%s", diff)
	}
	if challengeOf(o.verifier) != q.Get("code_challenge") {
		t.Error("the code came with another verifier than its challenge's")
	}
	for _, canary := range []string{"access-canary", clientSecret, q.Get("nonce"), q.Get("state"), o.verifier, "eyJ"} {
		if strings.Contains(v.log.String(), canary) {
			t.Errorf("the log holds %q:\n%s", canary, v.log)
		}
	}
	if !strings.Contains(v.log.String(), "alice@example.org") {
		t.Error("verbose logging does not show the claims")
	}
}

func TestStateIsGoodForOneCallback(t *testing.T) {
	v := withOP(t, newOP(t))
	q := v.begin(nil)
	if _, err := v.end(q, nil); err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string]url.Values{"used": q, "unknown": {"state": {"x"}}, "none": {}} {
		if _, err := v.end(q, nil); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%s state: %v, want ErrInvalid", name, err)
		}
	}
	q = v.begin(claims{"client_nonce": "n"})
	for _, nonce := range []string{"", "m", "n"} {
		// A wrong nonce ends the login: the right one comes too late.
		if _, err := v.end(q, claims{"client_nonce": nonce}); err == nil {
			t.Errorf("client_nonce %q after a wrong one works", nonce)
		}
	}
	q = v.begin(nil)
	v.pass(flowLife)
	if _, err := v.end(q, nil); err == nil {
		t.Error("the state does not expire")
	}
}

// TestLoginsThatBeginCostNothing begins more logins than anybody would wait for, from one address: nothing is kept of
// them, and nobody is locked out.
func TestLoginsThatBeginCostNothing(t *testing.T) {
	v := withOP(t, newOP(t))
	first := v.begin(nil)
	for range 2000 {
		if q := v.begin(nil); len(q.Get("state")) > 512 {
			t.Fatalf("a state of %d bytes", len(q.Get("state")))
		}
	}
	if n := len(v.method.flows.kept); n != 0 {
		t.Errorf("%d logins are kept", n)
	}
	if _, err := v.end(first, nil); err != nil {
		t.Errorf("the login that began first: %v", err)
	}
	for name, p := range map[string]claims{
		"a client_nonce": {"role": "r", "redirect_uri": "http://localhost/cb", "client_nonce": strings.Repeat("x", maxNonce+1)},
		"a redirect_uri": {"role": "r", "redirect_uri": "http://localhost/cb" + strings.Repeat("x", maxRedirect)},
	} {
		if _, err := v.call(engines.Update, "oidc/auth_url", p); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%s that is too long: %v", name, err)
		}
	}
}

// TestWhatIsKeptOfLoginsIsBounded lets strangers end logins wrongly and post forms without end. What is kept of a login
// that the provider confirmed stays.
func TestWhatIsKeptOfLoginsIsBounded(t *testing.T) {
	v := withOP(t, newOP(t))
	used := v.begin(nil)
	if _, err := v.end(used, nil); err != nil {
		t.Fatal(err)
	}
	f := v.method.flows
	stranger := func() *flow {
		w := &flow{id: newFlowID(), expires: v.method.now().Add(flowLife)}
		f.complete(w, true)
		return w
	}
	for range 2 * maxPassing {
		f.spend(stranger())
	}
	if n := len(f.kept); n > maxPassing+1 {
		t.Errorf("%d logins are kept, want at most %d", n, maxPassing+1)
	}
	if _, err := v.end(used, nil); err == nil {
		t.Error("a state is good a second time")
	}
	// Somebody else's form stays, although one network posts many.
	mine, greedy := stranger(), netip.MustParseAddr("10.0.0.1")
	if !f.post(mine, brought{code: "mine"}, netip.MustParseAddr("10.0.0.2")) {
		t.Fatal("a form is not kept")
	}
	for range 100 {
		f.post(stranger(), brought{idToken: strings.Repeat("x", maxToken)}, greedy)
	}
	if n := f.formsLocked(); n > maxForms {
		t.Errorf("%d bytes of forms are kept, want at most %d", n, maxForms)
	}
	if got, err := f.take(mine, noCode); err != nil || got.code != "mine" {
		t.Errorf("the form of another network: %v, %v", got, err)
	}
	v.pass(flowLife)
	f.spend(stranger())
	if n := len(f.kept); n > 2 {
		t.Errorf("%d logins are kept after their end", n)
	}
}

// TestStatesAreOfTheirMount brings a state to another mount, a changed one, and the parts of one to other uses.
func TestStatesAreOfTheirMount(t *testing.T) {
	o := newOP(t)
	v, other := withOP(t, o), withOP(t, o)
	q := v.begin(nil)
	if _, err := other.end(q, nil); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("the state of another mount: %v", err)
	}
	state := q.Get("state")
	first := "A"
	if state[0] == 'A' {
		first = "B"
	}
	for _, bent := range []string{state[:len(state)-1], state + "A", first + state[1:], strings.ToUpper(state)} {
		if _, ok := v.method.flows.open(bent); ok {
			t.Errorf("%q opens", bent)
		}
	}
	w, ok := v.method.flows.open(state)
	if !ok {
		t.Fatal("the state does not open")
	}
	sealed, err := v.method.flows.sealForm(w, brought{code: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := v.method.flows.open(sealed); ok {
		t.Error("a form opens as a state")
	}
	if _, ok := v.method.flows.openForm(w, state); ok {
		t.Error("a state opens as a form")
	}
	if _, err := v.method.flows.take(&flow{id: newFlowID()}, noCode+"."+sealed); err == nil {
		t.Error("the form of another login is taken")
	}
}

// TestDevicesAreAskedForAtABoundedRate keeps a crowd from making us a flood upon the provider.
func TestDevicesAreAskedForAtABoundedRate(t *testing.T) {
	v := withOP(t, newOP(t))
	f := v.method.flows
	one, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for range maxDevicesOfOne {
		if !f.beginDevice(one) {
			t.Fatal("too few may begin")
		}
	}
	if f.beginDevice(one) || !f.beginDevice(other) {
		t.Error("one client begins too many, or keeps out another")
	}
	v.pass(time.Minute)
	if !f.beginDevice(one) {
		t.Error("a minute later it is still refused")
	}
	if network(netip.MustParseAddr("2001:db8::1")) != network(netip.MustParseAddr("2001:db8::ffff:1")) {
		t.Error("a client counts as often as it has addresses in its network")
	}
}

func TestIDTokensThatAreNotForUs(t *testing.T) {
	hour := int64(time.Hour / time.Second)
	for name, change := range map[string]claims{
		"another issuer":                  {"iss": "https://evil.example.org"},
		"another nonce":                   {"nonce": "x"},
		"no nonce":                        {"nonce": nil},
		"another audience":                {"aud": "other"},
		"no audience":                     {"aud": nil},
		"two audiences without azp":       {"aud": []string{clientID, "other"}},
		"two audiences without us":        {"aud": []string{"x", "other"}, "azp": clientID},
		"another party":                   {"azp": "other"},
		"expired":                         {"exp": epoch.Unix() - 1},
		"from the future":                 {"iat": epoch.Unix() + hour},
		"not yet":                         {"nbf": epoch.Unix() + hour},
		"no subject":                      {"sub": nil},
		"a hash of another access token":  {"at_hash": "AAAA"},
		"proof of identity too long ago":  {"auth_time": epoch.Unix() - 2*hour},
		"no claim of when the proof was":  {"auth_time": nil},
		"a claim of proof that is a text": {"auth_time": "now"},
		"groups that are not wanted":      {"team": "b"},
		"no user":                         {"email": nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP(t)
			v := withOP(t, o)
			v.must("role/r", claims{"max_age": "1h", "bound_claims": claims{"team": "a"}})
			good := claims{"auth_time": epoch.Unix() - 60, "team": "a"}
			try := func() error {
				_, err := v.end(v.begin(nil), nil)
				return err
			}
			o.set(func() { o.claims = good })
			if err := try(); err != nil {
				t.Fatalf("unchanged: %v", err)
			}
			o.set(func() {
				for claim, value := range change {
					good[claim] = value
				}
			})
			if err := try(); !errors.Is(err, engines.ErrInvalid) {
				t.Errorf("%v, want ErrInvalid", err)
			}
		})
	}
}

func TestBoundSubjectOfABrowserLogin(t *testing.T) {
	v := withOP(t, newOP(t))
	v.must("role/r", claims{"bound_subject": "bob"})
	if resp, err := v.end(v.begin(nil), nil); !errors.Is(err, engines.ErrFailed) {
		t.Errorf("alice in place of bob: %+v, %v; want ErrFailed as in Vault", resp, err)
	}
}

func TestUserInfoOfAnotherIsIgnored(t *testing.T) {
	for name, info := range map[string]claims{
		"another subject": {"sub": "bob", "email": "bob@example.org"},
		"no subject":      {"email": "bob@example.org"},
		"another issuer":  {"sub": "alice", "iss": "https://evil.example.org", "email": "bob@example.org"},
	} {
		o := newOP(t)
		o.info = info
		v := withOP(t, o)
		resp, err := v.end(v.begin(nil), nil)
		if err != nil || resp.Login.Alias != "alice@example.org" {
			t.Errorf("%s: %+v, %v", name, resp, err)
		}
	}
}

func TestProviderGoesDownDuringALogin(t *testing.T) {
	o := newOP(t)
	v := withOP(t, o)
	q := v.begin(nil)
	o.set(func() { o.down = true })
	if _, err := v.end(q, nil); !errors.Is(err, engines.ErrInvalid) || !strings.Contains(err.Error(), "503") {
		t.Errorf("%v, want ErrInvalid that tells the status", err)
	}
	o.set(func() { o.down, o.huge = false, true })
	if _, err := v.end(v.begin(nil), nil); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("with an endless answer: %v, want ErrInvalid", err)
	}
}

func TestRedirects(t *testing.T) {
	allowed := []string{"http://localhost:8250/cb", "http://127.0.0.1/cb", "http://[::1]/cb", "https://vault.example.org/ui?x=y"}
	for redirect, want := range map[string]bool{
		"http://localhost:8250/cb":               true,
		"http://localhost:1/cb":                  true,
		"http://localhost/cb":                    true,
		"http://127.0.0.1:9/cb":                  true,
		"http://[::1]:9/cb":                      true,
		"https://vault.example.org/ui?x=y":       true,
		"https://VAULT.example.org/ui?x=y":       false,
		"https://vault.example.org/UI?x=y":       false,
		"https://localhost:8250/cb":              false,
		"http://localhost:8250/cb2":              false,
		"http://localhost:8250/cb?a=b":           false,
		"http://localhost@evil.example.org/cb":   false,
		"http://localhost.evil.example.org/cb":   false,
		"http://user@localhost/cb":               false,
		"https://vault.example.org:444/ui?x=y":   false,
		"https://vault.example.org/ui":           false,
		"https://vault.example.org/ui?x=y#z":     false,
		"http://localhost:8250/cb\n":             false,
		"":                                       false,
		"https://evil.example.org/ui?x=y":        false,
		"https://vault.example.org.evil/ui?x=y":  false,
		"https://vault.example.org/../ui?x=y":    false,
		"javascript://localhost:8250/cb":         false,
		"http://localhost:8250\\@evil.example/c": false,
	} {
		if got := admitsRedirect(allowed, redirect); got != want {
			t.Errorf("%q: %v, want %v", redirect, got, want)
		}
	}
}

// poll polls as a client does.
func (v *mounted) poll(state, nonce string) (*engines.Login, error) {
	v.t.Helper()
	resp, err := v.call(engines.Update, "oidc/poll", claims{"state": state, "client_nonce": nonce})
	if err != nil {
		return nil, err
	}
	return resp.Login, nil
}

// asked ends a login as the browser does, and returns what is hidden in the page that asks whether it is wanted.
func (v *mounted) asked(q url.Values) (question string) {
	v.t.Helper()
	resp, err := v.end(q, nil)
	if err != nil || resp.Login != nil || resp.Raw == nil || resp.Status != 200 {
		v.t.Fatalf("the browser gets %+v, %v; want a page", resp, err)
	}
	body := string(resp.Raw.Body)
	for _, want := range []string{"alice@example.org", "<b>r</b>", "10.0.0.1", `value="` + q.Get("state") + `"`} {
		if !strings.Contains(body, want) {
			v.t.Errorf("no %q in\n%s", want, body)
		}
	}
	_, rest, _ := strings.Cut(body, `name="question" value="`)
	question, _, _ = strings.Cut(rest, `"`)
	return question
}

// answer is the form of the page that asks.
func (v *mounted) answer(state, question, answer string) *engines.Response {
	v.t.Helper()
	resp, err := v.call(engines.Update, "oidc/callback", claims{"state": state, "question": question, "answer": answer})
	if err != nil {
		v.t.Fatal(err)
	}
	return resp
}

func TestDirectMode(t *testing.T) {
	o := newOP(t)
	v := withOP(t, o)
	v.must("role/r", claims{"callback_mode": "direct", "allowed_redirect_uris": "https://v.example.org/v1/auth/oidc/oidc/callback"})
	params := claims{"role": "r", "redirect_uri": "https://v.example.org/v1/auth/oidc/oidc/callback"}
	if got := v.must("oidc/auth_url", params).Data["auth_url"]; got != "" {
		t.Errorf("without a client_nonce: %v, want no address", got)
	}
	params["client_nonce"] = "n"
	begin := func() (url.Values, string) {
		data := v.must("oidc/auth_url", params).Data
		u, err := url.Parse(data["auth_url"].(string))
		if err != nil {
			t.Fatal(err)
		}
		return u.Query(), data["state"].(string)
	}
	q, state := begin()
	if _, err := v.poll(state, "n"); err == nil || err.Error() != "authorization_pending" {
		t.Errorf("poll before: %v", err)
	}
	if _, err := v.poll(state, "n"); err == nil || err.Error() != "slow_down" {
		t.Errorf("poll at once: %v", err)
	}
	question := v.asked(q)
	v.pass(time.Minute)
	if _, err := v.poll(state, "n"); err == nil || err.Error() != "authorization_pending" {
		t.Errorf("poll before the person has answered: %v", err)
	}
	for _, wrong := range []string{state, "n", question + "x"} {
		if resp := v.answer(state, wrong, "yes"); resp.Status != 400 {
			t.Errorf("answered by who has not seen the page: %d", resp.Status)
		}
	}
	if resp := v.answer(state, question, "yes"); resp.Status != 200 {
		t.Errorf("answered yes: %d %s", resp.Status, resp.Raw.Body)
	}
	if resp := v.answer(state, question, "no"); resp.Status != 400 {
		t.Errorf("answered twice: %d", resp.Status)
	}
	if again, err := v.end(q, nil); err != nil || again.Status != 400 {
		t.Errorf("the browser comes again after it has answered: %+v, %v", again, err)
	}
	v.pass(time.Minute)
	for _, nonce := range []string{"", "m"} {
		if _, err := v.poll(state, nonce); err == nil {
			t.Errorf("client_nonce %q gets the token", nonce)
		}
	}
	login, err := v.poll(state, "n")
	if err != nil || login.Alias != "alice@example.org" {
		t.Errorf("poll: %+v, %v", login, err)
	}
	if _, err := v.poll(state, "n"); err == nil {
		t.Error("the token is there twice")
	}
	for _, answer := range []string{"no", ""} {
		q, state = begin()
		if resp := v.answer(state, v.asked(q), answer); resp.Status != 200 {
			t.Errorf("answered %q: %d", answer, resp.Status)
		}
		if _, err := v.poll(state, "n"); !errors.Is(err, errNotConfirmed) {
			t.Errorf("poll for a login that was answered with %q: %v", answer, err)
		}
	}
	q, state = begin()
	o.set(func() { o.claims = claims{"email": nil} })
	if resp, err := v.end(q, nil); err != nil || resp.Status != 400 {
		t.Errorf("a login that fails: %+v, %v", resp, err)
	}
	if _, err := v.poll(state, "n"); !errors.Is(err, engines.ErrInvalid) || !strings.Contains(err.Error(), "email") {
		t.Errorf("poll for a login that failed: %v", err)
	}
}

// TestDirectLoginThatWaited confirms a login in the browser and changes what it rests on before its client polls: the
// token must not be what the role was then.
func TestDirectLoginThatWaited(t *testing.T) {
	const redirect = "https://v.example.org/v1/auth/oidc/oidc/callback"
	for name, tc := range map[string]struct {
		path   string
		change claims
		want   error
	}{
		"nothing":                  {"role/r", claims{"callback_mode": "direct"}, nil},
		"the policies of the role": {"role/r", claims{"token_policies": "fewer"}, auth.ErrChanged},
		"the audience of the role": {"role/r", claims{"bound_audiences": "others"}, auth.ErrChanged},
		"the bounds of the role":   {"role/r", claims{"bound_claims": claims{"team": "x"}}, auth.ErrChanged},
	} {
		t.Run(name, func(t *testing.T) {
			v := withOP(t, newOP(t))
			v.must("role/r", claims{"callback_mode": "direct", "allowed_redirect_uris": redirect, "token_policies": "many"})
			data := v.must("oidc/auth_url", claims{"role": "r", "redirect_uri": redirect, "client_nonce": "n"}).Data
			u, err := url.Parse(data["auth_url"].(string))
			if err != nil {
				t.Fatal(err)
			}
			state := data["state"].(string)
			if resp := v.answer(state, v.asked(u.Query()), "yes"); resp.Status != 200 {
				t.Fatalf("answered yes: %d", resp.Status)
			}
			v.must(tc.path, tc.change)
			if _, err := v.poll(state, "n"); !errors.Is(err, tc.want) {
				t.Errorf("poll: %v, want %v", err, tc.want)
			}
			if _, err := v.poll(state, "n"); err == nil {
				t.Error("the login can be fetched again")
			}
		})
	}
}

// TestSecondVisitEndsALogin reloads the page that asks: its question is lost, and who polls is told so.
func TestSecondVisitEndsALogin(t *testing.T) {
	o := newOP(t)
	v := withOP(t, o)
	v.must("role/r", claims{"callback_mode": "direct", "allowed_redirect_uris": "http://localhost/cb"})
	q := v.begin(claims{"client_nonce": "n"})
	state, question := q.Get("state"), v.asked(q)
	if again, err := v.end(q, nil); err != nil || again.Status != 400 || !strings.Contains(string(again.Raw.Body), oneVisit) {
		t.Errorf("the browser comes again: %+v, %v", again, err)
	}
	if resp := v.answer(state, question, "yes"); resp.Status != 400 {
		t.Errorf("the page of the first visit is answered: %d %s", resp.Status, resp.Raw.Body)
	}
	if _, err := v.poll(state, "n"); !errors.Is(err, errVisitedTwice) {
		t.Errorf("poll: %v, want errVisitedTwice", err)
	}
}

func TestDeviceMode(t *testing.T) {
	o := newOP(t)
	v := withOP(t, o)
	v.must("role/r", claims{"callback_mode": "device"})
	begin := func() string {
		data := v.must("oidc/auth_url", claims{"role": "r", "client_nonce": "n"}).Data
		state, _ := data["state"].(string)
		want := claims{"auth_url": o.URL + "/activate", "user_code": "ABCD", "poll_interval": "5", "state": state}
		if diff := cmp.Diff(want, data); diff != "" {
			t.Errorf("auth_url (-want +got):\n%s", diff)
		}
		return state
	}
	state := begin()
	for _, tc := range []struct {
		says, want string
		wait       time.Duration
	}{
		{"authorization_pending", "authorization_pending", 5 * time.Second},
		{"slow_down", "authorization_pending", 5 * time.Second},
		{"", "slow_down", 5 * time.Second},
		{"", "", 5 * time.Second},
	} {
		o.set(func() { o.device = tc.says })
		login, err := v.poll(state, "n")
		if tc.want == "" && (err != nil || login.Alias != "alice@example.org") || tc.want != "" && (err == nil || err.Error() != tc.want) {
			t.Errorf("the provider says %q: %+v, %v; want %q", tc.says, login, err, tc.want)
		}
		v.pass(tc.wait)
	}
	if _, err := v.poll(state, "n"); err == nil {
		t.Error("the token is there twice")
	}
	state = begin()
	o.set(func() { o.device = "access_denied" })
	if _, err := v.poll(state, "n"); err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("the user refused: %v", err)
	}
	v.pass(time.Minute)
	o.set(func() { o.device = "" })
	if _, err := v.poll(state, "n"); err == nil {
		t.Error("a login that was refused comes back")
	}
}
