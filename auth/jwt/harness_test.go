package jwt

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

// epoch is when the tests begin.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// keyring are the keys that the tests sign with.
var keyring = sync.OnceValue(func() map[string]crypto.Signer {
	rsaKey, err1 := rsa.GenerateKey(rand.Reader, 2048)
	other, err2 := rsa.GenerateKey(rand.Reader, 2048)
	ec, err3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ed, err4 := ed25519.GenerateKey(rand.Reader)
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			panic(err)
		}
	}
	return map[string]crypto.Signer{"rsa": rsaKey, "other": other, "ec": ec, "ed": ed}
})

type claims = map[string]any

// sign makes a token; the key's name is its id.
func sign(t testing.TB, key string, c claims) string {
	t.Helper()
	algorithm := map[string]jose.SignatureAlgorithm{"rsa": jose.RS256, "other": jose.RS256, "ec": jose.ES256, "ed": jose.EdDSA}[key]
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: keyring()[key]},
		(&jose.SignerOptions{}).WithHeader("kid", key))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func publicPEM(t testing.TB, key string) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(keyring()[key].Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

type fixedTTLs struct{}

func (fixedTTLs) DefaultTTL() time.Duration { return 768 * time.Hour }
func (fixedTTLs) MaxTTL() time.Duration     { return 768 * time.Hour }

// mounted is a mount with what a real server has around it.
type mounted struct {
	t      testing.TB
	method *method
	router *engines.Router
	store  storage.Storage
	log    *bytes.Buffer
	// later is how far the clock has gone since epoch.
	later atomic.Int64
	from  netip.Addr
}

func mount(t testing.TB, s storage.Storage) *mounted {
	t.Helper()
	v := &mounted{t: t, store: s, log: &bytes.Buffer{}, from: netip.MustParseAddr("10.0.0.1")}
	e, err := Factory(t.Context(), engines.Config{
		Mount: engines.Mount{Path: "auth/oidc/", Type: "oidc"}, Storage: s, Now: v.now, Wall: v.now, TTLs: fixedTTLs{},
		Logger: slog.New(slog.NewTextHandler(v.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	v.method = e.(*method)
	if v.router, err = engines.NewRouter(e); err != nil {
		t.Fatal(err)
	}
	return v
}

func newMount(t testing.TB) *mounted { return mount(t, memory.New()) }

func (v *mounted) now() time.Time { return epoch.Add(time.Duration(v.later.Load())) }

func (v *mounted) pass(d time.Duration) { v.later.Add(int64(d)) }

func (v *mounted) call(op engines.Operation, path string, params map[string]any) (*engines.Response, error) {
	return v.callWith(v.t.Context(), op, path, params)
}

func (v *mounted) callWith(
	ctx context.Context, op engines.Operation, path string, params map[string]any,
) (*engines.Response, error) {
	v.t.Helper()
	m, ok := v.router.Match(ctx, op, path)
	if !ok {
		v.t.Fatalf("no route for %s", path)
	}
	return m.Call(ctx, &engines.Request{Operation: op, Path: path, Params: params, Client: engines.Client{Addr: v.from}})
}

// must is a write that works.
func (v *mounted) must(path string, params map[string]any) *engines.Response {
	v.t.Helper()
	resp, err := v.call(engines.Update, path, params)
	if err != nil {
		v.t.Fatalf("%s: %v", path, err)
	}
	return resp
}

// login logs in with a token of the claims, which get times unless they have some.
func (v *mounted) login(role, key string, c claims) (*engines.Login, error) {
	v.t.Helper()
	if c["exp"] == nil && c["iat"] == nil && c["nbf"] == nil {
		c["iat"], c["exp"] = v.now().Unix()-5, v.now().Unix()+300
	}
	return v.loginWith(role, sign(v.t, key, c))
}

func (v *mounted) loginWith(role, token string) (*engines.Login, error) {
	v.t.Helper()
	resp, err := v.call(engines.Update, "login", map[string]any{"role": role, "jwt": token})
	if err != nil {
		return nil, err
	}
	return resp.Login, nil
}

// op is an OpenID provider that answers as its fields say.
type op struct {
	*httptest.Server
	t testing.TB
	// fetches counts requests for the keys.
	fetches atomic.Int64
	// exchanged counts requests for tokens.
	exchanged atomic.Int64

	mu sync.Mutex
	// keys are the names of those that are published; issuer is what it calls itself. Guarded by mu, as below.
	keys     []string
	issuer   string
	down     bool
	huge     bool
	claims   claims
	info     claims
	device   string // what the token endpoint says of the device code; "" for tokens
	verifier string // the verifier that came with the last code
}

const clientID, clientSecret = "coffer", "client-secret-canary"

func newOP(t testing.TB) *op {
	o := &op{t: t, keys: []string{"rsa"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		o.answer(w, http.StatusOK, claims{"issuer": o.issuer, "jwks_uri": o.URL + "/keys", "token_endpoint": o.URL + "/token",
			"authorization_endpoint": o.URL + "/authorize", "userinfo_endpoint": o.URL + "/userinfo",
			"device_authorization_endpoint": o.URL + "/device"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		o.fetches.Add(1)
		o.mu.Lock()
		set := jose.JSONWebKeySet{}
		for _, name := range o.keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: keyring()[name].Public(), KeyID: name})
		}
		o.mu.Unlock()
		o.answer(w, http.StatusOK, set)
	})
	mux.HandleFunc("POST /token", o.token)
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, _ *http.Request) {
		o.answer(w, http.StatusOK, claims{"device_code": "device-canary", "user_code": "ABCD", "expires_in": 600,
			"verification_uri": o.URL + "/activate", "interval": 5})
	})
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer access-canary" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		o.answer(w, http.StatusOK, o.info)
	})
	o.Server = httptest.NewServer(mux)
	t.Cleanup(o.Close)
	o.issuer = o.URL
	o.info = claims{"sub": "alice", "nickname": "al"}
	return o
}

func (o *op) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

func (o *op) answer(w http.ResponseWriter, status int, value any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if o.huge {
		_, _ = w.Write([]byte(strings.Repeat(" ", maxAnswer+1)))
	}
	if err := json.NewEncoder(w).Encode(value); err != nil && !o.huge {
		o.t.Errorf("provider: %v", err)
	}
}

// token answers for any code: the code is the nonce.
func (o *op) token(w http.ResponseWriter, r *http.Request) {
	o.exchanged.Add(1)
	id, secret, _ := r.BasicAuth()
	if id == "" {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	if id != clientID || secret != clientSecret {
		o.answer(w, http.StatusUnauthorized, claims{"error": "invalid_client"})
		return
	}
	o.mu.Lock()
	o.verifier = r.FormValue("code_verifier")
	device := o.device
	c := claims{"iss": o.issuer, "aud": clientID, "sub": "alice", "iat": epoch.Unix(), "exp": epoch.Add(24 * time.Hour).Unix(),
		"email": "alice@example.org"}
	if code := r.FormValue("code"); code != "" {
		c["nonce"] = code
	}
	for name, value := range o.claims {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	o.mu.Unlock()
	if r.FormValue("device_code") != "" && device != "" {
		o.answer(w, http.StatusBadRequest, claims{"error": device})
		return
	}
	o.answer(w, http.StatusOK, claims{"access_token": "access-canary", "token_type": "Bearer", "expires_in": 60,
		"id_token": sign(o.t, "rsa", c)})
}

// withOP is a mount whose people log in at the provider, with a role "r".
func withOP(t testing.TB, o *op) *mounted {
	v := newMount(t)
	v.must("config", claims{"oidc_discovery_url": o.URL, "oidc_client_id": clientID, "oidc_client_secret": clientSecret})
	v.must("role/r", claims{"user_claim": "email", "allowed_redirect_uris": "http://localhost/cb"})
	return v
}

// challengeOf is the PKCE challenge of a verifier.
func challengeOf(verifier string) string { return oauth2.S256ChallengeFromVerifier(verifier) }
