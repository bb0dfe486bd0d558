package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"coffer/server/config"
)

// tlsConfig is a configuration with a certificate, and with more keys in its listener.
func tlsConfig(cert, key, more string) string {
	return fmt.Sprintf("storage \"inmem\" {}\ndisable_mlock = true\nlistener \"tcp\" {\n  address = \"127.0.0.1:0\"\n"+
		"  tls_cert_file = %q\n  tls_key_file = %q\n%s}\n", cert, key, more)
}

// stop ends a process as a service manager does.
func stop(t *testing.T, r *running) {
	t.Helper()
	r.signals <- syscall.SIGTERM
	if code := r.wait(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, &r.stderr)
	}
}

// swap replaces a link in one step, as Kubernetes and certbot do.
func swap(t *testing.T, target, link string) {
	t.Helper()
	if err := os.Symlink(target, link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
}

// A certificate whose files are exchanged behind a link, as a mounted Secret is, is used without a signal. One that does
// not serve is not, and is told of once.
func TestCertificateIsFollowed(t *testing.T) {
	folder := t.TempDir()
	for i := range 3 {
		version := filepath.Join(folder, fmt.Sprint("..v", i))
		if err := os.Mkdir(version, 0o700); err != nil {
			t.Fatal(err)
		}
		_, key := certificateFor(t, version, int64(i))
		if i == 1 { // of another certificate
			_, _ = certificateFor(t, folder, 9)
			if err := os.Rename(filepath.Join(folder, "key.pem"), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	link := filepath.Join(folder, "..data")
	swap(t, "..v0", link)
	cert, key := filepath.Join(link, "cert.pem"), filepath.Join(link, "key.pem")
	var log output
	logger := slog.New(&textHandler{out: &log, level: slog.LevelInfo})
	c, err := newCertificate(&config.TLS{CertFile: cert, KeyFile: key}, logger)
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 { return c.current.Load().config.Certificates[0].Leaf.SerialNumber.Int64() }
	c.follow()
	if text := log.String(); strings.Count(text, "\n") != 1 { // that it ends within the hour
		t.Errorf("nothing changed, and the log says\n%s", text)
	}
	swap(t, "..v1", link)
	c.follow()
	if strings.Contains(log.String(), "[ERROR]") {
		t.Errorf("files that may not be complete yet are an error:\n%s", &log)
	}
	for range 3 {
		c.follow()
	}
	if text := log.String(); strings.Count(text, "[ERROR]") != 1 || serial() != 0 ||
		!strings.Contains(text, "the key does not belong to the first certificate") {
		t.Errorf("serial %d, log:\n%s", serial(), text)
	}
	swap(t, "..v2", link)
	c.follow()
	if serial() != 2 || !strings.Contains(log.String(), "certificate files changed and are in use") {
		t.Errorf("serial %d, log:\n%s", serial(), &log)
	}
}

// The server itself follows the files.
func TestServerFollowsCertificate(t *testing.T) {
	folder := t.TempDir()
	cert, key := certificateFor(t, folder, 1)
	r := run(t, &fakeService{}, nil, "server", "-config="+writeFile(t, "a.hcl", tlsConfig(cert, key, "")))
	address := r.address(t)
	if got := serial(t, address); got != 1 {
		t.Fatalf("serial %d", got)
	}
	certificateFor(t, folder, 2)
	r.stderr.match(t, "certificate files changed and are in use")
	if got := serial(t, address); got != 2 {
		t.Errorf("serial %d", got)
	}
	stop(t, r)
}

// SIGHUP reads the authorities of clients again: who is of the old one is out, also who resumes a session.
func TestReloadClientAuthorities(t *testing.T) {
	folder, first, second := t.TempDir(), t.TempDir(), t.TempDir()
	cert, key := certificateFor(t, folder, 1)
	ca := filepath.Join(folder, "ca.pem")
	client := func(where string, serial int64) *http.Client {
		clientCert, clientKey := certificateFor(t, where, serial)
		pair, err := tls.LoadX509KeyPair(clientCert, clientKey)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}, ClientSessionCache: tls.NewLRUClientSessionCache(8),
		}}}
	}
	trust := func(where string) {
		text, err := os.ReadFile(filepath.Join(where, "cert.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ca, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one, two := client(first, 2), client(second, 3)
	trust(first)
	r := run(t, &fakeService{}, nil, "server", "-config="+writeFile(t, "a.hcl", tlsConfig(cert, key,
		fmt.Sprintf("  tls_client_ca_file = %q\n  tls_require_and_verify_client_cert = true\n", ca))))
	url := "https://" + r.address(t)
	for range 2 {
		if body, err := get(one, url); body != "hello" {
			t.Fatalf("of the authority: %q, %v", body, err)
		}
	}
	if body, err := get(two, url); err == nil {
		t.Errorf("of another authority: %q", body)
	}
	trust(second)
	r.signals <- syscall.SIGHUP
	r.stderr.match(t, "reloaded .* client authorities")
	if body, err := get(one, url); err == nil {
		t.Errorf("of the old authority, with a session: %q", body)
	}
	if body, err := get(two, url); body != "hello" {
		t.Errorf("of the new authority: %q, %v", body, err)
	}
	stop(t, r)
}

// A certificate is warned about from 14 days before its end on, at the start and once a day.
func TestCertificateEnds(t *testing.T) {
	folder := t.TempDir()
	cert, key := certificateUntil(t, folder, 1, time.Now().Add(20*day))
	var log output
	c := &certificate{cfg: &config.TLS{CertFile: cert, KeyFile: key},
		log: slog.New(&textHandler{out: &log, level: slog.LevelInfo}), now: time.Now}
	if err := c.reload(); err != nil {
		t.Fatal(err)
	}
	at := func(days float64) int {
		c.now = func() time.Time { return time.Now().Add(time.Duration(days * float64(day))) }
		c.follow()
		return strings.Count(log.String(), "[WARN]")
	}
	for _, step := range []struct {
		days float64
		want int
	}{{0, 0}, {5.9, 0}, {6.1, 1}, {6.5, 1}, {7, 1}, {7.2, 2}, {21, 3}} {
		if got := at(step.days); got != step.want {
			t.Errorf("after %v days there are %d warnings, want %d:\n%s", step.days, got, step.want, &log)
		}
	}
	if !strings.Contains(log.String(), "days_left=13") || !strings.Contains(log.String(), "the certificate has ended") {
		t.Errorf("log:\n%s", &log)
	}
	// What replaces it must not end before it does.
	c.now = time.Now
	certificateUntil(t, folder, 2, time.Now().Add(-time.Hour))
	c.follow()
	c.follow()
	if left := c.left(); left < 19 || !strings.Contains(log.String(), "has ended; the certificate in use is good for longer") {
		t.Errorf("%v days left, log:\n%s", left, &log)
	}
	if days := (endpoints{{cert: c, listener: fakeListener{}}, {listener: fakeListener{}}}).certificateDays(); len(days) != 1 ||
		days["fake:1"] < 19 {
		t.Errorf("metric %v", days)
	}
}

// What is wrong with a certificate and its key names the line of the configuration and the remedy.
func TestBadCertificates(t *testing.T) {
	folder := t.TempDir()
	cert, key := certificateFor(t, folder, 1)
	_, other := certificateFor(t, t.TempDir(), 2)
	file := func(name, text string) string { return writeFile(t, name, text) }
	for _, test := range []struct{ name, cert, key, want string }{
		{"exchanged", key, cert, "the two files are exchanged"},
		{"of another", cert, other, "the key does not belong to the first certificate"},
		{"DER", file("c.der", "\x30\x82"), key, "convert them to PEM"},
		{"no certificate", file("c.pem", "nonsense"), key, "tls_cert_file holds no certificate"},
		{"no key", cert, file("k.pem", "nonsense"), "tls_key_file holds no private key"},
		{"with a password", cert, file("k.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"),
			"store it without a password"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := writeFile(t, "a.hcl", tlsConfig(test.cert, test.key, ""))
			r := run(t, &fakeService{}, nil, "server", "-config="+path)
			if code := r.wait(t); code != exitError {
				t.Errorf("exit code %d", code)
			}
			text := r.stderr.String()
			if !strings.HasPrefix(text, path+":5: listener.tcp.tls_cert_file: ") || !strings.Contains(text, test.want) {
				t.Errorf("error %q does not say %q", text, test.want)
			}
			secret, err := os.ReadFile(key)
			if err != nil || bytes.Contains([]byte(text), bytes.Split(secret, []byte("\n"))[1]) {
				t.Errorf("the error shows the key, %v", err)
			}
		})
	}
}

// certificateFor writes a self-signed certificate for 127.0.0.1 with the serial number, and its key.
func certificateFor(t *testing.T, folder string, serial int64) (cert, key string) {
	t.Helper()
	return certificateUntil(t, folder, serial, time.Now().Add(time.Hour))
}

// certificateUntil is certificateFor with the time at which the certificate ends.
func certificateUntil(t *testing.T, folder string, serial int64, ends time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: ends.Add(-1000 * time.Hour), NotAfter: ends, IPAddresses: []net.IP{{127, 0, 0, 1}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// serial is the number of the certificate that address shows.
func serial(t *testing.T, address string) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}
