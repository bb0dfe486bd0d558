package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"coffer/server/config"
)

var errNoCA = errors.New("holds no PEM certificate")

// certificate is a listener's certificate and key, read again when the process is told to.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// reload reads the files. When it fails the certificate in use stays.
func (c *certificate) reload() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("load %s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return nil
}

// get is tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// serverTLS is the configuration of a listener, and its certificate for reloading.
func serverTLS(cfg *config.TLS) (*tls.Config, *certificate, error) {
	cert := &certificate{certFile: cfg.CertFile, keyFile: cfg.KeyFile}
	if err := cert.reload(); err != nil {
		return nil, nil, err
	}
	conf := &tls.Config{
		GetCertificate: cert.get,
		MinVersion:     max(cfg.MinVersion, tls.VersionTLS12),
		MaxVersion:     cfg.MaxVersion,
		CipherSuites:   cfg.CipherSuites,
		ClientAuth:     cfg.ClientAuth,
	}
	if cfg.ClientCAFile != "" {
		pem, err := os.ReadFile(cfg.ClientCAFile)
		if err != nil {
			return nil, nil, err
		}
		conf.ClientCAs = x509.NewCertPool()
		if !conf.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("%s %w", cfg.ClientCAFile, errNoCA)
		}
	}
	return conf, cert, nil
}
