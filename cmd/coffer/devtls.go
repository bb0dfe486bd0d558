package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// devTLS are the certificate of -dev-tls and its authority. Both are made at the start and removed at the end.
type devTLS struct {
	enabled bool
	// dir is where the files are; "" for a folder of their own.
	dir string
	// names are further ones that the certificate is good for, DNS names or IP addresses.
	names []string
}

// devTLSLife is longer than development servers run.
const devTLSLife = 30 * 24 * time.Hour

// The files have the names that Vault gives them.
func (t *devTLS) caFile() string   { return filepath.Join(t.dir, "vault-ca.pem") }
func (t *devTLS) certFile() string { return filepath.Join(t.dir, "vault-cert.pem") }
func (t *devTLS) keyFile() string  { return filepath.Join(t.dir, "vault-key.pem") }

// during makes the files for a server at address, where they are wanted, and removes them after serve.
func (t *devTLS) during(address string, serve func() error) error {
	if !t.enabled {
		return serve()
	}
	remove, err := t.make(address)
	if err != nil {
		return err
	}
	return errors.Join(serve(), remove())
}

// make writes the files for a server at address, and returns what removes them. The authority's key is kept nowhere.
func (t *devTLS) make(address string) (remove func() error, err error) {
	remove = t.removeFiles
	if t.dir == "" {
		if t.dir, err = os.MkdirTemp("", "coffer-tls-"); err != nil {
			return nil, fmt.Errorf("-dev-tls: %w", err)
		}
		dir := t.dir
		remove = func() error { return os.RemoveAll(dir) }
	} else if _, err := os.Stat(t.dir); err != nil {
		return nil, fmt.Errorf("-dev-tls-cert-dir: %w", err)
	}
	if err := t.write(address); err != nil {
		return nil, errors.Join(fmt.Errorf("-dev-tls: %w", err), remove())
	}
	return remove, nil
}

func (t *devTLS) removeFiles() error {
	var errs []error
	for _, file := range []string{t.caFile(), t.certFile(), t.keyFile()} {
		if err := os.Remove(file); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (t *devTLS) write(address string) error {
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "coffer development CA"},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(devTLSLife), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano() + 1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	t.nameServer(server, address)
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	if err != nil {
		return err
	}
	certDER, err := x509.CreateCertificate(rand.Reader, server, authority, &key.PublicKey, authorityKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		writePEM(t.caFile(), "CERTIFICATE", authorityDER, 0o644), // for the clients, who may be other users
		writePEM(t.certFile(), "CERTIFICATE", certDER, 0o644),
		writePEM(t.keyFile(), "PRIVATE KEY", keyDER, 0o600),
	)
}

// nameServer gives the certificate the names of the machine, the address that is listened on, and those asked for.
func (t *devTLS) nameServer(cert *x509.Certificate, address string) {
	names := []string{"localhost", "localhost4", "localhost6", "localhost.localdomain", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	if host, _, err := net.SplitHostPort(address); err == nil && host != "" {
		names = append(names, host)
	}
	for _, name := range append(names, t.names...) {
		if ip := net.ParseIP(name); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, name)
		}
	}
}

// writePEM replaces a file: the old one may be readable by others, or a link to another place.
func writePEM(path, kind string, der []byte, mode os.FileMode) (err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	return errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Close())
}
