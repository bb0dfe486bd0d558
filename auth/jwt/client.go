package jwt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of what is asked of a provider.
const (
	askTimeout    = 10 * time.Second
	dialTimeout   = 5 * time.Second
	maxAnswer     = 1 << 20
	maxHeader     = 64 << 10
	maxRedirects  = 3
	idleFor       = 30 * time.Second
	connsPerHost  = 16
	quotedInError = 200
)

var (
	errAnswerSize = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	errRedirect   = errors.New("redirected too often, or to where the request must not go")
)

// client asks a provider, within bounds of time and size.
type client struct{ *http.Client }

// newClient makes a client that trusts the certificates of ca, or the system's when that is empty. Critical
// extensions of the ignored OIDs do not make a certificate worthless.
func newClient(ca string, ignored []string) (*client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("could not parse CA PEM value successfully")
		}
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: config,
		TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: askTimeout,
		MaxResponseHeaderBytes: maxHeader, IdleConnTimeout: idleFor, MaxConnsPerHost: connsPerHost,
		ForceAttemptHTTP2: true,
	}
	if len(ignored) > 0 {
		oids, err := parseOIDs(ignored)
		if err != nil {
			return nil, err
		}
		transport.DialTLSContext = (&lenient{dialer: dialer, config: config, oids: oids}).dial
		// Behind a proxy the transport makes the connection itself: the name is then what it says of it.
		transport.TLSClientConfig = config.Clone()
		transport.TLSClientConfig.InsecureSkipVerify = true // VerifyConnection does it.
		transport.TLSClientConfig.VerifyConnection = func(state tls.ConnectionState) error {
			return verifyPeer(&state, state.ServerName, config.RootCAs, oids)
		}
	}
	return &client{&http.Client{Transport: bounded{transport}, Timeout: askTimeout, CheckRedirect: checkRedirect}}, nil
}

// checkRedirect follows a provider that has moved, but carries nothing to elsewhere that is for it alone.
func checkRedirect(req *http.Request, via []*http.Request) error {
	weaker := via[0].URL.Scheme == "https" && req.URL.Scheme != "https"
	if len(via) > maxRedirects || via[0].Method != http.MethodGet || weaker {
		return errRedirect
	}
	return nil
}

// get returns the body of a 200.
func (c *client) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	body, status, err := c.ask(req)
	if err == nil && status != http.StatusOK {
		return nil, fmt.Errorf("%d: %s", status, excerpt(body))
	}
	return body, err
}

// ask sends a request and returns the whole answer.
func (c *client) ask(req *http.Request) (body []byte, status int, err error) {
	resp, err := c.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read to its end, or to an error
	body, err = io.ReadAll(resp.Body)
	return body, resp.StatusCode, err
}

// excerpt is what the log shows of an answer.
func excerpt(body []byte) string {
	return strconv.Quote(string(body[:min(len(body), quotedInError)]))
}

// bounded limits the size of every answer, for those too who read to the end.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxAnswer}
	return resp, nil
}

type boundedBody struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader. It returns errAnswerSize in place of what is too much.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errAnswerSize
	}
	// One byte more than is left tells a body that ends here from one that goes on.
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if b.left -= n; b.left < 0 {
		return n - 1, errAnswerSize
	}
	return n, err
}

// parseOIDs reads object identifiers in dotted form.
func parseOIDs(texts []string) ([]asn1.ObjectIdentifier, error) {
	oids := make([]asn1.ObjectIdentifier, 0, len(texts))
	for _, text := range texts {
		var oid asn1.ObjectIdentifier
		for part := range strings.SplitSeq(text, ".") {
			n, err := strconv.Atoi(part)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("error parsing extension OID: %q is none", text)
			}
			oid = append(oid, n)
		}
		oids = append(oids, oid)
	}
	return oids, nil
}

// lenient dials servers whose certificates may have certain critical extensions that nobody here understands.
// crypto/tls has no way to let them pass, so its check of certificates is made here.
type lenient struct {
	dialer *net.Dialer
	config *tls.Config
	oids   []asn1.ObjectIdentifier
}

// dial is for http.Transport's DialTLSContext, which knows the name of the server also where that is an IP address:
// crypto/tls does not tell it then.
func (l *lenient) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	raw, err := l.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := l.config.Clone()
	config.ServerName, config.NextProtos = host, []string{"h2", "http/1.1"}
	config.InsecureSkipVerify = true // VerifyConnection does it.
	config.VerifyConnection = func(state tls.ConnectionState) error {
		return verifyPeer(&state, host, config.RootCAs, l.oids)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, nil
}

// errNoName is returned where it is not known whose certificate a server should show.
var errNoName = errors.New("tls: the name of the server is not known: an IP address cannot be asked through a proxy")

// verifyPeer checks a server's certificates as crypto/tls does, but for critical extensions of the oids.
func verifyPeer(state *tls.ConnectionState, host string, roots *x509.CertPool, oids []asn1.ObjectIdentifier) error {
	if host == "" {
		return errNoName
	}
	if net.ParseIP(host) != nil {
		host = "[" + host + "]" // how x509 is told of an IP address
	}
	options := x509.VerifyOptions{Roots: roots, DNSName: host, Intermediates: x509.NewCertPool()}
	var leaf *x509.Certificate
	for i, shared := range state.PeerCertificates {
		// crypto/tls shares one certificate among all connections: the others must not see the change.
		cert := *shared
		cert.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(shared.UnhandledCriticalExtensions),
			func(have asn1.ObjectIdentifier) bool { return slices.ContainsFunc(oids, have.Equal) })
		if i == 0 {
			leaf = &cert
		} else {
			options.Intermediates.AddCert(&cert)
		}
	}
	_, err := leaf.Verify(options)
	return err
}
