package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// maxBytes bounds what one login reads from a directory.
const maxBytes = 16 << 20

// Why a directory cannot be asked. What exactly happened is for the log.
var (
	errNoURL  = errors.New("no url is configured")
	errScheme = errors.New("the scheme of a url is ldap or ldaps")
	errBytes  = errors.New("the directory answers too much")
)

// directory is a connection to a directory for the time of one login. It never follows a referral: whoever a
// directory points to was not configured.
type directory struct {
	conn   *goldap.Conn
	config *config
	stop   func() bool
}

// connect opens a connection to the first directory of urls that can be reached. Everything it does ends with ctx.
func connect(ctx context.Context, c *config, urls string) (*directory, error) {
	var trouble error
	for text := range strings.SplitSeq(urls, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		d, err := connectTo(ctx, c, text)
		if err == nil {
			return d, nil
		}
		trouble = errors.Join(trouble, fmt.Errorf("%s: %w", text, err))
	}
	if trouble == nil {
		trouble = errNoURL
	}
	return nil, trouble
}

func connectTo(ctx context.Context, c *config, text string) (*directory, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errScheme // the text may hold a password
	}
	port := map[string]string{"ldap": "389", "ldaps": "636"}[u.Scheme]
	if port == "" {
		return nil, errScheme
	}
	if u.Port() != "" {
		port = u.Port()
	}
	conf, err := c.tlsClient(u.Hostname())
	if err != nil {
		return nil, err
	}
	dial, cancel := context.WithTimeout(ctx, c.connectTimeout())
	defer cancel()
	raw, err := new(net.Dialer).DialContext(dial, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	bounded := &boundedConn{Conn: raw}
	bounded.left.Store(maxBytes)
	stopDialling := context.AfterFunc(dial, func() { _ = raw.Close() })
	d := &directory{config: c, stop: context.AfterFunc(ctx, func() { _ = raw.Close() })}
	if err := d.start(dial, bounded, conf, u.Scheme == "ldaps"); err != nil {
		d.stop()
		stopDialling()
		return nil, errors.Join(err, raw.Close())
	}
	if !stopDialling() {
		return nil, context.Cause(dial)
	}
	return d, nil
}

// start speaks TLS, at once or after asking, and LDAP.
func (d *directory) start(ctx context.Context, raw net.Conn, conf *tls.Config, secure bool) error {
	if secure {
		wrapped := tls.Client(raw, conf)
		if err := wrapped.HandshakeContext(ctx); err != nil {
			return err
		}
		raw = wrapped
	}
	d.conn = goldap.NewConn(raw, secure)
	d.conn.SetTimeout(d.config.requestTimeout())
	d.conn.Start()
	if d.config.TLS.Start && !secure {
		return d.conn.StartTLS(conf)
	}
	return nil
}

func (d *directory) close() {
	d.stop()
	_ = d.conn.Close() // nothing was written that could be lost
}

// boundedConn ends with an error after left bytes.
type boundedConn struct {
	net.Conn
	left atomic.Int64
}

// Read implements net.Conn.
func (c *boundedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.left.Add(-int64(n)) < 0 {
		return 0, errBytes
	}
	return n, err
}

var _ io.Reader = (*boundedConn)(nil)

// connectTimeout and requestTimeout bound one attempt to connect and the whole login. As in Vault the smaller
// of both settings bounds the former; nothing waits without bound.
func (c *config) connectTimeout() time.Duration {
	t := c.requestTimeout()
	if c.Connect > 0 && c.Connect < t {
		return c.Connect
	}
	return t
}

func (c *config) requestTimeout() time.Duration {
	if c.Request > 0 {
		return c.Request
	}
	return defaultRequest
}

// tlsClient is the TLS configuration for a host.
func (c *config) tlsClient(host string) (*tls.Config, error) {
	t := &c.TLS
	conf := &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
		InsecureSkipVerify: t.Insecure, //nolint:gosec // the operator's choice, off by default
	}
	if t.Min == "tls13" {
		conf.MinVersion = tls.VersionTLS13
	}
	if t.Max == "tls13" {
		conf.MaxVersion = tls.VersionTLS13
	}
	if t.Authority != "" {
		conf.RootCAs = parseAuthority(t.Authority)
	}
	if t.Certificate != "" {
		pair, err := c.clientPair()
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// derefOf is the number of a way to follow aliases within the directory.
func derefOf(name string) (int, bool) {
	switch name {
	case "", "never":
		return goldap.NeverDerefAliases, true
	case "searching":
		return goldap.DerefInSearching, true
	case "finding":
		return goldap.DerefFindingBaseObj, true
	case "always":
		return goldap.DerefAlways, true
	default:
		return 0, false
	}
}

// search finds at most limit entries; more are an error. pageSize is 0 for an answer in one piece.
func (d *directory) search(
	base string, scope int, filter string, attributes []string, limit, pageSize int,
) ([]*goldap.Entry, error) {
	deref, _ := derefOf(d.config.Deref)
	req := &goldap.SearchRequest{
		BaseDN: base, Scope: scope, DerefAliases: deref, Filter: filter, Attributes: attributes,
		SizeLimit: limit, EnforceSizeLimit: true, TimeLimit: int(d.config.requestTimeout() / time.Second),
	}
	var result *goldap.SearchResult
	var err error
	if page := min(pageSize, limit); page > 0 && int64(page) <= math.MaxUint32 {
		result, err = d.conn.SearchWithPaging(req, uint32(page))
	} else {
		result, err = d.conn.Search(req)
	}
	if err != nil {
		return nil, err
	}
	return result.Entries, nil
}
