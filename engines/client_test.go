package engines_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
)

func selfSigned(t testing.TB) *x509.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), DNSNames: []string{"node.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// TestClientTravels: on another node a client means what it meant on the first one.
func TestClientTravels(t *testing.T) {
	for name, c := range map[string]engines.Client{
		"internal":    {},
		"plain":       {Addr: netip.MustParseAddr("192.0.2.7"), Port: 4711, Header: http.Header{"X-Vault-Request": {"true", "x"}}},
		"secure":      {Addr: netip.MustParseAddr("2001:db8::1%eth0"), Secure: true},
		"certificate": {Addr: netip.MustParseAddr("192.0.2.7"), Secure: true, Chain: []*x509.Certificate{selfSigned(t), selfSigned(t)}},
	} {
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var got engines.Client
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same := cmp.Comparer(func(a, b *x509.Certificate) bool { return a.Equal(b) })
		address := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
		if diff := cmp.Diff(c, got, same, address); diff != "" {
			t.Errorf("%s (-sent +received):\n%s", name, diff)
		}
	}
}

func TestClientThatCannotBe(t *testing.T) {
	der, err := json.Marshal(selfSigned(t).Raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`[]`, `{"addr":"nowhere"}`, `{"chain":["AAAA"]}`, `{"chain":[null]}`,
		`{"chain":[` + strings.Repeat(string(der)+",", 8) + string(der) + `]}`,
	} {
		kept := engines.Client{Port: 1}
		if err := json.Unmarshal([]byte(text), &kept); err == nil || kept.Port != 1 {
			t.Errorf("%.60s: %v, %+v", text, err, kept)
		}
	}
}

// FuzzClient: whatever comes from another node is a client that can be sent on, or an error.
func FuzzClient(f *testing.F) {
	der, err := json.Marshal(selfSigned(f).Raw)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{}`)
	f.Add(`{"addr":"192.0.2.7","port":1,"header":{"A":["b"]},"secure":true,"chain":[` + string(der) + `]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var c engines.Client
		if json.Unmarshal([]byte(text), &c) != nil {
			return
		}
		if _, err := json.Marshal(c); err != nil {
			t.Error(err)
		}
	})
}
