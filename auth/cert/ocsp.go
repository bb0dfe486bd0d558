package cert

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Bounds of asking OCSP servers about one certificate.
const (
	statusTimeout = 10 * time.Second // for all servers and attempts together
	maxServers    = 8
	maxStatus     = 64 << 10
	firstPause    = 100 * time.Millisecond // before the second attempt; it doubles
	lastPause     = 2 * time.Second
)

// Why nothing is known of a certificate. The client is told these; what exactly happened is in the log.
var (
	errNoIssuer    = errors.New("the issuer of the certificate is not known, so its OCSP status cannot be asked for")
	errNoServer    = errors.New("no OCSP server is known for the certificate")
	errServers     = errors.New("the certificate names too many OCSP servers")
	errUnreachable = errors.New("no OCSP server answered")
	errAnswer      = errors.New("an OCSP server gave an answer that cannot be trusted")
	errUnknown     = errors.New("no OCSP server knows the certificate")
)

// status is what a server says of a certificate.
type status uint8

const (
	statusGood status = iota + 1
	statusRevoked
)

// answer is what a server said, as of when, and until when that holds; until is zero for only now.
type answer struct {
	status       status
	since, until time.Time
}

// askStatus reports whether a certificate, trusted by this chain, is good. Not to know is an error, unless the
// role lets servers fail.
func (e *engine) askStatus(
	ctx context.Context, t *trusted, client *x509.Certificate, chain []*x509.Certificate, revoked *revoked, cacheSize int,
) (bool, error) {
	issuer := issuerOf(t, client, chain)
	if issuer == nil {
		return false, errNoIssuer
	}
	key, err := statusKey(t.role, client, issuer)
	if err != nil {
		return false, err
	}
	if s, ok := e.statuses.get(key, e.now()); ok {
		return s == statusGood, nil
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	q, err := e.newQuestion(t, client, issuer, revoked)
	if err != nil {
		return false, err
	}
	defer q.client.CloseIdleConnections()
	a, err := q.ask(ctx)
	if err != nil {
		e.log.Warn("the OCSP status of a certificate could not be found out", slog.String("role", t.role.Name),
			slog.String("serial_number", client.SerialNumber.String()), slog.Any("error", err))
		// Of several servers one may be away and another lie: the lie counts.
		away := errors.Is(err, errUnreachable) || errors.Is(err, errUnknown)
		if t.role.OCSP.FailOpen && away && !errors.Is(err, errAnswer) {
			return !e.statuses.revoked(key), nil
		}
		for _, known := range []error{errAnswer, errUnreachable, errUnknown} {
			if errors.Is(err, known) {
				return false, known
			}
		}
		return false, err
	}
	return e.statuses.put(key, a, cacheSize) == statusGood, nil
}

// issuerOf finds the certificate that signed the client's: the next in its chain or, for a role that names the
// certificate itself, one of those that the role came with.
func issuerOf(t *trusted, client *x509.Certificate, chain []*x509.Certificate) *x509.Certificate {
	for _, candidates := range [][]*x509.Certificate{chain, t.certs, t.responders} {
		for _, c := range candidates {
			if !c.Equal(client) && client.CheckSignatureFrom(c) == nil {
				return c
			}
		}
	}
	return nil
}

// question asks the servers of one certificate.
type question struct {
	role       *role
	responders []*x509.Certificate
	subject    *x509.Certificate
	issuer     *x509.Certificate
	revoked    *revoked
	servers    []string
	body       []byte
	client     *http.Client
	now        func() time.Time
}

func (e *engine) newQuestion(t *trusted, subject, issuer *x509.Certificate, revoked *revoked) (*question, error) {
	q := &question{
		role: t.role, responders: t.responders, subject: subject, issuer: issuer, revoked: revoked, now: e.now,
		servers: subject.OCSPServer, client: statusClient(t.responders),
	}
	if len(t.role.OCSP.Servers) > 0 {
		q.servers = t.role.OCSP.Servers
	}
	switch {
	case len(q.servers) == 0:
		return nil, errNoServer
	case len(q.servers) > maxServers:
		return nil, errServers
	}
	var err error
	q.body, err = ocsp.CreateRequest(subject, issuer, nil)
	return q, err
}

// statusClient trusts the role's own authorities besides the system's, and goes only where it is sent.
func statusClient(cas []*x509.Certificate) *http.Client {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if len(cas) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		for _, c := range cas {
			pool.AddCert(c)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// ask asks one server after the other until one knows, or all at once where all must agree. One answer that
// cannot be trusted ends it.
func (q *question) ask(ctx context.Context) (answer, error) {
	if q.role.OCSP.QueryAll {
		return q.askAll(ctx)
	}
	var trouble error
	for _, server := range q.servers {
		a, err := q.askServer(ctx, server)
		if err == nil || errors.Is(err, errAnswer) {
			return a, err
		}
		trouble = errors.Join(trouble, err)
	}
	return answer{}, trouble
}

func (q *question) askAll(ctx context.Context) (answer, error) {
	answers, errs := make([]answer, len(q.servers)), make([]error, len(q.servers))
	var all sync.WaitGroup
	for i, server := range q.servers {
		all.Go(func() { answers[i], errs[i] = q.askServer(ctx, server) })
	}
	all.Wait()
	least := answers[0]
	for i, a := range answers {
		if errs[i] == nil && a.status == statusRevoked {
			return a, nil
		}
		if a.until.Before(least.until) {
			least = a
		}
	}
	if err := errors.Join(errs...); err != nil {
		return answer{}, err
	}
	return least, nil
}

// askServer asks one server, again while it cannot be reached.
func (q *question) askServer(ctx context.Context, server string) (answer, error) {
	pause := firstPause
	for attempt := 0; ; attempt++ {
		raw, err := q.send(ctx, server)
		if err == nil {
			return q.read(raw)
		}
		if attempt >= q.role.OCSP.MaxRetries {
			return answer{}, fmt.Errorf("%w: %w", errUnreachable, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return answer{}, fmt.Errorf("%w: %w", errUnreachable, err)
		case <-timer.C:
		}
		pause = min(2*pause, lastPause)
	}
}

// errStatus is returned for an answer with another HTTP status than 200, errMethod for 405.
var (
	errStatus = errors.New("unexpected HTTP status")
	errMethod = fmt.Errorf("%w %d", errStatus, http.StatusMethodNotAllowed)
)

// maxInURL is how long a request may be in a URL (RFC 6960, A.1).
const maxInURL = 255

// send asks by POST, which nothing on the way answers from a cache, and a server that does not take that by GET.
func (q *question) send(ctx context.Context, server string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	raw, err := q.do(req)
	inURL := url.QueryEscape(base64.StdEncoding.EncodeToString(q.body))
	if !errors.Is(err, errMethod) || len(inURL) > maxInURL {
		return raw, err
	}
	req, err = http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(server, "/")+"/"+inURL, nil)
	if err != nil {
		return nil, err
	}
	return q.do(req)
}

func (q *question) do(req *http.Request) ([]byte, error) {
	req.Header.Set("Accept", "application/ocsp-response")
	resp, err := q.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusMethodNotAllowed:
		return nil, errMethod
	default:
		return nil, fmt.Errorf("%w %d", errStatus, resp.StatusCode)
	}
	return readBounded(resp.Body, maxStatus)
}

// read makes an answer of what a server sent. Whatever is not about this certificate of this issuer, or not
// signed by who may speak for the issuer, or not of now, is an errAnswer.
func (q *question) read(raw []byte) (answer, error) {
	parsed, err := ocsp.ParseResponseForCert(raw, q.subject, nil)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errAnswer, err)
	}
	if err := aboutIssuer(raw, q.subject, q.issuer); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errAnswer, err)
	}
	now := q.now()
	if err := q.signed(parsed, now); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errAnswer, err)
	}
	a, err := q.timed(parsed, now)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errAnswer, err)
	}
	switch parsed.Status {
	case ocsp.Good:
		a.status = statusGood
	case ocsp.Revoked:
		a.status = statusRevoked
	default:
		return answer{}, errUnknown
	}
	return a, nil
}

const (
	// clockSkew is how far ahead a server's clock may be.
	clockSkew = time.Minute
	// endlessAge is how old an answer without nextUpdate may be where the role does not say. Such an answer
	// tells that newer information is available all the time (RFC 6960, 4.2.2.1), so that an honest one was made for
	// this question; RFC 5019 refuses them altogether. Five minutes are what openssl allows for clocks and transport.
	endlessAge = 5 * time.Minute
)

// Why an answer is not of now.
var (
	errNotNow = errors.New("it is not of now")
	errTooOld = errors.New("it is too old")
)

// timed checks that an answer is of now, and tells until when it can be remembered. One without nextUpdate is not
// remembered.
func (q *question) timed(r *ocsp.Response, now time.Time) (answer, error) {
	latest := now.Add(clockSkew)
	if r.ThisUpdate.After(latest) || r.ProducedAt.After(latest) ||
		!r.NextUpdate.IsZero() && now.After(r.NextUpdate) {
		return answer{}, errNotNow
	}
	age := q.role.OCSP.MaxAge
	if age <= 0 && r.NextUpdate.IsZero() {
		age = endlessAge
	}
	a := answer{since: r.ThisUpdate, until: r.NextUpdate}
	if age <= 0 {
		return a, nil
	}
	end := r.ThisUpdate.Add(age)
	if now.After(end) {
		return answer{}, errTooOld
	}
	if !a.until.IsZero() && end.Before(a.until) {
		a.until = end
	}
	return a, nil
}

// Why an answer's signature does not count.
var (
	errNoSigner = errors.New("its signer is no authority for the certificate")
	errSigner   = errors.New("its signer's certificate is not made for signing answers, not valid now, or revoked")
)

// signed checks who signed an answer: the issuer, a signer that the issuer made for this (RFC 6960, 4.2.2.2),
// or one of the role's own authorities or a signer that one of those made.
func (q *question) signed(r *ocsp.Response, now time.Time) error {
	authorities := append([]*x509.Certificate{q.issuer}, q.responders...)
	signer := r.Certificate
	if signer == nil {
		for _, a := range authorities {
			if r.CheckSignatureFrom(a) == nil {
				return nil
			}
		}
		return errNoSigner
	}
	// The parser has checked that signer signed the answer.
	for _, a := range authorities {
		if signer.Equal(a) {
			return nil
		}
		if a.CheckSignature(signer.SignatureAlgorithm, signer.RawTBSCertificate, signer.Signature) != nil {
			continue
		}
		if now.Before(signer.NotBefore) || now.After(signer.NotAfter) || !signsAnswers(signer) ||
			q.revoked.any([]*x509.Certificate{signer}) {
			return errSigner
		}
		return nil
	}
	return errNoSigner
}

// signsAnswers reports whether a certificate is made for signing answers.
func signsAnswers(c *x509.Certificate) bool {
	return slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) && len(c.UnhandledCriticalExtensions) == 0 &&
		(c.KeyUsage == 0 || c.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) != 0)
}
