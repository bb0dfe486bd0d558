package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authv1 "k8s.io/api/authentication/v1"

	"coffer/engines"
	"coffer/storage/memory"
)

// epoch is when the tests begin.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// reviewer is the token that the mount of the tests asks with.
const reviewer = "reviewer-token-canary"

// api is a Kubernetes API server that knows some tokens.
type api struct {
	*httptest.Server
	reviews, connections atomic.Int64

	mu sync.Mutex
	// tokens are the tokens it vouches for, and whose they are.
	tokens map[string]authv1.TokenReviewStatus
	// asked are the reviews' audiences, bearers the Authorization headers.
	asked   [][]string
	bearers []string
	// objects are what GET answers, by path.
	objects map[string]string
	// intercept answers in place of everything else when it is set.
	intercept http.HandlerFunc
}

func newAPI(t testing.TB) *api {
	t.Helper()
	a := &api{tokens: map[string]authv1.TokenReviewStatus{}, objects: map[string]string{}}
	a.Server = httptest.NewUnstartedServer(a)
	a.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	a.Config.ConnState = connections(&a.connections)
	a.StartTLS()
	t.Cleanup(a.Close)
	return a
}

func connections(n *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			n.Add(1)
		}
	}
}

func (a *api) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}))
}

// ServeHTTP answers like kube-apiserver.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	intercept := a.intercept
	a.mu.Unlock()
	if intercept != nil {
		intercept(w, r)
		return
	}
	a.answer(w, r)
}

func (a *api) answer(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bearers = append(a.bearers, r.Header.Get("Authorization"))
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		if body, ok := a.objects[r.URL.Path]; ok {
			fmt.Fprint(w, body)
			return
		}
		status(w, http.StatusNotFound, "NotFound")
		return
	}
	var review authv1.TokenReview
	if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.NewDecoder(r.Body).Decode(&review) != nil {
		status(w, http.StatusBadRequest, "BadRequest")
		return
	}
	a.reviews.Add(1)
	a.asked = append(a.asked, review.Spec.Audiences)
	answer, ok := a.tokens[review.Spec.Token]
	if !ok {
		answer = authv1.TokenReviewStatus{Error: "invalid bearer token " + review.Spec.Token}
	}
	if answer.Authenticated && answer.Audiences == nil {
		answer.Audiences = review.Spec.Audiences
	}
	review.Status = answer
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(review) //nolint:errchkjson // the types of Kubernetes encode
}

func status(w http.ResponseWriter, code int, reason string) {
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no canary-message","reason":%q,"code":%d}`,
		reason, code)
}

func (a *api) intercepted(f http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.intercept = f
}

// knows makes the API server vouch for a token as that of a ServiceAccount.
func (a *api) knows(token, namespace, name, uid string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens[token] = authv1.TokenReviewStatus{Authenticated: true,
		User: authv1.UserInfo{Username: "system:serviceaccount:" + namespace + ":" + name, UID: uid}}
}

// mount is the method with what a real server has around it.
type mount struct {
	*method
	router *engines.Router
	logs   *safeBuffer
	pod    string
	client engines.Client
	clock  *atomic.Int64
	// secrets must not turn up in logs and answers.
	secrets []string
	answers []string
}

type fixedTTLs struct{}

func (fixedTTLs) DefaultTTL() time.Duration { return 768 * time.Hour }
func (fixedTTLs) MaxTTL() time.Duration     { return 768 * time.Hour }

// safeBuffer is a buffer that several goroutines log to.
type safeBuffer struct {
	mu sync.Mutex
	to bytes.Buffer
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.to.String()
}

func (b *safeBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.to.Reset()
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.to.Write(p)
}

func newMount(t testing.TB) *mount {
	t.Helper()
	m := &mount{logs: new(safeBuffer), pod: t.TempDir(), clock: new(atomic.Int64)}
	m.client.Addr = netip.MustParseAddr("10.1.2.3")
	log := slog.New(slog.NewTextHandler(m.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m.method = newMethod(t.Context(), engines.Config{
		Mount: engines.Mount{Path: "auth/kubernetes/", Type: "kubernetes"}, Storage: memory.New(), Logger: log,
		Wall: func() time.Time { return epoch.Add(time.Duration(m.clock.Load())) }, TTLs: fixedTTLs{},
	}, m.pod)
	router, err := engines.NewRouter(m.method)
	if err != nil {
		t.Fatal(err)
	}
	m.router = router
	m.secrets = []string{reviewer, "canary-message"}
	t.Cleanup(func() { m.checkCanaries(t) })
	return m
}

// checkCanaries fails the test when a token, or what the API server wrote, is in the log or in an answer.
func (m *mount) checkCanaries(t testing.TB) {
	t.Helper()
	seen := m.logs.String() + strings.Join(m.answers, "\n")
	for _, secret := range m.secrets {
		if secret != "" && strings.Contains(seen, secret) {
			t.Errorf("%q is in the log or an answer:\n%s", secret, seen)
		}
	}
}

// object is a body.
type object = map[string]any

var kinds = []struct {
	kind   error
	status int
}{
	{engines.ErrInvalid, 400}, {engines.ErrDenied, 403}, {engines.ErrNotFound, 404},
	{engines.ErrUnsupportedPath, 404}, {engines.ErrUnsupported, 405}, {engines.ErrFailed, 500},
}

// call walks a request the way the server does: route, exists, call.
func (m *mount) call(ctx context.Context, op engines.Operation, path string, body object) (*engines.Response, error) {
	match, ok := m.router.Match(ctx, op, path)
	if !ok {
		return nil, engines.ErrUnsupportedPath
	}
	req := &engines.Request{ID: "r1", Operation: op, Path: path, Params: body, Client: m.client}
	if op == engines.Update && match.ChecksExistence() {
		exists, err := match.Exists(ctx, req)
		if err != nil {
			return nil, err
		}
		if !exists {
			req.Operation = engines.Create
		}
	}
	return match.Call(ctx, req)
}

// do makes a request and gives the answer as a line: the status and the warnings, the data or the error.
func (m *mount) do(t testing.TB, op engines.Operation, path string, body object) string {
	t.Helper()
	return line(m.call(t.Context(), op, path, body))
}

func line(resp *engines.Response, err error) string {
	if err != nil {
		for _, row := range kinds {
			if errors.Is(err, row.kind) {
				return strings.TrimSpace(fmt.Sprintf("%d %s", row.status, strings.TrimPrefix(err.Error(), "not found")))
			}
		}
		return "500 internal: " + err.Error()
	}
	switch {
	case resp.Login != nil:
		return "200 login"
	case resp.Data != nil:
		data, err := json.Marshal(resp.Data)
		if err != nil {
			return err.Error()
		}
		return "200 " + string(data)
	case len(resp.Warnings) > 0:
		return fmt.Sprintf("200 warnings %q", resp.Warnings)
	default:
		return "204"
	}
}

// must makes a write that has to succeed.
func (m *mount) must(t testing.TB, path string, body object) {
	t.Helper()
	if got := m.do(t, engines.Update, path, body); !strings.HasPrefix(got, "20") {
		t.Fatalf("PUT %s: %s", path, got)
	}
}

func (m *mount) login(t testing.TB, role, token string) string {
	t.Helper()
	for _, part := range strings.Split(token, ".") {
		if len(part) > 20 {
			m.secrets = append(m.secrets, part)
		}
	}
	answer := m.do(t, engines.Update, "login", object{"role": role, "jwt": token})
	m.answers = append(m.answers, answer)
	return answer
}

// configured is a mount that asks the API server as the reviewer, with a role "app" for ServiceAccount eso of
// namespace prod and the audience vault.
func configured(t testing.TB, a *api, more object) *mount {
	t.Helper()
	m := newMount(t)
	body := object{"kubernetes_host": a.URL, "kubernetes_ca_cert": a.ca(), "token_reviewer_jwt": reviewer,
		"disable_local_ca_jwt": true}
	for name, value := range more {
		body[name] = value
	}
	m.must(t, "config", body)
	m.must(t, "role/app", object{"bound_service_account_names": "eso", "bound_service_account_namespaces": "prod",
		"audience": "vault", "token_policies": "p", "token_ttl": "10m"})
	return m
}

// token is a ServiceAccount's token as TokenRequest makes it.
type token struct {
	namespace, name, uid string
	audience             any
	more                 object
}

func esoToken() token {
	return token{namespace: "prod", name: "eso", uid: "u-1", audience: []string{"vault"}}
}

// claims are the token's, as a JSON object.
func (k token) claims() object {
	c := object{
		"iss": "https://kubernetes.default.svc.cluster.local", "aud": k.audience,
		"iat": epoch.Unix(), "nbf": epoch.Unix(), "exp": epoch.Unix() + 600,
		"sub":           "system:serviceaccount:" + k.namespace + ":" + k.name,
		"kubernetes.io": object{"namespace": k.namespace, "serviceaccount": object{"name": k.name, "uid": k.uid}},
	}
	for name, value := range k.more {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	return c
}

// signed is the token, signed by a key of the given algorithm.
func signed(t testing.TB, alg jose.SignatureAlgorithm, key any, c object) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
