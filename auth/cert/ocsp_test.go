package cert_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

// responder is an OCSP server that answers what a test wants.
type responder struct {
	*httptest.Server
	asked atomic.Int32
	body  atomic.Pointer[func(*ocsp.Request) []byte]
}

func newResponder(t testing.TB) *responder {
	t.Helper()
	r := &responder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		raw, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		parsed, err := ocsp.ParseRequest(raw)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		answer := (*r.body.Load())(parsed)
		if answer == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(answer)
	}))
	t.Cleanup(r.Close)
	return r
}

// says makes the server answer with a fixed text; nil for a 503.
func (r *responder) says(answer []byte) {
	f := func(*ocsp.Request) []byte { return answer }
	r.body.Store(&f)
}

// response is a signed answer about a certificate. embed is sent along as the signer's certificate.
func response(
	t testing.TB, issuer, signer, embed *identity, serial int64, status int, change ...func(*ocsp.Response),
) []byte {
	t.Helper()
	template := ocsp.Response{
		Status: status, SerialNumber: big.NewInt(serial), IssuerHash: crypto.SHA1,
		ProducedAt: epoch.Add(-time.Minute), ThisUpdate: epoch.Add(-time.Minute), NextUpdate: epoch.Add(time.Hour), RevokedAt: epoch.Add(-time.Hour),
	}
	if embed != nil {
		template.Certificate = embed.cert
	}
	for _, c := range change {
		c(&template)
	}
	raw, err := ocsp.CreateResponse(issuer.cert, signer.cert, template, signer.key)
	if err != nil {
		t.Fatal(err)
	}
	return producedAt(t, raw, template.ProducedAt, signer)
}

// producedAt gives an answer another time of its making, which CreateResponse takes from the clock, and signs it again.
func producedAt(t testing.TB, raw []byte, made time.Time, signer *identity) []byte {
	t.Helper()
	var outer struct {
		Status asn1.Enumerated
		Bytes  struct {
			Type asn1.ObjectIdentifier
			Data []byte
		} `asn1:"explicit,tag:0"`
	}
	var basic struct {
		Data      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
		Certs     []asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
	must := func(_ []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(asn1.Unmarshal(raw, &outer))
	must(asn1.Unmarshal(outer.Bytes.Data, &basic))
	at := bytes.Index(basic.Data.FullBytes, []byte{asn1.TagGeneralizedTime, 15}) // it is the first time
	copy(basic.Data.FullBytes[at+2:], made.UTC().Format("20060102150405Z"))
	sum := sha256.Sum256(basic.Data.FullBytes)
	signature, err := ecdsa.SignASN1(rand.Reader, signer.key, sum[:])
	must(nil, err)
	basic.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	outer.Bytes.Data, err = asn1.Marshal(basic)
	must(nil, err)
	raw, err = asn1.Marshal(outer)
	must(nil, err)
	return raw
}

func signsOCSP(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} }

func TestOCSPAnswers(t *testing.T) {
	ca, evil := issue(t, nil, 1, "ca", authority), issue(t, nil, 1, "ca", authority)
	corporate := issue(t, nil, 2, "corporate", authority)
	delegate, plain := issue(t, ca, 30, "delegate", signsOCSP), issue(t, ca, 31, "plain")
	late := issue(t, ca, 32, "late", signsOCSP, func(c *x509.Certificate) { c.NotAfter = epoch.Add(-time.Second) })
	foreign := issue(t, evil, 33, "foreign", signsOCSP)
	shared := issue(t, corporate, 34, "shared", signsOCSP)
	const serial = 10
	old := func(r *ocsp.Response) { r.NextUpdate = epoch.Add(-time.Second) }
	future := func(r *ocsp.Response) { r.ThisUpdate = epoch.Add(2 * time.Minute) }
	aged := func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = epoch.Add(-2*time.Hour), time.Time{} }
	made := func(r *ocsp.Response) { r.ProducedAt = epoch.Add(2 * time.Minute) }
	fresh := func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = epoch.Add(-4*time.Minute), time.Time{} }
	stale := func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = epoch.Add(-6*time.Minute), time.Time{} }
	lists := issue(t, ca, 35, "lists", signsOCSP, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
	odd := issue(t, ca, 36, "odd", signsOCSP, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{extension("1.2.3", true, 1)}
	})
	sha := func(r *ocsp.Response) { r.IssuerHash = crypto.SHA256 }
	for name, tc := range map[string]struct {
		answer []byte
		role   map[string]any
		want   bool
	}{
		"good":                          {response(t, ca, ca, nil, serial, ocsp.Good), nil, true},
		"good, named by SHA-256":        {response(t, ca, ca, nil, serial, ocsp.Good, sha), nil, true},
		"good, by a delegate":           {response(t, ca, delegate, delegate, serial, ocsp.Good), nil, true},
		"good, with the issuer in it":   {response(t, ca, ca, ca, serial, ocsp.Good), nil, true},
		"revoked":                       {response(t, ca, ca, nil, serial, ocsp.Revoked), nil, false},
		"unknown":                       {response(t, ca, ca, nil, serial, ocsp.Unknown), nil, false},
		"about another certificate":     {response(t, ca, ca, nil, 11, ocsp.Good), nil, false},
		"by a wrong issuer":             {response(t, ca, evil, nil, serial, ocsp.Good), nil, false},
		"by a wrong issuer's delegate":  {response(t, ca, foreign, foreign, serial, ocsp.Good), nil, false},
		"about a wrong issuer's":        {response(t, evil, delegate, delegate, serial, ocsp.Good), nil, false},
		"by a client's certificate":     {response(t, ca, plain, plain, serial, ocsp.Good), nil, false},
		"by a delegate out of its time": {response(t, ca, late, late, serial, ocsp.Good), nil, false},
		"out of date":                   {response(t, ca, ca, nil, serial, ocsp.Good, old), nil, false},
		"of the future":                 {response(t, ca, ca, nil, serial, ocsp.Good, future), nil, false},
		"made in the future":            {response(t, ca, ca, nil, serial, ocsp.Good, made), nil, false},
		"fresh, without an end":         {response(t, ca, ca, nil, serial, ocsp.Good, fresh), nil, true},
		"stale, without an end":         {response(t, ca, ca, nil, serial, ocsp.Good, stale), nil, false},
		"old, without an end":           {response(t, ca, ca, nil, serial, ocsp.Good, aged), nil, false},
		"by a delegate for lists":       {response(t, ca, lists, lists, serial, ocsp.Good), nil, false},
		"by an odd delegate":            {response(t, ca, odd, odd, serial, ocsp.Good), nil, false},
		"old, as the role allows": {response(t, ca, ca, nil, serial, ocsp.Good, aged),
			map[string]any{"ocsp_this_update_max_age": "3h"}, true},
		"too old": {response(t, ca, ca, nil, serial, ocsp.Good, aged),
			map[string]any{"ocsp_this_update_max_age": "1h"}, false},
		"an error":                         {ocsp.TryLaterErrorResponse, nil, false},
		"no answer":                        {[]byte("x"), nil, false},
		"too long":                         {make([]byte, 65<<10), nil, false},
		"not served":                       {nil, nil, false},
		"not served, but servers may fail": {nil, map[string]any{"ocsp_fail_open": true}, true},
		"unknown, but servers may fail": {response(t, ca, ca, nil, serial, ocsp.Unknown),
			map[string]any{"ocsp_fail_open": true}, true},
		"a wrong issuer, and servers may fail": {response(t, ca, evil, nil, serial, ocsp.Good),
			map[string]any{"ocsp_fail_open": true}, false},
		"nonsense, and servers may fail": {[]byte("x"), map[string]any{"ocsp_fail_open": true}, false},
		"revoked, and servers may fail": {response(t, ca, ca, nil, serial, ocsp.Revoked),
			map[string]any{"ocsp_fail_open": true}, false},
		"by a further authority": {response(t, ca, corporate, nil, serial, ocsp.Good),
			map[string]any{"ocsp_ca_certificates": corporate.pem()}, true},
		"by a further authority's delegate": {response(t, ca, shared, shared, serial, ocsp.Good),
			map[string]any{"ocsp_ca_certificates": corporate.pem()}, true},
		"by a further authority's delegate about a wrong issuer's": {response(t, evil, shared, shared, serial, ocsp.Good),
			map[string]any{"ocsp_ca_certificates": corporate.pem()}, false},
		"by an authority that is not the role's": {response(t, ca, corporate, nil, serial, ocsp.Good), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := newResponder(t)
			server.says(tc.answer)
			alice := issue(t, ca, serial, "alice", func(c *x509.Certificate) { c.OCSPServer = []string{server.URL} })
			m := newMount(t, nil, nil)
			m.write(t, "certs/ca", map[string]any{
				"certificate": ca.pem(), "ocsp_enabled": true, "ocsp_max_retries": "0"})
			if tc.role != nil {
				m.write(t, "certs/ca", tc.role)
			}
			if _, err := m.login(t, "", as(alice)); (err == nil) != tc.want {
				t.Errorf("let in: %v, want %v: %v", err == nil, tc.want, err)
			}
			if server.asked.Load() != 1 {
				t.Errorf("asked %d times", server.asked.Load())
			}
		})
	}
}

// The authorities of OCSP servers let nobody in.
func TestAuthoritiesOfServersAreNotTrusted(t *testing.T) {
	ca, corporate := issue(t, nil, 1, "ca", authority), issue(t, nil, 2, "corporate", authority)
	m := newMount(t, nil, nil)
	m.write(t, "certs/ca", map[string]any{"certificate": ca.pem(), "ocsp_ca_certificates": corporate.pem()})
	if _, err := m.login(t, "", as(issue(t, corporate, 5, "x"))); err == nil {
		t.Error("let in by the authority of an OCSP server")
	}
}

func TestSeveralServers(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	good, bad := response(t, ca, ca, nil, 10, ocsp.Good), response(t, ca, ca, nil, 10, ocsp.Revoked)
	unknown := response(t, ca, ca, nil, 10, ocsp.Unknown)
	for name, tc := range map[string]struct {
		first, second []byte
		all, want     bool
		asked         int32 // of the second server
		open          bool
	}{
		"one is down, and may":               {good, nil, true, true, 1, true},
		"one is down, and one lies":          {[]byte("x"), nil, true, false, 1, true},
		"one does not know, and one lies":    {unknown, []byte("x"), true, false, 1, true},
		"the first is down, the second lies": {nil, []byte("x"), false, false, 1, true},
		"the first knows":                    {good, bad, false, true, 0, false},
		"the first is down":                  {nil, good, false, true, 1, false},
		"the first does not know":            {unknown, bad, false, false, 1, false},
		"the first lies":                     {[]byte("x"), good, false, false, 0, false},
		"all agree":                          {good, good, true, true, 1, false},
		"one says revoked":                   {good, bad, true, false, 1, false},
		"one is down":                        {good, nil, true, false, 1, false},
		"one is down, the other knows worse": {nil, bad, true, false, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			one, two := newResponder(t), newResponder(t)
			one.says(tc.first)
			two.says(tc.second)
			m := newMount(t, nil, nil)
			m.write(t, "certs/ca", map[string]any{"certificate": ca.pem(), "ocsp_enabled": true,
				"ocsp_max_retries": "0", "ocsp_query_all_servers": tc.all, "ocsp_fail_open": tc.open,
				"ocsp_servers_override": one.URL + "," + two.URL})
			if _, err := m.login(t, "", as(alice)); (err == nil) != tc.want {
				t.Errorf("let in: %v, want %v: %v", err == nil, tc.want, err)
			}
			if got := two.asked.Load(); got != tc.asked {
				t.Errorf("the second was asked %d times, want %d", got, tc.asked)
			}
		})
	}
}

// TestServersThatTakeNoPOST are asked by GET (RFC 6960, A.1), whatever their address ends in.
func TestServersThatTakeNoPOST(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	for _, path := range []string{"", "/", "/ocsp"} {
		var asked []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.Method)
			if r.Method != http.MethodGet {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			text, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), strings.TrimSuffix(path, "/")+"/"))
			if err != nil {
				t.Error(err)
			}
			raw, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				t.Error(err)
			}
			if _, err := ocsp.ParseRequest(raw); err != nil {
				t.Errorf("%s: %v", r.URL, err)
			}
			_, _ = w.Write(response(t, ca, ca, nil, 10, ocsp.Good))
		}))
		m := newMount(t, nil, nil)
		m.write(t, "certs/web", map[string]any{"certificate": ca.pem(), "ocsp_enabled": true,
			"ocsp_servers_override": server.URL + path})
		if _, err := m.login(t, "", as(alice)); err != nil {
			t.Errorf("%q: %v", path, err)
		}
		server.Close()
		if !slices.Equal(asked, []string{http.MethodPost, http.MethodGet}) {
			t.Errorf("%q: asked by %v", path, asked)
		}
	}
}

func TestServersAreAskedAgain(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	for _, retries := range []int32{0, 2} {
		server := newResponder(t)
		server.says(nil)
		m := newMount(t, nil, nil)
		m.write(t, "certs/ca", map[string]any{"certificate": ca.pem(), "ocsp_enabled": true,
			"ocsp_servers_override": server.URL, "ocsp_max_retries": strconv.Itoa(int(retries))})
		_, err := m.login(t, "", as(alice))
		if err == nil || server.asked.Load() != retries+1 {
			t.Errorf("%d retries: asked %d times: %v", retries, server.asked.Load(), err)
		}
		if err != nil && strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("the refusal tells where the server is: %v", err)
		}
	}
}

// A server that does not answer is waited for no longer than the client waits, and however often it is to be asked.
func TestSilentServers(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	asked, over := make(chan struct{}, 1), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-over
	}))
	defer server.Close()
	defer close(over)
	m := newMount(t, nil, nil)
	m.write(t, "certs/ca", map[string]any{"certificate": ca.pem(), "ocsp_enabled": true,
		"ocsp_servers_override": server.URL, "ocsp_max_retries": "1000"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := m.call(ctx, engines.Update, "login", nil, as(alice))
		ended <- err
	}()
	<-asked
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("let in")
		}
	case <-time.After(20 * time.Second):
		t.Error("the login still waits")
	}
}

// Who can't be asked about is not let in.
func TestOCSPWithoutAnIssuerOrServer(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	leaf := issue(t, ca, 20, "leaf")
	m := newMount(t, nil, nil)
	refused := func(when string, want bool) {
		t.Helper()
		if _, err := m.login(t, "", as(leaf)); (err != nil) != want {
			t.Errorf("%s: %v", when, err)
		}
	}
	m.write(t, "certs/leaf", map[string]any{"certificate": leaf.pem(), "ocsp_enabled": true, "ocsp_max_retries": "0"})
	refused("no issuer", true)
	m.write(t, "certs/leaf", map[string]any{"certificate": leaf.pem() + ca.pem()})
	refused("no server", true)
	server := newResponder(t)
	server.says(response(t, ca, ca, nil, 20, ocsp.Good))
	m.write(t, "certs/leaf", map[string]any{"ocsp_servers_override": server.URL})
	refused("both", false)
	m.write(t, "config", map[string]any{"ocsp_cache_size": "2"}) // which forgets the answer
	m.write(t, "certs/leaf", map[string]any{"ocsp_servers_override": strings.Repeat(server.URL+",", 9)})
	refused("too many servers", true)
}

func FuzzOCSPAnswer(f *testing.F) {
	ca := issue(f, nil, 1, "ca", authority)
	delegate := issue(f, ca, 30, "delegate", signsOCSP)
	alice := issue(f, ca, 10, "alice")
	f.Add([]byte(nil))
	f.Add(ocsp.TryLaterErrorResponse)
	f.Add(response(f, ca, ca, nil, 10, ocsp.Revoked))
	f.Add(response(f, ca, delegate, delegate, 10, ocsp.Revoked))
	server := newResponder(f)
	m := newMount(f, nil, nil)
	m.write(f, "certs/ca", map[string]any{"certificate": ca.pem(), "ocsp_enabled": true,
		"ocsp_servers_override": server.URL, "ocsp_max_retries": "0"})
	f.Fuzz(func(t *testing.T, raw []byte) {
		server.says(raw)
		// Nobody but the authority can say good, and it never did.
		if _, err := m.login(t, "", as(alice)); err == nil {
			t.Errorf("let in by %x", raw)
		}
	})
}

func FuzzRole(f *testing.F) {
	ca := issue(f, nil, 1, "ca", authority)
	f.Add(ca.pem(), "")
	f.Add("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "1.2.3:x")
	f.Add(ca.pem()+ca.pem()[5:], "hex:1.2.3")
	stranger := issue(f, nil, 1, "stranger")
	f.Fuzz(func(t *testing.T, certificate, extensions string) {
		m := newMount(t, nil, nil)
		_, err := m.call(t.Context(), engines.Update, "certs/x",
			map[string]any{"certificate": certificate, "required_extensions": extensions}, engines.Client{})
		if err != nil {
			return
		}
		if _, err := m.login(t, "", as(stranger)); err == nil {
			t.Error("let a stranger in")
		}
	})
}

func FuzzCRL(f *testing.F) {
	ca := issue(f, nil, 1, "ca", authority)
	f.Add(crl(f, ca, epoch, 1, 2))
	f.Add("0")
	f.Fuzz(func(t *testing.T, list string) {
		m := newMount(t, nil, nil)
		_, err := m.call(t.Context(), engines.Update, "crls/x", map[string]any{"crl": list}, engines.Client{})
		if err != nil {
			return
		}
		if _, err := m.call(t.Context(), engines.Read, "crls/x", nil, engines.Client{}); err != nil {
			t.Errorf("cannot be read again: %v", err)
		}
	})
}

// Whatever is found in storage, nobody is let in by it who has no certificate for it.
func FuzzRecord(f *testing.F) {
	ca := issue(f, nil, 1, "ca", authority)
	stranger := issue(f, nil, 5, "stranger")
	f.Add("role/x", []byte(`{"name":"x","certificate":"`+strings.ReplaceAll(ca.pem(), "\n", `\n`)+`"}`))
	f.Add("config", []byte(`{"role_cache":-1}`))
	f.Add("crl/x", []byte(`{"der":"MAA="}`))
	f.Add("role/x", []byte(`null`))
	f.Fuzz(func(t *testing.T, key string, raw []byte) {
		s := memory.New()
		if s.Apply(t.Context(), storage.Put(key, raw)) != nil {
			return
		}
		m := newMount(t, s, nil)
		if _, err := m.login(t, "", as(stranger)); err == nil {
			t.Errorf("%s = %q lets a stranger in", key, raw)
		}
		_, _ = m.call(t.Context(), engines.Read, "certs/x", nil, engines.Client{})
		_, _ = m.call(t.Context(), engines.Read, "crls/x", nil, engines.Client{})
		_, _ = m.call(t.Context(), engines.Read, "config", nil, engines.Client{})
	})
}
