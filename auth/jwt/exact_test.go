package jwt

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"coffer/engines"
)

// signPayload signs a payload as it is written.
func signPayload(t testing.TB, payload string) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: keyring()["rsa"]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestClaimsMatchExactly gives tokens whose issuer signed one claim, and which hold another one that encoding/json takes
// for it.
func TestClaimsMatchExactly(t *testing.T) {
	v := newMount(t)
	v.must("config", claims{"jwt_validation_pubkeys": publicPEM(t, "rsa"), "bound_issuer": "good"})
	v.must("role/r", claims{"role_type": "jwt", "user_claim": "name", "bound_subject": "me", "bound_audiences": "us"})
	good := map[string]any{"iss": "good", "sub": "me", "aud": "us", "iat": epoch.Unix(), "exp": epoch.Unix() + 300, "name": "n"}
	text := func(change map[string]any, more string) string {
		c := make(map[string]any)
		for name, value := range good {
			c[name] = value
		}
		for name, value := range change {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		}
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(string(b), "}") + more + "}"
	}
	if _, err := v.loginWith("r", signPayload(t, text(nil, ""))); err != nil {
		t.Fatalf("the good token: %v", err)
	}
	past := epoch.Unix() - 10_000
	for _, tc := range []struct {
		change map[string]any
		more   string
	}{
		{map[string]any{"aud": "them"}, `,"AUD":"us"`}, {map[string]any{"aud": nil}, `,"AUD":"us"`},
		{map[string]any{"iss": "evil"}, `,"Iss":"good"`}, {map[string]any{"iss": nil}, `,"Iss":"good"`},
		{map[string]any{"sub": "you"}, `,"\u017fub":"me"`}, {map[string]any{"sub": nil}, `,"ſub":"me"`},
		{map[string]any{"exp": past, "iat": past}, `,"EXP":99999999999`}, {map[string]any{"exp": past, "iat": nil}, `,"Exp":99999999999`},
		{map[string]any{"nbf": epoch.Unix() + 10_000}, `,"NBF":1`}, {map[string]any{"aud": "them"}, `,"aud":"us"`},
		{map[string]any{"sub": "you"}, `,"s\u0075b":"me"`}, {nil, `,"name":"admin"`}, {nil, `,"NAME":"admin"`},
		{nil, `,"groups":{"a":1,"A":2}`},
	} {
		payload := text(tc.change, tc.more)
		if login, err := v.loginWith("r", signPayload(t, payload)); !errors.Is(err, engines.ErrInvalid) || login != nil {
			t.Errorf("%s: %v, %v, want ErrInvalid", payload, login, err)
		}
	}
}

// TestIDTokensMatchExactly is the same for ID tokens.
func TestIDTokensMatchExactly(t *testing.T) {
	for name, change := range map[string]claims{
		"audience":      {"aud": "other", "AUD": clientID},
		"only audience": {"aud": nil, "Aud": clientID},
		"nonce":         {"nonce": "x", "NONCE": "y"},
		"issuer":        {"iss": "https://evil.example.org", "Iss": "x"},
		"end":           {"exp": epoch.Unix() - 1000, "EXP": epoch.Unix() + 1000},
		"subject":       {"sub": nil, "\u017fub": "me"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP(t)
			v := withOP(t, o)
			o.set(func() { o.claims = change })
			if _, err := v.end(v.begin(nil), nil); !errors.Is(err, engines.ErrInvalid) {
				t.Errorf("%v, want ErrInvalid", err)
			}
		})
	}
}

// TestKeysAndDocumentsMatchExactly reads keys and discovery documents that could be read in two ways.
func TestKeysAndDocumentsMatchExactly(t *testing.T) {
	for _, body := range []string{
		`{"keys":[],"KEYS":[]}`, `{"keys":[],"keys":[]}`, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","KTY":"RSA"}]}`,
	} {
		if keys, err := parseJWKS([]byte(body)); err == nil {
			t.Errorf("%s: %v", body, keys)
		}
	}
	for name, document := range map[string]string{
		"another case":  `{"ISSUER":"ISS","jwks_uri":"ISS/keys","authorization_endpoint":"ISS/a","token_endpoint":"ISS/t"}`,
		"both":          `{"issuer":"ISS","jwks_uri":"ISS/keys","JWKS_URI":"https://evil.example.org/","token_endpoint":"ISS/t"}`,
		"twice":         `{"issuer":"ISS","jwks_uri":"https://evil.example.org/","jwks_uri":"ISS/keys","token_endpoint":"ISS/t"}`,
		"only in upper": `{"issuer":"ISS","jwks_uri":"ISS/keys","Token_Endpoint":"https://evil.example.org/"}`,
	} {
		var server *httptest.Server
		server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.URL.Path == "/keys" {
				_, _ = w.Write([]byte(`{"keys":[]}`))
				return
			}
			_, _ = w.Write([]byte(strings.ReplaceAll(document, "ISS", server.URL)))
		}))
		defer server.Close()
		if _, err := newMount(t).call(engines.Update, "config", claims{"oidc_discovery_url": server.URL}); err == nil {
			t.Errorf("%s: the document is accepted", name)
		}
	}
}

// TestIgnoredExtensionsIgnoreNoNames asks a server by an address for which it has no certificate.
func TestIgnoredExtensionsIgnoreNoNames(t *testing.T) {
	oid := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}
	key := keyring()["ec"]
	for name, tc := range map[string]struct {
		template x509.Certificate
		host     string
		want     bool
	}{
		"the address":         {x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, "127.0.0.1", true},
		"another address":     {x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 2)}}, "127.0.0.1", false},
		"a name":              {x509.Certificate{DNSNames: []string{"localhost"}}, "127.0.0.1", false},
		"a name, asked by it": {x509.Certificate{DNSNames: []string{"localhost"}}, "localhost", true},
		"another name":        {x509.Certificate{DNSNames: []string{"example.org"}}, "localhost", false},
		"no name":             {x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}}, "localhost", false},
	} {
		t.Run(name, func(t *testing.T) {
			template := tc.template
			template.SerialNumber, template.BasicConstraintsValid, template.IsCA = big.NewInt(1), true, true
			template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
			template.ExtraExtensions = []pkix.Extension{{Id: oid, Critical: true, Value: []byte{5, 0}}}
			der, err := x509.CreateCertificate(nil, &template, &template, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewUnstartedServer(newOP(t).Config.Handler)
			server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
			server.Config.ErrorLog = nil
			server.StartTLS()
			defer server.Close()
			_, port, err := net.SplitHostPort(server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_, err = newMount(t).call(engines.Update, "config", claims{
				"jwks_url":                             "https://" + net.JoinHostPort(tc.host, port) + "/keys",
				"jwks_ca_pem":                          string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
				"unsupported_critical_cert_extensions": oid.String()})
			if (err == nil) != tc.want {
				t.Errorf("%v, want success %v", err, tc.want)
			}
		})
	}
}
