package jwt

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"coffer/auth"
	"coffer/engines"
)

// withJWKS is a mount that takes its keys from the provider's JWKS.
func withJWKS(t *testing.T, o *op) *mounted {
	v := newMount(t)
	v.must("config", claims{"jwks_url": o.URL + "/keys"})
	v.must("role/r", claims{"role_type": "jwt", "user_claim": "sub", "bound_subject": "me"})
	return v
}

func TestJWKSIsKept(t *testing.T) {
	o := newOP(t)
	v := withJWKS(t, o)
	for range 50 {
		if _, err := v.login("r", "rsa", claims{"sub": "me"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := o.fetches.Load(); n != 1 {
		t.Errorf("fetched %d times, want once", n)
	}
	v.pass(refreshAfter)
	if _, err := v.login("r", "rsa", claims{"sub": "me"}); err != nil {
		t.Fatal(err)
	}
	if n := o.fetches.Load(); n != 2 {
		t.Errorf("fetched %d times after it became old, want twice", n)
	}
}

func TestJWKSIsFetchedForANewKey(t *testing.T) {
	o := newOP(t)
	v := withJWKS(t, o)
	o.set(func() { o.keys = []string{"ec"} })
	if _, err := v.login("r", "ec", claims{"sub": "me"}); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if _, err := v.login("r", "rsa", claims{"sub": "me"}); err == nil {
		t.Error("the key that is gone still logs in")
	}
}

func TestUnknownKeysDoNotFloodTheServer(t *testing.T) {
	o := newOP(t)
	v := withJWKS(t, o)
	var wg sync.WaitGroup
	token := sign(t, "other", claims{"sub": "me", "iat": epoch.Unix()})
	try := func() {
		if _, err := v.loginWith("r", token); err == nil {
			t.Error("an unknown key logs in")
		}
	}
	for range 50 {
		wg.Go(try)
	}
	wg.Wait()
	for range 50 {
		try()
	}
	if n := o.fetches.Load(); n > fetchBurst {
		t.Errorf("fetched %d times for 100 logins, want at most %d", n, fetchBurst)
	}
	// Who has a known key is not hurt, and an allowance comes back.
	if _, err := v.login("r", "rsa", claims{"sub": "me"}); err != nil {
		t.Errorf("a known key during the flood: %v", err)
	}
	o.set(func() { o.keys = append(o.keys, "ec") })
	v.pass(fetchEvery * fetchBurst)
	if _, err := v.login("r", "ec", claims{"sub": "me"}); err != nil {
		t.Errorf("a new key after the flood: %v", err)
	}
}

// TestCrowdAfterARestart has many logins wait for the same discovery and the same keys.
func TestCrowdAfterARestart(t *testing.T) {
	o := newOP(t)
	v := newMount(t)
	v.must("config", claims{"oidc_discovery_url": o.URL})
	v.must("role/r", claims{"role_type": "jwt", "user_claim": "sub", "bound_subject": "me"})
	again := mount(t, v.store)
	token := sign(t, "rsa", claims{"sub": "me", "iat": epoch.Unix()})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := again.loginWith("r", token); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestJWKSServerIsDown(t *testing.T) {
	o := newOP(t)
	v := withJWKS(t, o)
	o.set(func() { o.down = true })
	v.pass(refreshAfter)
	if _, err := v.login("r", "rsa", claims{"sub": "me"}); err != nil {
		t.Errorf("with keys of a quarter of an hour ago: %v", err)
	}
	v.pass(keptFor)
	if _, err := v.login("r", "rsa", claims{"sub": "me"}); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("with keys of yesterday: %v, want ErrInvalid", err)
	}
	o.set(func() { o.down = false })
	v.pass(fetchEvery)
	if _, err := v.login("r", "rsa", claims{"sub": "me"}); err != nil {
		t.Errorf("once it is back: %v", err)
	}
}

func TestAnswersOfProvidersAreBounded(t *testing.T) {
	o := newOP(t)
	v := newMount(t)
	o.set(func() { o.huge = true })
	for _, config := range []claims{{"jwks_url": o.URL + "/keys"}, {"oidc_discovery_url": o.URL},
		{"jwks_pairs": []any{claims{"jwks_url": o.URL + "/keys"}}}} {
		if _, err := v.call(engines.Update, "config", config); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%v: %v, want ErrInvalid", config, err)
		}
	}
	if !strings.Contains(v.log.String(), errAnswerSize.Error()) {
		t.Errorf("the log does not tell why:\n%s", v.log)
	}
}

func TestBoundedBody(t *testing.T) {
	for extra, want := range map[int]error{-1: nil, 0: nil, 1: errAnswerSize, 5000: errAnswerSize} {
		body := io.NopCloser(bytes.NewReader(make([]byte, maxAnswer+extra)))
		got, err := io.ReadAll(&boundedBody{ReadCloser: body, left: maxAnswer})
		if !errors.Is(err, want) || len(got) > maxAnswer {
			t.Errorf("%d bytes too many: read %d, %v; want %v", extra, len(got), err, want)
		}
	}
}

func TestProviderThatLiesAboutItsIssuer(t *testing.T) {
	o := newOP(t)
	o.issuer = "https://accounts.example.org"
	v := newMount(t)
	for _, more := range []claims{{}, {"oidc_client_id": clientID, "oidc_client_secret": clientSecret}} {
		more["oidc_discovery_url"] = o.URL
		if _, err := v.call(engines.Update, "config", more); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%v: %v, want ErrInvalid", more, err)
		}
	}
}

// silent never answers.
type silent struct{}

func (silent) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func TestProviderThatIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &client{&http.Client{Transport: silent{}, Timeout: askTimeout}}
		a := asker{ctx: t.Context(), client: c, logger: slog.New(slog.DiscardHandler), now: time.Now, wall: time.Now}
		keys := newRemoteKeys(a, "https://op.example.org/keys")
		cfg := &config{OIDC: oidcConfig{Discovery: "https://op.example.org", ClientID: "x", ClientSecret: "y"}}
		p := newProvider(a, cfg)
		token := parseToken(sign(t, "rsa", claims{}))
		for name, set := range map[string]keySet{"JWKS": keys, "discovery": p} {
			began := time.Now()
			_, err := set.verify(t.Context(), token)
			if waited := time.Since(began); err == nil || waited > askTimeout {
				t.Errorf("%s: %v after %v, want an error within %v", name, err, waited, askTimeout)
			}
		}
		// A client that gives up does not wait.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := keys.fetch(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Second {
			t.Errorf("%v after %v, want the client's deadline", err, time.Since(began))
		}
		synctest.Wait()
	})
}

func TestRedirectsOfProviders(t *testing.T) {
	o := newOP(t)
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/loop" {
			http.Redirect(w, r, "/loop", http.StatusFound)
			return
		}
		http.Redirect(w, r, o.URL+"/keys", http.StatusFound)
	}))
	defer away.Close()
	secure := httptest.NewTLSServer(away.Config.Handler)
	defer secure.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	v := newMount(t)
	for url, want := range map[string]bool{away.URL: true, away.URL + "/loop": false, secure.URL: false} {
		_, err := v.call(engines.Update, "config", claims{"jwks_url": url, "jwks_ca_pem": ca})
		if (err == nil) != want {
			t.Errorf("%s: %v, want success %v", url, err, want)
		}
	}
}

// TestIgnoredExtensions has a server whose certificate has a critical extension that nobody knows.
func TestIgnoredExtensions(t *testing.T) {
	oid := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}
	key := keyring()["ec"]
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "op"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
		ExtraExtensions: []pkix.Extension{{Id: oid, Critical: true, Value: []byte{5, 0}}},
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	o := newOP(t)
	server := httptest.NewUnstartedServer(o.Config.Handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	defer server.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	v := newMount(t)
	for _, tc := range []struct {
		name, ca string
		ignored  any
		want     bool
	}{
		{"ignored", ca, oid.String(), true},
		{"not ignored", ca, "", false},
		{"another ignored", ca, "1.2.3", false},
		{"ignored, from nobody known", "", oid.String(), false},
	} {
		_, err := v.call(engines.Update, "config", claims{"jwks_url": server.URL + "/keys", "jwks_ca_pem": tc.ca,
			"unsupported_critical_cert_extensions": tc.ignored})
		if (err == nil) != tc.want {
			t.Errorf("%s: %v, want success %v", tc.name, err, tc.want)
		}
	}
}

func TestJWKSOfEveryKind(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want int
	}{
		"none":       {`{"keys":[]}`, 0},
		"no list":    {`{}`, 0},
		"a secret":   {`{"keys":[{"kty":"oct","k":"AAAA","kid":"rsa"}]}`, 0},
		"an unknown": {`{"keys":[{"kty":"PQC","kid":"x"},{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`, 1},
		"for encryption": {`{"keys":[{"kty":"OKP","use":"enc","crv":"Ed25519",` +
			`"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`, 0},
		"of 4096 bits": {`{"keys":[{"kty":"RSA","e":"AQAB","n":"` + numberOf(4096) + `"}]}`, 1},
		"too large":    {`{"keys":[{"kty":"RSA","e":"AQAB","n":"` + numberOf(4104) + `"}]}`, 0},
		"nonsense":     {`[`, -1},
		"too many":     {`{"keys":[` + strings.Repeat("{},", maxKeys) + `{}]}`, -1},
	} {
		keys, err := parseJWKS([]byte(tc.body))
		if (err != nil) != (tc.want < 0) || err == nil && len(keys) != tc.want {
			t.Errorf("%s: %d keys, %v; want %d", name, len(keys), err, tc.want)
		}
	}
}

// numberOf is a number of so many bits, a multiple of 8, as a JWK has it.
func numberOf(bits int) string {
	return base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, bits/8))
}

func TestLargeStaticKey(t *testing.T) {
	large := &rsa.PublicKey{N: new(big.Int).SetBytes(bytes.Repeat([]byte{0xff}, 1025)), E: 65537}
	der, err := x509.MarshalPKIXPublicKey(large)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if _, err := parsePublicKey(string(text)); !errors.Is(err, auth.ErrLargeKey) {
		t.Error(err)
	}
}
