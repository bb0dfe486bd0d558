package kubernetes

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	authv1 "k8s.io/api/authentication/v1"

	"coffer/engines"
)

const (
	denied       = "403 permission denied"
	wrongName    = "403 service account name not authorized"
	wrongSpace   = "403 namespace not authorized"
	wrongAud     = "403 invalid audience (aud) claim: audience claim does not match any expected audience"
	expired      = "403 invalid expiration time (exp) claim: token is expired"
	notYet       = "403 invalid not before (nbf) claim: token not yet valid"
	issuedLater  = "403 invalid issued at (iat) claim: token issued in the future"
	wrongIssuer  = "403 invalid issuer (iss) claim"
	loggedIn     = "200 login"
	unconfigured = "500 could not load backend configuration"
)

// TestRefusals: the answers are those of the stock plugin. What the token says of itself is decided before the
// API server is asked.
func TestRefusals(t *testing.T) {
	key := newKey(t)
	with := func(change func(*token)) string {
		k := esoToken()
		change(&k)
		return signed(t, jose.ES256, key, k.claims())
	}
	claim := func(name string, value any) string {
		return with(func(k *token) { k.more = object{name: value} })
	}
	good, now := with(func(*token) {}), epoch.Unix()
	for name, tc := range map[string]struct {
		role, jwt, want string
		// log is which check failed, as the log says; asked is whether the API server was.
		log   string
		asked bool
	}{
		"good":                  {"app", good, loggedIn, "", true},
		"role's case":           {"APP", good, loggedIn, "", true},
		"name":                  {"app", with(func(k *token) { k.name = "other" }), wrongName, "bound_service_account_names", false},
		"namespace":             {"app", with(func(k *token) { k.namespace = "dev" }), wrongSpace, "bound_service_account_namespaces", false},
		"name before namespace": {"app", with(func(k *token) { k.name, k.namespace = "x", "dev" }), wrongName, "names", false},
		"glob":                  {"glob", good, loggedIn, "", true},
		"beside the glob":       {"glob", with(func(k *token) { k.namespace = "stage" }), wrongSpace, "namespaces", false},
		"audience list":         {"app", claim("aud", []string{"a", "b"}), wrongAud, "claims", false},
		"audience string":       {"app", claim("aud", "vaul"), wrongAud, "claims", false},
		"no audience":           {"app", claim("aud", nil), wrongAud, "claims", false},
		"audience is a string":  {"app", claim("aud", "vault"), loggedIn, "", true},
		"audience of a number":  {"app", claim("aud", 5), denied, "claims of the wrong type", false},
		"any audience":          {"any", claim("aud", []string{"a", "b"}), loggedIn, "", true},
		"any, without audience": {"any", claim("aud", nil), loggedIn, "", true},
		"garbage":               {"app", "garbage", denied, "not a JWT", false},
		"three dots":            {"app", "a.b.c", denied, "not a JWT", false},
		"long":                  {"app", good + strings.Repeat("A", maxJWT), denied, "longer", false},
		"no claims":             {"app", signed(t, jose.ES256, key, object{}), wrongAud, "claims", false},
		"claims of a number":    {"app", claim("kubernetes.io", 5), denied, "wrong type", false},
		"within the skew":       {"app", claim("exp", now-60), loggedIn, "", true},
		"expired":               {"app", claim("exp", now-61), expired, "claims", false},
		"expired, fraction":     {"app", claim("exp", 1.5), expired, "claims", false},
		"far beyond":            {"app", claim("exp", int64(-1<<60)), expired, "claims", false},
		"nearly valid":          {"app", claim("nbf", now+60), loggedIn, "", true},
		"not yet valid":         {"app", claim("nbf", now+61), notYet, "claims", false},
		"issued in the future":  {"app", claim("iat", now+61), issuedLater, "claims", false},
		"no end":                {"app", claim("exp", nil), loggedIn, "", true},
		"no end, old": {"app", with(func(k *token) { k.more = object{"exp": nil, "iat": now - 211, "nbf": nil} }),
			expired, "claims", false},
		"no beginning, far end": {"app", with(func(k *token) { k.more = object{"exp": now + 211, "iat": nil, "nbf": nil} }),
			notYet, "claims", false},
		"no times":           {"app", with(func(k *token) { k.more = object{"exp": nil, "iat": nil, "nbf": nil} }), loggedIn, "", true},
		"no uid":             {"app", with(func(k *token) { k.uid = "" }), "500 could not parse UID from claims", "", false},
		"no uid, by name":    {"byname", with(func(k *token) { k.uid = "" }), denied, "identity", true},
		"other uid":          {"app", with(func(k *token) { k.uid = "u-2" }), denied, "identity", true},
		"other network":      {"cidr", good, denied, "networks", false},
		"unknown role":       {"nope", good, `400 invalid role name "nope"`, "", false},
		"impossible role":    {"../config", good, `400 invalid role name "../config"`, "", false},
		"empty role":         {"", good, "400 missing role", "", false},
		"empty jwt":          {"app", "", "400 missing jwt", "", false},
		"unknown to cluster": {"app", claim("jti", "another cluster's"), denied, "rejects the token", true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			m := configured(t, a, nil)
			m.must(t, "role/any", object{"bound_service_account_names": "*", "bound_service_account_namespaces": "*"})
			m.must(t, "role/glob", object{"bound_service_account_names": "x,e*o", "bound_service_account_namespaces": "p*d"})
			m.must(t, "role/byname", object{"bound_service_account_names": "eso", "bound_service_account_namespaces": "prod",
				"alias_name_source": "serviceaccount_name"})
			m.must(t, "role/cidr", object{"bound_service_account_names": "eso", "bound_service_account_namespaces": "prod",
				"token_bound_cidrs": "10.2.0.0/16"})
			if name != "unknown to cluster" {
				a.knows(tc.jwt, "prod", "eso", "u-1")
			}
			if got := m.login(t, tc.role, tc.jwt); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if log := m.logs.String(); !strings.Contains(log, tc.log) || (tc.log == "") != (log == "") {
				t.Errorf("the log does not say %q:\n%s", tc.log, log)
			}
			if asked := a.reviews.Load() > 0; asked != tc.asked {
				t.Errorf("the API server was asked: %v, want %v", asked, tc.asked)
			}
		})
	}
}

// TestReviews: what the API server answers decides, whatever the token says.
func TestReviews(t *testing.T) {
	user := func(name, uid string, audiences ...string) authv1.TokenReviewStatus {
		return authv1.TokenReviewStatus{Authenticated: true, User: authv1.UserInfo{Username: name, UID: uid}, Audiences: audiences}
	}
	const eso = "system:serviceaccount:prod:eso"
	for name, tc := range map[string]struct {
		status authv1.TokenReviewStatus
		want   string
		log    string
	}{
		"good":              {user(eso, "u-1", "x", "vault"), loggedIn, ""},
		"other uid":         {user(eso, "u-2", "vault"), denied, "identity"},
		"other name":        {user("system:serviceaccount:prod:es", "u-1", "vault"), denied, "identity"},
		"other namespace":   {user("system:serviceaccount:dev:eso", "u-1", "vault"), denied, "identity"},
		"a person":          {user("eso", "u-1", "vault"), denied, "not a ServiceAccount's"},
		"a node":            {user("system:node:prod:eso", "u-1", "vault"), denied, "not a ServiceAccount's"},
		"five parts":        {user(eso+":x", "u-1", "vault"), denied, "not a ServiceAccount's"},
		"another audience":  {user(eso, "u-1", "kubernetes"), denied, "audience"},
		"no audiences":      {user(eso, "u-1", []string{}...), denied, "audience"}, // a server that knows nothing of them
		"not authenticated": {authv1.TokenReviewStatus{User: authv1.UserInfo{Username: eso, UID: "u-1"}, Audiences: []string{"vault"}}, denied, "rejects"},
		"both":              {authv1.TokenReviewStatus{Authenticated: true, Error: "but", User: authv1.UserInfo{Username: eso, UID: "u-1"}}, denied, "but"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			m := configured(t, a, nil)
			jwt := signed(t, jose.ES256, newKey(t), esoToken().claims())
			a.tokens[jwt] = tc.status
			if got := m.login(t, "app", jwt); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if log := m.logs.String(); !strings.Contains(log, tc.log) {
				t.Errorf("the log does not say %q:\n%s", tc.log, log)
			}
		})
	}
}

func keyPEM(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// unsigned is a token of the given header and no signature.
func unsigned(t testing.TB, header string) string {
	t.Helper()
	body, err := json.Marshal(esoToken().claims())
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
}

// TestForgeries: the API server of this test vouches for every one of them, so only the signature is left.
func TestForgeries(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey := newKey(t)
	rsaPEM, ecPEM := keyPEM(t, &rsaKey.PublicKey), keyPEM(t, &ecKey.PublicKey)
	c := esoToken().claims()
	good := signed(t, jose.ES256, ecKey, c)
	head, sig := good[:strings.LastIndex(good, ".")+1], good[strings.LastIndex(good, ".")+1:]
	otherSig := signed(t, jose.ES256, ecKey, object{"a": 1})
	for name, tc := range map[string]struct {
		jwt, keys, want string
	}{
		"ES256":                {good, ecPEM, loggedIn},
		"second key":           {good, rsaPEM + "," + ecPEM, loggedIn},
		"RS256":                {signed(t, jose.RS256, rsaKey, c), rsaPEM, loggedIn},
		"PS512":                {signed(t, jose.PS512, rsaKey, c), rsaPEM, loggedIn},
		"another key":          {signed(t, jose.ES256, newKey(t), c), ecPEM, denied},
		"another's sig":        {head + otherSig[strings.LastIndex(otherSig, ".")+1:], ecPEM, denied},
		"no signature":         {head, ecPEM, denied},
		"no signature, no key": {head, "", "403 invalid algorithm (alg) header parameter: token must be signed"},
		"bent signature":       {head + "A" + sig[1:], ecPEM, denied},
		"alg none":             {unsigned(t, `{"alg":"none"}`), ecPEM, denied},
		"alg None":             {unsigned(t, `{"alg":"None"}`), ecPEM, denied},
		"no alg":               {unsigned(t, `{}`), ecPEM, denied},
		"alg none, no key":     {unsigned(t, `{"alg":"none"}`), "", denied},
		"HMAC with PEM":        {signed(t, jose.HS256, []byte(rsaPEM), c), rsaPEM, denied},
		"HMAC, no key":         {signed(t, jose.HS256, []byte(rsaPEM), c), "", denied},
		"HMAC with DER": {signed(t, jose.HS512, x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey), c), rsaPEM,
			denied},
		"own key in the header": {embedded(t, c), ecPEM, denied},
		"a claim in two cases":  {signed(t, jose.ES256, ecKey, with(c, "AUD", "x")), ecPEM, denied},
		"two cases, no key":     {signed(t, jose.ES256, ecKey, with(c, "\u017fub", "x")), "", denied},
		"an object in two cases": {signed(t, jose.ES256, ecKey, with(c, "Kubernetes.io", object{"namespace": "kube-system"})),
			ecPEM, denied},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			m := configured(t, a, object{"pem_keys": tc.keys})
			a.knows(tc.jwt, "prod", "eso", "u-1")
			if got := m.login(t, "app", tc.jwt); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if tc.want != loggedIn && a.reviews.Load() > 0 {
				t.Error("the API server was asked about a forgery")
			}
		})
	}
}

// with are the claims with another one.
func with(c object, name string, value any) object {
	c = maps.Clone(c)
	c[name] = value
	return c
}

// embedded is a token that brings the key it is signed with along.
func embedded(t testing.TB, c object) string {
	t.Helper()
	key := newKey(t)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestIssuer(t *testing.T) {
	a := newAPI(t)
	jwt := signed(t, jose.ES256, newKey(t), esoToken().claims())
	a.knows(jwt, "prod", "eso", "u-1")
	for name, tc := range map[string]struct {
		config object
		want   string
	}{
		"not checked by default": {object{"issuer": "other"}, loggedIn},
		"checked":                {object{"issuer": "other", "disable_iss_validation": false}, wrongIssuer},
		"right":                  {object{"issuer": "https://kubernetes.default.svc.cluster.local", "disable_iss_validation": false}, loggedIn},
		// As the plugin does, whatever its documentation says of a default.
		"none to check": {object{"disable_iss_validation": false}, loggedIn},
	} {
		t.Run(name, func(t *testing.T) {
			if got := configured(t, a, tc.config).login(t, "app", jwt); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestOldTokens are those that were kept in Secrets: other claims, no audience and no end.
func TestOldTokens(t *testing.T) {
	a := newAPI(t)
	m := configured(t, a, nil)
	m.must(t, "role/old", object{"bound_service_account_names": "eso", "bound_service_account_namespaces": "prod"})
	jwt := signed(t, jose.ES256, newKey(t), object{
		"iss": "kubernetes/serviceaccount", "kubernetes.io/serviceaccount/namespace": "prod",
		"kubernetes.io/serviceaccount/service-account.name": "eso",
		"kubernetes.io/serviceaccount/service-account.uid":  "u-1",
		"kubernetes.io/serviceaccount/secret.name":          "eso-token-x",
	})
	a.knows(jwt, "prod", "eso", "u-1")
	resp, err := m.call(t.Context(), engines.Update, "login", object{"role": "old", "jwt": jwt})
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Login.Metadata["service_account_secret_name"]; got != "eso-token-x" {
		t.Errorf("secret name %q", got)
	}
	if got := a.asked; len(got) != 1 || len(got[0]) != 0 {
		t.Errorf("audiences %v, want none", got)
	}
}

func TestUnconfigured(t *testing.T) {
	m := newMount(t)
	m.must(t, "role/app", object{"bound_service_account_names": "eso", "bound_service_account_namespaces": "prod"})
	if got := m.login(t, "app", "x"); got != unconfigured {
		t.Errorf("got %q, want %q", got, unconfigured)
	}
}

// TestTimePasses: a token that was good is not for ever.
func TestTimePasses(t *testing.T) {
	a := newAPI(t)
	m := configured(t, a, nil)
	jwt := signed(t, jose.ES256, newKey(t), esoToken().claims())
	a.knows(jwt, "prod", "eso", "u-1")
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{0, loggedIn}, {660 * time.Second, loggedIn}, {661 * time.Second, expired}} {
		m.clock.Store(int64(step.after))
		if got := m.login(t, "app", jwt); got != step.want {
			t.Errorf("after %v: %q, want %q", step.after, got, step.want)
		}
	}
}
