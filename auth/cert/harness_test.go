package cert_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"coffer/auth/cert"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

// identity is a certificate with its key.
type identity struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate, signed by its issuer or, without one, by itself. The times are fixed, so that it
// is valid for the harness's clock.
func issue(t testing.TB, issuer *identity, serial int64, name string, change ...func(*x509.Certificate)) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issueFor(t, key, issuer, serial, name, change...)
}

func issueFor(
	t testing.TB, key *ecdsa.PrivateKey, issuer *identity, serial int64, name string, change ...func(*x509.Certificate),
) *identity {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(24 * time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range change {
		c(template)
	}
	self := &identity{cert: template, key: key}
	if issuer == nil {
		issuer = self
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, key.Public(), issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	if self.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return self
}

func authority(c *x509.Certificate) {
	c.IsCA, c.ExtKeyUsage = true, nil
	c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
}

func (i *identity) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
}

// epoch is when the tests happen.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type fixedTTLs struct{}

func (fixedTTLs) DefaultTTL() time.Duration { return 768 * time.Hour }
func (fixedTTLs) MaxTTL() time.Duration     { return 768 * time.Hour }

// mount is the engine with what a server has around it.
type mount struct {
	engine engines.Engine
	router *engines.Router
}

func newMount(t testing.TB, s storage.Storage, now func() time.Time) *mount {
	t.Helper()
	if s == nil {
		s = memory.New()
	}
	if now == nil {
		now = func() time.Time { return epoch }
	}
	e, err := cert.Factory(t.Context(), engines.Config{
		Mount: engines.Mount{Path: "auth/cert/", Type: "cert"}, Storage: s, Logger: slog.New(slog.DiscardHandler),
		Wall: now, TTLs: fixedTTLs{}, Background: func(work func(context.Context)) { go work(t.Context()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := engines.NewRouter(e)
	if err != nil {
		t.Fatal(err)
	}
	return &mount{engine: e, router: r}
}

func (m *mount) call(
	ctx context.Context, op engines.Operation, path string, params map[string]any, client engines.Client,
) (*engines.Response, error) {
	match, ok := m.router.Match(ctx, op, path)
	if !ok {
		return nil, engines.ErrUnsupportedPath
	}
	return match.Call(ctx, &engines.Request{Operation: op, Path: path, Params: params, Client: client})
}

func (m *mount) write(t testing.TB, path string, params map[string]any) {
	t.Helper()
	if _, err := m.call(t.Context(), engines.Update, path, params, engines.Client{}); err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
}

// as is the connection of a client that shows these certificates.
func as(shown ...*identity) engines.Client {
	c := engines.Client{Addr: netip.MustParseAddr("127.0.0.1"), Secure: true}
	for _, i := range shown {
		c.Chain = append(c.Chain, i.cert)
	}
	return c
}

func (m *mount) login(t testing.TB, role string, client engines.Client) (*engines.Login, error) {
	t.Helper()
	resp, err := m.call(t.Context(), engines.Update, "login", map[string]any{"name": role}, client)
	if err != nil {
		return nil, err
	}
	return resp.Login, nil
}

// renew asks for the renewal of a login's token over another connection.
func (m *mount) renew(t testing.TB, login *engines.Login, client engines.Client) error {
	t.Helper()
	_, err := m.engine.(engines.LoginRenewer).RenewLogin(t.Context(), &engines.Renewal{
		Holder:   &engines.Caller{Policies: append([]string{"default"}, login.Policies...), Metadata: login.Metadata},
		Internal: login.Internal, Client: client,
	})
	return err
}
