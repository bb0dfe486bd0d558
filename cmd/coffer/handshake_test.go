package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"coffer/server/config"
)

// secureEndpoint serves "hello" over TLS as the command does. A handshake may take within.
func secureEndpoint(t *testing.T, within time.Duration) string {
	t.Helper()
	cert, key := certificateFor(t, t.TempDir(), 1)
	l := config.Listener{Address: "127.0.0.1:0", TLS: &config.TLS{CertFile: cert, KeyFile: key,
		ClientAuth: tls.RequestClientCert, MaxVersion: tls.VersionTLS13}}
	l.Timeouts.ReadHeader = within
	open, err := listen(t.Context(), &fakeService{}, []config.Listener{l}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	open.serve(failed)
	t.Cleanup(func() {
		if err := open.shutdown(t.Context()); err != nil {
			_ = open.close()
		}
		select {
		case err := <-failed:
			t.Error(err)
		default:
		}
	})
	return open[0].address()
}

// chainOf is a client's chain: a certificate with so many names of one letter, and copies of it.
func chainOf(t *testing.T, names, length int) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const uri = "\x86\x01a" // GeneralName of RFC 5280, uniformResourceIdentifier
	list, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: []byte(strings.Repeat(uri, names))})
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	if names > 0 {
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: list}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Certificate{PrivateKey: key}
	for range length {
		c.Certificate = append(c.Certificate, der)
	}
	return c
}

// TestClientsCertificatesAreBounded shows certificates of every size to the default listener: usual chains are welcome,
// and what is dear to keep is not, in either version of TLS.
func TestClientsCertificatesAreBounded(t *testing.T) {
	address := secureEndpoint(t, patience)
	for name, tc := range map[string]struct {
		names, length int
		welcome       bool
	}{
		"none":                     {0, 0, true},
		"a certificate":            {1, 1, true},
		"a chain":                  {20, 5, true},
		"a hundred names":          {100, 1, true},
		"many names":               {5_000, 1, false}, // in less than maxHandshake bytes
		"tens of thousands":        {84_000, 1, false},
		"many certificates":        {0, 40, false},
		"hundreds of certificates": {0, 500, false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" over "+tls.VersionName(version), func(t *testing.T) {
				conf := &tls.Config{InsecureSkipVerify: true, MaxVersion: version, Certificates: []tls.Certificate{chainOf(t, tc.names, tc.length)}}
				if tc.length == 0 {
					conf.Certificates = nil
				}
				client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}, Timeout: patience}
				defer client.CloseIdleConnections()
				resp, err := client.Get("https://" + address)
				if !tc.welcome {
					if err == nil {
						_ = resp.Body.Close()
						t.Error("welcome")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = resp.Body.Close() }()
				if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello" || resp.ProtoMajor != 2 {
					t.Errorf("%s %s, %v", resp.Proto, body, err)
				}
			})
		}
	}
}

// TestHandshakesCostLittle counts what handshakes with large certificates make the server allocate.
func TestHandshakesCostLittle(t *testing.T) {
	address := secureEndpoint(t, patience)
	const count = 10
	chain := chainOf(t, 84_000, 1)
	// What else the process allocates meanwhile, such as to wipe memory after an earlier test, is not in the least of them.
	least := uint64(math.MaxUint64)
	for range count {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{chain}})
		if err == nil {
			_, err = conn.Read(make([]byte, 1)) // in TLS 1.3 the refusal comes after the client's part
			_ = conn.Close()
		}
		if err == nil {
			t.Fatal("welcome")
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if least > 4<<20 { // the client's part is most of that
		t.Errorf("%d KiB were allocated for each", least>>10)
	}
}

// TestHandshakesEnd holds that a client that says nothing is left, keeps nobody waiting, and that one that speaks no
// TLS is told so.
func TestHandshakesEnd(t *testing.T) {
	address := secureEndpoint(t, 300*time.Millisecond)
	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	plain, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	fmt.Fprint(plain, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = plain.SetDeadline(time.Now().Add(patience))
	if answer, _ := io.ReadAll(plain); !strings.HasPrefix(string(answer), "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request") {
		t.Errorf("%q", answer)
	}
	_ = silent.SetDeadline(time.Now().Add(patience))
	if _, err := silent.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the silent client: %v", err)
	}
}

// TestPartsOf counts one of each.
func TestPartsOf(t *testing.T) {
	u := &url.URL{}
	c := &x509.Certificate{DNSNames: []string{""}, EmailAddresses: []string{""}, IPAddresses: []net.IP{nil}, URIs: []*url.URL{u},
		OCSPServer: []string{""}, CRLDistributionPoints: []string{""}, PermittedURIDomains: []string{""}}
	if got := partsOf(c); got != 7 {
		t.Errorf("%d", got)
	}
}
