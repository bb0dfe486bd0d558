package limits

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

const (
	sigTerm = syscall.SIGTERM
	sigHUP  = syscall.SIGHUP
)

// authority issues certificates for 127.0.0.1; its own certificate is what clients trust.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "coffer test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// issue writes a certificate with the serial number, followed by the authority's own, and its key.
func (a *authority) issue(t *testing.T, serial int64, certFile, keyFile string) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "coffer"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), a.pem...)
	write(t, certFile, chain)
	write(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// serial is the serial number of the certificate that a new connection is shown; 0 when there is none.
func serial(s *servers.Server, roots *x509.CertPool) int64 {
	c, err := tls.Dial("tcp", s.HostPort(), &tls.Config{RootCAs: roots})
	if err != nil {
		return 0
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestReloadCertificate(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca.issue(t, 100, certFile, keyFile)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	s := serverWithSecret(t, servers.Options{TLSCert: certFile, TLSKey: keyFile})
	if got := serial(s, roots); got != 100 {
		t.Fatalf("the first certificate has serial number %d, want 100", got)
	}
	pid := s.PID()
	hangUp := func() {
		t.Helper()
		if err := s.Signal(sigHUP); err != nil {
			t.Fatal(err)
		}
	}
	ca.issue(t, 200, certFile, keyFile)
	if got := serial(s, roots); got != 100 {
		t.Errorf("without SIGHUP the certificate has serial number %d, want 100", got)
	}
	hangUp()
	awaitThat(t, "the new certificate is served", func() bool { return serial(s, roots) == 200 })
	mustRead(t, s)

	// A broken file changes nothing, and the next good one is taken.
	write(t, certFile, []byte("no certificate"))
	hangUp()
	mustRead(t, s)
	if got := serial(s, roots); got != 200 {
		t.Errorf("after a broken certificate file the serial number is %d, want 200", got)
	}
	ca.issue(t, 300, certFile, keyFile)
	hangUp()
	awaitThat(t, "the third certificate is served", func() bool { return serial(s, roots) == 300 })
	if s.PID() != pid {
		t.Error("the process changed")
	}
	// It was not sealed by all this.
	a, err := s.Call(t.Context(), http.MethodGet, "sys/health", "", nil)
	if err != nil || a.Status != http.StatusOK {
		t.Errorf("sys/health says %d, %v", a.Status, err)
	}
}
