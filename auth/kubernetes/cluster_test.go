package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"coffer/engines"
	"coffer/storage"
)

// accepted is a token that the API server vouches for.
func accepted(t testing.TB, a *api) string {
	t.Helper()
	jwt := signed(t, jose.ES256, newKey(t), esoToken().claims())
	a.knows(jwt, "prod", "eso", "u-1")
	return jwt
}

// TestTroubleWithTheAPIServer: whatever is wrong with it, the client is only denied, the log tells the
// operator, and nobody waits for long.
func TestTroubleWithTheAPIServer(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		log     string
	}{
		"reviewer without rights": {func(w http.ResponseWriter, _ *http.Request) { jsonStatus(w, 403, "Forbidden") }, "403 Forbidden"},
		"reviewer unknown":        {func(w http.ResponseWriter, _ *http.Request) { jsonStatus(w, 401, "Unauthorized") }, "reviewer's token"},
		"unwell":                  {func(w http.ResponseWriter, _ *http.Request) { jsonStatus(w, 503, "ServiceUnavailable") }, "503"},
		"try later": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			jsonStatus(w, 429, "TooManyRequests")
		}, "429"},
		"something else": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>canary-message") }, "no verdict"},
		"an empty answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
		}, ""},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"slow":     {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "too long"},
		"sends us elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}, "no verdict"},
		"never stops talking": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for range 3 * maxAnswer / 1024 {
				if _, err := w.Write(make([]byte, 1024)); err != nil {
					return
				}
			}
		}, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			m := configured(t, a, nil)
			if name == "slow" {
				m.patience = 100 * time.Millisecond
			}
			jwt := accepted(t, a)
			a.intercepted(func(w http.ResponseWriter, r *http.Request) {
				// A server only notices that its client is gone once it has read the body.
				json.NewDecoder(r.Body).Decode(new(any))
				tc.handler(w, r)
			})
			if got := m.login(t, "app", jwt); got != denied {
				t.Errorf("got %q, want %q", got, denied)
			}
			if log := m.logs.String(); !strings.Contains(log, tc.log) || !strings.Contains(log, "the token review") {
				t.Errorf("the log does not say %q:\n%s", tc.log, log)
			}
			if elsewhere.Load() > 0 {
				t.Error("the request followed a redirect")
			}
			a.intercepted(nil)
			m.patience = patience
			if got := m.login(t, "app", jwt); got != loggedIn {
				t.Errorf("afterwards: %q", got)
			}
		})
	}
}

func jsonStatus(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	status(w, code, reason)
}

func TestAPIServerIsDown(t *testing.T) {
	a := newAPI(t)
	m := configured(t, a, nil)
	jwt := accepted(t, a)
	a.Close()
	if got := m.login(t, "app", jwt); got != denied {
		t.Errorf("got %q, want %q", got, denied)
	}
	if log := m.logs.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "connection refused") {
		t.Errorf("the log does not say that it is down:\n%s", log)
	}
}

func TestAPIServerMustProveItself(t *testing.T) {
	a, impostor := newAPI(t), newImpostor(t)
	m := configured(t, a, object{"kubernetes_host": impostor.URL})
	if got := m.login(t, "app", accepted(t, a)); got != denied {
		t.Errorf("got %q, want %q", got, denied)
	}
	if log := m.logs.String(); !strings.Contains(log, "certificate") {
		t.Errorf("the log does not speak of the certificate:\n%s", log)
	}
	// A CA that cannot be read trusts nobody.
	m = configured(t, a, object{"kubernetes_ca_cert": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"})
	if got := m.login(t, "app", accepted(t, a)); got != denied {
		t.Errorf("got %q, want %q", got, denied)
	}
}

// newImpostor is a server with a certificate that the CA of newAPI did not sign.
func newImpostor(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the impostor was asked")
	}))
	s.Config.ErrorLog = discardLog()
	s.TLS = selfSigned(t)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// TestNoPileUp: of many logins at a server that hangs, few ask it, some wait, and the rest are refused at
// once; then all goes on as before.
func TestNoPileUp(t *testing.T) {
	a := newAPI(t)
	m := configured(t, a, nil)
	m.gate, m.patience = newGate(2, 3), time.Minute
	jwt := accepted(t, a)
	var asking atomic.Int64
	release := make(chan struct{})
	a.intercepted(func(w http.ResponseWriter, _ *http.Request) {
		asking.Add(1)
		<-release
		jsonStatus(w, 503, "ServiceUnavailable")
	})
	const logins = 12
	answers := make(chan string, logins)
	var all sync.WaitGroup
	for range logins {
		all.Go(func() {
			answers <- line(m.call(t.Context(), engines.Update, "login", object{"role": "app", "jwt": jwt}))
		})
	}
	for range logins - 5 {
		if got := <-answers; got != denied {
			t.Errorf("got %q, want %q", got, denied)
		}
	}
	if n := asking.Load(); n > 2 {
		t.Errorf("%d logins asked at one time", n)
	}
	if log := m.logs.String(); strings.Count(log, "too many logins") != logins-5 {
		t.Errorf("the log does not say so:\n%s", log)
	}
	close(release)
	all.Wait()
	a.intercepted(nil)
	if got := m.login(t, "app", jwt); got != loggedIn {
		t.Errorf("afterwards: %q", got)
	}
}

// TestGivingUpWhileWaiting: a client that is gone leaves its place.
func TestGivingUpWhileWaiting(t *testing.T) {
	g := newGate(1, 1)
	leave, err := g.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if _, err := g.enter(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
	leave()
	if leave, err = g.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	leave()
}

func TestConnectionsAreKept(t *testing.T) {
	a := newAPI(t)
	m := configured(t, a, nil)
	jwt := accepted(t, a)
	many := func() {
		t.Helper()
		for range 5 {
			if got := m.login(t, "app", jwt); got != loggedIn {
				t.Fatalf("got %q", got)
			}
		}
	}
	many()
	if n := a.connections.Load(); n != 1 {
		t.Errorf("%d connections for 5 logins", n)
	}
	// Connections that the server closed meanwhile do not cost a login.
	a.CloseClientConnections()
	many()
	// Nor does one that it closes in our face.
	var once atomic.Bool
	a.intercepted(func(w http.ResponseWriter, r *http.Request) {
		if once.CompareAndSwap(false, true) {
			panic(http.ErrAbortHandler)
		}
		a.answer(w, r)
	})
	many()
	m.must(t, "config", object{"kubernetes_host": a.URL, "kubernetes_ca_cert": a.ca(), "disable_local_ca_jwt": true,
		"token_reviewer_jwt": reviewer})
	many()
	if n := a.connections.Load(); n != 4 {
		t.Errorf("%d connections, want 4: one, one for each that was closed, one for the new configuration", n)
	}
}

// TestPod: what Kubernetes puts into the server's own pod is read anew when it changes.
func TestPod(t *testing.T) {
	a := newAPI(t)
	m := newMount(t)
	m.secrets = append(m.secrets, "pod-token-1", "pod-token-2")
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(m.pod, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := object{"kubernetes_host": a.URL}
	if got, want := m.do(t, engines.Update, "config", config),
		"400 open "+filepath.Join(m.pod, "ca.crt")+": no such file or directory"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	put("ca.crt", a.ca())
	m.must(t, "config", config)
	m.must(t, "role/app", object{"bound_service_account_names": "eso", "bound_service_account_namespaces": "prod"})
	jwt := accepted(t, a)
	login := func(want string) {
		t.Helper()
		if got := m.login(t, "app", jwt); got != want {
			t.Errorf("got %q, want %q\n%s", got, want, m.logs)
		}
	}
	login(loggedIn) // without a token of its own, with the client's
	put("token", "pod-token-1\n")
	login(loggedIn)
	put("token", "pod-token-2\n")
	login(loggedIn)
	if diff := cmp.Diff([]string{"Bearer " + jwt, "Bearer pod-token-1", "Bearer pod-token-2"}, a.bearers); diff != "" {
		t.Errorf("bearers (-want +got):\n%s", diff)
	}
	put("ca.crt", selfSignedPEM(t))
	login(denied)
	put("ca.crt", a.ca())
	login(loggedIn)
	if err := os.Remove(filepath.Join(m.pod, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	login("500 the CA of the Kubernetes API server cannot be read")
	// Told not to, it reads nothing of the pod.
	m.must(t, "config", object{"kubernetes_host": a.URL, "kubernetes_ca_cert": a.ca(), "disable_local_ca_jwt": true})
	login(loggedIn)
	if got := a.bearers[len(a.bearers)-1]; got != "Bearer "+jwt {
		t.Errorf("asked as somebody else than the client")
	}
}

func TestNamespaceSelector(t *testing.T) {
	const path = "/api/v1/namespaces/prod"
	object1 := `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"prod","labels":{"team":"a","tier":"1"}}}`
	for name, tc := range map[string]struct {
		selector, namespace string
		config              object
		want, log           string
	}{
		"fits":          {`{"matchLabels":{"team":"a"}}`, object1, nil, loggedIn, ""},
		"YAML":          {"matchLabels:\n  team: a\n  tier: '1'\n", object1, nil, loggedIn, ""},
		"everything":    {`{}`, object1, nil, loggedIn, ""},
		"one is wrong":  {`{"matchLabels":{"team":"a","tier":"2"}}`, object1, nil, wrongSpace, "has not those labels"},
		"one is absent": {`{"matchLabels":{"x":""}}`, object1, nil, wrongSpace, "has not those labels"},
		"no labels":     {`{"matchLabels":{"team":"a"}}`, `{"metadata":{}}`, nil, wrongSpace, "has not those labels"},
		"no namespace":  {`{"matchLabels":{"team":"a"}}`, "", nil, wrongSpace, "404 NotFound"},
		"not an object": {`{"matchLabels":{"team":"a"}}`, "canary-message", nil, wrongSpace, "not an object"},
		"no reviewer": {`{"matchLabels":{"team":"a"}}`, object1, object{"token_reviewer_jwt": ""},
			wrongSpace + " err=namespace lookup failed: TokenReviewer JWT needs to be configured to use namespace selectors", "selector"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			if tc.namespace != "" {
				a.objects[path] = tc.namespace
			}
			m := configured(t, a, tc.config)
			m.must(t, "role/app", object{"bound_service_account_namespaces": "",
				"bound_service_account_namespace_selector": tc.selector})
			if got := m.login(t, "app", accepted(t, a)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if log := m.logs.String(); !strings.Contains(log, tc.log) {
				t.Errorf("the log does not say %q:\n%s", tc.log, log)
			}
		})
	}
}

// TestSelectorIsForTheConfirmed: a token that nobody vouches for learns nothing of namespaces, and its words do
// not become paths of the API.
func TestSelectorIsForTheConfirmed(t *testing.T) {
	a := newAPI(t)
	m := configured(t, a, nil)
	m.must(t, "role/app", object{"bound_service_account_namespaces": "",
		"bound_service_account_namespace_selector": `{"matchLabels":{"team":"a"}}`})
	k := esoToken()
	k.namespace = "../secrets"
	if got := m.login(t, "app", signed(t, jose.ES256, newKey(t), k.claims())); got != denied {
		t.Errorf("got %q, want %q", got, denied)
	}
	if n := len(a.bearers); n != 1 {
		t.Errorf("%d requests, want the review alone", n)
	}
}

func TestAnnotations(t *testing.T) {
	const path = "/api/v1/namespaces/prod/serviceaccounts/eso"
	account := func(uid string, annotations object) string {
		raw, err := json.Marshal(object{"metadata": object{"uid": uid, "annotations": annotations}})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	reserved := `400 entity alias metadata keys for only internal use found from the client token's associated ` +
		`service account annotations: keys=["service_account_name" "service_account_uid"]`
	for name, tc := range map[string]struct {
		account string
		want    string
		more    map[string]string
	}{
		"some": {account("u-1", object{annotationPrefix + "color": "blue", "other": "x"}), loggedIn, map[string]string{"color": "blue"}},
		"none": {account("u-1", nil), loggedIn, nil},
		"reserved": {account("u-1", object{annotationPrefix + "service_account_uid": "u-9",
			annotationPrefix + "service_account_name": "root"}), reserved, nil},
		"made anew": {account("u-2", nil), "500 failed to get service account", nil},
		"absent":    {"", "500 failed to get service account", nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			if tc.account != "" {
				a.objects[path] = tc.account
			}
			m := configured(t, a, object{"use_annotations_as_alias_metadata": true})
			resp, err := m.call(t.Context(), engines.Update, "login", object{"role": "app", "jwt": accepted(t, a)})
			if got := line(resp, err); got != tc.want {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
			if err != nil {
				return
			}
			want := map[string]string{"service_account_uid": "u-1", "service_account_name": "eso",
				"service_account_namespace": "prod", "service_account_secret_name": ""}
			for key, value := range tc.more {
				want[key] = value
			}
			if diff := cmp.Diff(want, resp.Login.AliasMetadata); diff != "" {
				t.Errorf("alias metadata (-want +got):\n%s", diff)
			}
			if _, leaked := resp.Login.Metadata["color"]; leaked {
				t.Error("an annotation became metadata of the token")
			}
		})
	}
}

// readOnly is a storage that takes no changes.
type readOnly struct {
	storage.Storage
	t *testing.T
}

func (s readOnly) Apply(context.Context, ...storage.Op) error {
	s.t.Error("a login changed the mount's storage")
	return storage.ErrNotLeader
}

// TestLoginWritesNothing: the one commit of a login is the token's.
func TestLoginWritesNothing(t *testing.T) {
	a := newAPI(t)
	m := configured(t, a, nil)
	m.storage = readOnly{m.storage, t}
	if got := m.login(t, "app", accepted(t, a)); got != loggedIn {
		t.Errorf("got %q", got)
	}
	m.login(t, "app", "garbage")
}
