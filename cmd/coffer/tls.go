package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"coffer/server/config"
)

var (
	errNoCA    = errors.New("holds no PEM certificate; write one or more blocks of BEGIN CERTIFICATE into it")
	errExpired = errors.New("has ended; the certificate in use is good for longer and stays")
)

const (
	// followEvery is how often the files of a certificate are looked at.
	followEvery = 2 * time.Second
	// endsSoon is how long before its end a certificate is warned about, once a day.
	endsSoon = 14 * 24 * time.Hour
	day      = 24 * time.Hour
)

// certificate is what a listener shows and whom it trusts, read again when its files change.
type certificate struct {
	cfg *config.TLS
	log *slog.Logger
	now func() time.Time
	// current is what handshakes use.
	current atomic.Pointer[loaded]

	// mu guards what follows. seen is how the files looked when they were read last, judged how they looked when what is
	// wrong with them was told; warned is when the end of the certificate was.
	mu           sync.Mutex
	seen, judged stamp
	warned       time.Time
}

// loaded is the configuration of handshakes, and when its certificate ends.
type loaded struct {
	config *tls.Config
	ends   time.Time
}

// stamp tells a file from what stands in its place later. Files behind links are looked at: Kubernetes swaps a link of
// the folder, certbot one of the file.
type stamp [3]struct {
	device, inode uint64
	size, changed int64
}

// newCertificate reads the files of a listener.
func newCertificate(cfg *config.TLS, log *slog.Logger) (*certificate, error) {
	c := &certificate{cfg: cfg, log: log.With("certificate", cfg.CertFile), now: time.Now}
	if err := c.reload(); err != nil {
		return nil, cfg.Place.Error(err)
	}
	return c, nil
}

// server is the configuration of the listener. Each handshake asks for the current one.
func (c *certificate) server() *tls.Config {
	return &tls.Config{
		MinVersion: max(c.cfg.MinVersion, tls.VersionTLS12),
		NextProtos: protocols(), // net/http looks here whether HTTP/2 is spoken
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c.current.Load().config, nil
		},
	}
}

// protocols are what is spoken over TLS (RFC 7301).
func protocols() []string { return []string{"h2", "http/1.1"} }

// reload reads the files. When they do not serve, what is in use stays.
func (c *certificate) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	looked := c.look()
	c.seen, c.judged = looked, looked
	return c.loadLocked()
}

// follow reads the files when they have changed. What is wrong with them is told once, and not before they have
// stayed the same for a while: a certificate and its key are two files and do not come at one moment.
func (c *certificate) follow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.warnLocked()
	looked := c.look()
	if looked == c.judged {
		return
	}
	settled := looked == c.seen
	c.seen = looked
	err := c.loadLocked()
	switch {
	case err == nil:
		c.judged = looked
		c.log.Info("certificate files changed and are in use", "ends", c.current.Load().ends.UTC().Format(time.RFC3339))
	case settled:
		c.judged = looked
		c.log.Error("certificate files changed and cannot be used; what was read before stays in use", "error", err)
	}
}

// look is how the files look now; what cannot be looked at is zero.
func (c *certificate) look() (s stamp) {
	for i, path := range []string{c.cfg.CertFile, c.cfg.KeyFile, c.cfg.ClientCAFile} {
		info, err := os.Stat(path)
		if path == "" || err != nil {
			continue
		}
		s[i].size, s[i].changed = info.Size(), info.ModTime().UnixNano()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			s[i].device, s[i].inode = uint64(st.Dev), st.Ino //nolint:unconvert // the type differs between systems
		}
	}
	return s
}

// loadLocked reads and checks the files, and puts them into use.
func (c *certificate) loadLocked() error {
	pair, err := loadPair(c.cfg.CertFile, c.cfg.KeyFile)
	if err != nil {
		return err
	}
	used := c.current.Load()
	if used != nil && c.now().After(pair.Leaf.NotAfter) && used.ends.After(pair.Leaf.NotAfter) {
		return fmt.Errorf("%s %w", c.cfg.CertFile, errExpired)
	}
	next := &loaded{ends: pair.Leaf.NotAfter, config: &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   max(c.cfg.MinVersion, tls.VersionTLS12),
		MaxVersion:   c.cfg.MaxVersion,
		CipherSuites: c.cfg.CipherSuites,
		ClientAuth:   c.cfg.ClientAuth,
		NextProtos:   protocols(),

		VerifyConnection: checkChain,
	}}
	if c.cfg.ClientCAFile != "" {
		text, err := os.ReadFile(c.cfg.ClientCAFile)
		if err != nil {
			return config.Explain(err)
		}
		next.config.ClientCAs = x509.NewCertPool()
		if !next.config.ClientCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s %w", c.cfg.ClientCAFile, errNoCA)
		}
	}
	if used == nil || !used.ends.Equal(next.ends) {
		c.warned = time.Time{}
	}
	c.current.Store(next)
	c.warnLocked()
	return nil
}

// left is how many days the certificate is good for; below zero when it has ended.
func (c *certificate) left() float64 { return c.current.Load().ends.Sub(c.now()).Hours() / 24 }

// warnLocked tells, once a day, of a certificate that ends soon.
func (c *certificate) warnLocked() {
	used := c.current.Load()
	if used == nil || used.ends.Sub(c.now()) >= endsSoon || (!c.warned.IsZero() && c.now().Sub(c.warned) < day) {
		return
	}
	c.warned = c.now()
	text := "the certificate ends soon; renew it, coffer reads the new files by itself"
	if c.left() < 0 {
		text = "the certificate has ended and clients refuse it; renew it, coffer reads the new files by itself"
	}
	c.log.Warn(text, "ends", used.ends.UTC().Format(time.RFC3339), "days_left", int(c.left()))
}

// loadPair reads a certificate with its chain, and its key. Errors say which file is not what it should be.
func loadPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return tls.Certificate{}, config.Explain(err)
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return tls.Certificate{}, config.Explain(err)
	}
	defer clear(key)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s and %s: %w%s", certFile, keyFile, err, pairHint(cert, key))
	}
	if pair.Leaf == nil {
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	return pair, err
}

// pairHint says what was probably meant by files that are no certificate with its key.
func pairHint(cert, key []byte) string {
	holds := func(text []byte, what string) bool {
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			if strings.HasSuffix(block.Type, what) {
				return true
			}
		}
		return false
	}
	switch {
	case bytes.HasPrefix(cert, []byte{0x30}) || bytes.HasPrefix(key, []byte{0x30}):
		return "; the files are DER, or PKCS #12: convert them to PEM with openssl"
	case holds(cert, "PRIVATE KEY") && holds(key, "CERTIFICATE") && !holds(cert, "CERTIFICATE"):
		return "; the two files are exchanged: tls_cert_file names the certificate, tls_key_file the key"
	case bytes.Contains(key, []byte("ENCRYPTED")):
		return "; the key is encrypted: store it without a password, with openssl pkey -in OLD -out NEW"
	case !holds(cert, "CERTIFICATE"):
		return "; tls_cert_file holds no certificate: it begins with -----BEGIN CERTIFICATE-----"
	case !holds(key, "PRIVATE KEY"):
		return "; tls_key_file holds no private key: it begins with -----BEGIN PRIVATE KEY-----"
	default:
		return "; the key does not belong to the first certificate of the file: the server's own comes before those of " +
			"its authorities"
	}
}

// openToAll reports whether everybody on the machine may read a file.
func openToAll(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 && reachable(path)
}

// reachable reports whether everybody may pass the folders on the way to a file.
func reachable(path string) bool {
	path, err := filepath.Abs(path)
	for dir := filepath.Dir(path); err == nil; dir = filepath.Dir(dir) {
		var info os.FileInfo
		if info, err = os.Stat(dir); err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
	return false
}
