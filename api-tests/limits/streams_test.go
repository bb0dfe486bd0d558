package limits

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

// holder is one connection of HTTP/2 (RFC 9113) whose client lets the server send no byte of an answer's body.
type holder struct {
	*tls.Conn
}

func (h holder) frame(kind, flags byte, stream uint32, payload string) error {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	_, err := h.Write(append(binary.BigEndian.AppendUint32(b, stream), payload...))
	return err
}

// field is one of HPACK (RFC 7541), its name by the number that it has in the static table, or 0 and its text.
func field(number byte, name, value string) string {
	text := func(s string) string {
		if len(s) < 127 {
			return string(byte(len(s))) + s
		}
		return "\x7f" + string(binary.AppendUvarint(nil, uint64(len(s)-127))) + s
	}
	if number == 0 {
		return "\x00" + text(name) + text(value)
	}
	return string(number) + text(value)
}

// request sends a request. Its head may be longer than a frame.
func (h holder) request(stream uint32, method, path, token, padding, body string) error {
	head := field(2, "", method) + "\x87" + field(4, "", path) + field(1, "", "x") // :method, :scheme https, :path, :authority
	if token != "" {
		head += field(0, "x-vault-token", token)
	}
	if padding != "" {
		head += field(0, "x-padding", padding)
	}
	const headers, continuation, data, endStream, endHeaders, longest = 1, 9, 0, 1, 4, 16_000
	kind, end := byte(headers), byte(endStream)
	if body != "" {
		end = 0
	}
	for first := true; first || head != ""; first = false {
		part := head[:min(len(head), longest)]
		head = head[len(part):]
		flags := byte(0)
		if first {
			flags = end
		}
		if head == "" {
			flags |= endHeaders
		}
		if err := h.frame(kind, flags, stream, part); err != nil {
			return err
		}
		kind = continuation
	}
	for body != "" {
		part := body[:min(len(body), longest)]
		body = body[len(part):]
		flags := byte(0)
		if body == "" {
			flags = endStream
		}
		if err := h.frame(data, flags, stream, part); err != nil {
			return err
		}
	}
	return nil
}

// stalled sends the head of a request and a part of its body.
func (h holder) stalled(stream uint32, path, part string) error {
	const headers, data, endHeaders = 1, 0, 4
	head := field(2, "", http.MethodPut) + "\x87" + field(4, "", path) + field(1, "", "x")
	if err := h.frame(headers, endHeaders, stream, head); err != nil || part == "" {
		return err
	}
	return h.frame(data, 0, stream, part)
}

// hold opens a connection with eight requests and keeps it until ctx ends.
func holdStreams(ctx context.Context, address string, cert *tls.Certificate, send func(holder, uint32) error) {
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
	if cert != nil {
		conf.Certificates = []tls.Certificate{*cert}
	}
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return
	}
	h := holder{secure}
	const settings, ack = 4, 1
	if _, err := io.WriteString(h, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
		return
	}
	err = h.frame(settings, 0, 0, "\x00\x04\x00\x00\x00\x00") // the window of a stream is 0
	if err == nil {
		err = h.frame(settings, ack, 0, "")
	}
	for stream := uint32(1); err == nil && stream < 16; stream += 2 {
		err = send(h, stream)
	}
	_, _ = io.Copy(io.Discard, h)
}

// costly is a client's certificate of about 250 KiB, which crypto/x509 makes 14 MB of.
func costly(t *testing.T) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	names, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true,
		Bytes: []byte(strings.Repeat("\x86\x01a", 84_000))})
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestHeldStreams lets many connections of HTTP/2 ask for as much as they may and read nothing, and show certificates
// that are dear to keep. Memory stays bounded, and a write beside them is answered.
func TestHeldStreams(t *testing.T) {
	var query strings.Builder
	for i := 0; query.Len() < 14<<10; i++ {
		fmt.Fprintf(&query, "&%x", i)
	}
	padding := strings.Repeat("x", 12<<10)
	key := strings.Repeat("<", 17_000)
	twice := fmt.Sprintf(`{"%[1]s":1,"%[1]s":1}`, key)
	for name, tc := range map[string]struct {
		method, path, padding, body string
		token, cert                 bool
	}{
		"queries":            {method: "GET", path: "sys/health?" + query.String()},
		"headers":            {method: "GET", path: "secret/data/app?" + query.String()[:300], padding: padding, token: true},
		"faulty bodies":      {method: "PUT", path: "sys/unseal", body: twice},
		"middle answers":     {method: "GET", path: "secret/data/middle", token: true},
		"costly certificate": {method: "GET", path: "sys/health", cert: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, ca := t.TempDir(), newAuthority(t)
			certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
			ca.issue(t, 100, certFile, keyFile)
			s := serverWithSecret(t, servers.Options{TLSCert: certFile, TLSKey: keyFile})
			if _, err := s.Must(t.Context(), http.MethodPost, "secret/data/middle",
				map[string]any{"data": map[string]string{"k": strings.Repeat("x", 30<<10)}}); err != nil {
				t.Fatal(err)
			}
			var cert *tls.Certificate
			if tc.cert {
				cert = costly(t)
			}
			token := ""
			if tc.token {
				token = s.RootToken
			}
			ctx, cancel := context.WithTimeout(t.Context(), crowdTime/2)
			defer cancel()
			var wg sync.WaitGroup
			for range crowdSize {
				wg.Go(func() {
					holdStreams(ctx, s.HostPort(), cert, func(h holder, stream uint32) error {
						return h.request(stream, tc.method, "/v1/"+tc.path, token, tc.padding, tc.body)
					})
				})
			}
			took := beside(ctx, t, func(ctx context.Context) error {
				_, err := s.Must(ctx, http.MethodPost, "secret/data/app", map[string]any{"data": map[string]string{"k": "v"}})
				return err
			})
			wg.Wait()
			peak, err := s.PeakRSS()
			if err != nil {
				t.Fatal(err)
			}
			longest := crowdTime
			if len(took) > 0 {
				longest = took[len(took)-1]
			}
			t.Logf("peak %d MB, %d requests beside, the longest %v", peak>>20, len(took), longest)
			if peak > crowdMemory {
				t.Errorf("peak of resident memory: %d MB, want at most %d", peak>>20, crowdMemory>>20)
			}
			if longest > 3*answerWithin {
				t.Errorf("a write beside them took %v, want at most %v", longest, answerWithin)
			}
		})
	}
}

// TestStalledStreams announces bodies on every stream of many connections, and sends a part of each or nothing. What
// others write beside them is answered in time, and memory stays bounded.
func TestStalledStreams(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca.issue(t, 100, certFile, keyFile)
	s := serverWithSecret(t, servers.Options{TLSCert: certFile, TLSKey: keyFile})
	ctx, cancel := context.WithTimeout(t.Context(), crowdTime)
	defer cancel()
	var wg sync.WaitGroup
	for i := range crowdSize {
		wg.Go(func() {
			holdStreams(ctx, s.HostPort(), nil, func(h holder, stream uint32) error {
				return h.stalled(stream, "/v1/auth/userpass/login/x", strings.Repeat("x", i%3*5_000))
			})
		})
	}
	took := beside(ctx, t, func(ctx context.Context) error {
		_, err := s.Must(ctx, http.MethodPost, "secret/data/app", map[string]any{"data": map[string]string{"k": "v"}})
		return err
	})
	wg.Wait()
	peak, err := s.PeakRSS()
	if err != nil {
		t.Fatal(err)
	}
	longest := crowdTime
	if len(took) > 0 {
		longest = took[len(took)-1]
	}
	t.Logf("peak %d MB, %d requests beside, the longest %v", peak>>20, len(took), longest)
	if peak > crowdMemory {
		t.Errorf("peak of resident memory: %d MB, want at most %d", peak>>20, crowdMemory>>20)
	}
	if longest > answerWithin {
		t.Errorf("a write beside them took %v, want at most %v", longest, answerWithin)
	}
}
