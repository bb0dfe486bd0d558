package http

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// pki are the certificates of a script whose listener is tls, made anew for each run: no key lies in the repository,
// and no recorded answer goes out of date. Everything that answers may repeat is a variable.
type pki struct {
	vars    *variables
	dir     string
	clients map[string]tls.Certificate
	roots   *x509.CertPool // the server's own certificate
}

// subject is a certificate that newPKI makes, and who signs it: a name of issuers, or itself when empty.
type subject struct {
	name, issuer string
	change       func(*x509.Certificate)
}

// subjects are the certificates of a script. Each is there as the variable NAME (PEM), NAME_serial and
// NAME_skid, and as the client of that name.
var subjects = []subject{
	{"server", "", func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}},
	{"ca", "", asAuthority},
	{"other_ca", "", asAuthority},
	{"alice", "ca", func(c *x509.Certificate) {
		c.Subject.OrganizationalUnit, c.Subject.Organization = []string{"engineering"}, []string{"homelab"}
		c.DNSNames = []string{"alice.example.com"}
		c.EmailAddresses = []string{"alice@example.com"}
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/alice"}}
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 45}, Value: []byte("\x0c\x06team-a")},
			{Id: asn1.ObjectIdentifier{1, 2, 3, 46}, Value: []byte("\x02\x01\x07")}}
	}},
	// The same name with another key.
	{"alice_again", "ca", func(c *x509.Certificate) { c.Subject.CommonName = "alice" }},
	{"stranger", "other_ca", func(c *x509.Certificate) { c.Subject.CommonName = "alice" }},
	{"revoked", "ca", nil},
	{"expired", "ca", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }},
	{"nameless", "ca", func(c *x509.Certificate) { c.Subject = pkix.Name{} }},
	{"server_only", "ca", func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}},
	{"leaf", "", nil},
	{"forged_leaf", "", func(c *x509.Certificate) { c.Subject.CommonName = "leaf" }},
}

func asAuthority(c *x509.Certificate) {
	c.IsCA, c.ExtKeyUsage = true, nil
	c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
}

// newPKI makes the certificates, fills in the variables, and writes server.pem and server-key.pem into dir.
func newPKI(dir string, vars *variables) (*pki, error) {
	p := &pki{vars: vars, dir: dir, clients: map[string]tls.Certificate{}, roots: x509.NewCertPool()}
	for _, s := range subjects {
		if err := p.issue(s); err != nil {
			return nil, err
		}
	}
	ca := p.clients["ca"]
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{
			{SerialNumber: p.clients["revoked"].Leaf.SerialNumber, RevocationTime: time.Now()},
		},
	}, ca.Leaf, ca.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return nil, err
	}
	vars.set("crl", armour("X509 CRL", list))
	return p, nil
}

func armour(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func (p *pki) issue(s subject) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial := make([]byte, 16)
	_, _ = rand.Read(serial)
	serial[0] = serial[0]&0x3f | 0x40 // of one length
	id := make([]byte, 20)
	_, _ = rand.Read(id)
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: s.name}, SubjectKeyId: id,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if s.change != nil {
		s.change(template)
	}
	if s.name == "forged_leaf" {
		template.SerialNumber = p.clients["leaf"].Leaf.SerialNumber
	}
	parent, signer := template, key
	if s.issuer != "" {
		parent = p.clients[s.issuer].Leaf
		signer = p.clients[s.issuer].PrivateKey.(*ecdsa.PrivateKey)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	p.clients[s.name] = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	p.vars.set(s.name, armour("CERTIFICATE", der))
	p.vars.set(s.name+"_serial", leaf.SerialNumber.String())
	p.vars.set(s.name+"_skid", colons(leaf.SubjectKeyId))
	if s.name != "server" {
		return nil
	}
	p.roots.AddCert(leaf)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.certFile(), []byte(armour("CERTIFICATE", der)), 0o600); err != nil {
		return err
	}
	return os.WriteFile(p.keyFile(), []byte(armour("PRIVATE KEY", keyDER)), 0o600)
}

func (p *pki) certFile() string { return filepath.Join(p.dir, "server.pem") }
func (p *pki) keyFile() string  { return filepath.Join(p.dir, "server-key.pem") }

// config is the TLS configuration of the client of that name; "" shows no certificate.
func (p *pki) config(client string) (*tls.Config, bool) {
	c := &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12}
	if client == "" {
		return c, true
	}
	cert, ok := p.clients[client]
	// Sent whatever authorities the server names.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return c, ok
}

func colons(b []byte) string {
	parts := make([]string, len(b))
	for i := range b {
		parts[i] = hex.EncodeToString(b[i : i+1])
	}
	return strings.Join(parts, ":")
}
