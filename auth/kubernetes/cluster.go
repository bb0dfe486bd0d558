package kubernetes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

const (
	// dialTime bounds the making of a connection, TLS apart, which has as much again.
	dialTime = 5 * time.Second
	// idleTime is how long a connection waits for its next use.
	idleTime = 90 * time.Second
	// maxAnswer bounds an answer of the API server, in bytes. A namespace's annotations may take 256 KiB.
	maxAnswer = 1 << 20
)

// cluster is an API server as one configuration describes it. It keeps its connections open for the next
// login. It is safe for concurrent use.
type cluster struct {
	config    *config
	ca        string
	transport *http.Transport
	api       rest.Interface
}

// clusterOf returns the API server of a configuration: the one of the last login, unless the configuration or
// the pod's CA has changed since.
func (m *method) clusterOf(c *config) (*cluster, error) {
	ca, err := m.caOf(c)
	if err != nil {
		return nil, err
	}
	m.dialing.Lock()
	defer m.dialing.Unlock()
	if old := m.cluster; old != nil {
		if old.config == c && old.ca == ca {
			return old, nil
		}
		defer old.transport.CloseIdleConnections()
	}
	fresh, err := newCluster(c, ca)
	if err != nil {
		return nil, err
	}
	m.cluster = fresh
	return fresh, nil
}

// hangUp closes the connections that nobody uses, at the end of the mount.
func (m *method) hangUp() {
	m.dialing.Lock()
	defer m.dialing.Unlock()
	if m.cluster != nil {
		m.cluster.transport.CloseIdleConnections()
		m.cluster = nil
	}
}

func newCluster(c *config, ca string) (*cluster, error) {
	base, err := apiURL(c.Host)
	if err != nil {
		return nil, err
	}
	// A CA that holds no certificate makes a pool that trusts nobody; only without one is it the system's.
	var roots *x509.CertPool
	if ca != "" {
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(ca))
	}
	// HTTP/1.1 on purpose: when an API server vanishes without a word, a login that ran out of time takes its
	// connection along, while those of HTTP/2 would share the dead one.
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTime}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: dialTime,
		MaxIdleConnsPerHost: concurrentReviews,
		MaxConnsPerHost:     concurrentReviews,
		IdleConnTimeout:     idleTime,
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	api, err := restClient(base, &http.Client{
		Transport: &careful{next: transport},
		// The reviewer's token goes to the API server and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	if err != nil {
		return nil, err
	}
	return &cluster{config: c, ca: ca, transport: transport, api: api}, nil
}

// restClient is client-go's REST client for the types of TokenReview alone: its typed clients bring those of
// all of Kubernetes along.
func restClient(base *url.URL, client *http.Client) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := authv1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	version := authv1.SchemeGroupVersion
	api, err := rest.UnversionedRESTClientForConfigAndClient(&rest.Config{
		Host: base.String(), UserAgent: "coffer", QPS: -1, WarningHandler: rest.NoWarnings{},
		ContentConfig: rest.ContentConfig{
			ContentType: runtime.ContentTypeJSON, GroupVersion: &version,
			NegotiatedSerializer: serializer.NewCodecFactory(scheme).WithoutConversion(),
		},
	}, client)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	return api, nil
}

// errHost is returned for a host that is no address.
var errHost = errors.New("kubernetes: kubernetes_host is not a host, a host:port pair or a URL")

// apiURL reads kubernetes_host; what is not a URL is reached by TLS.
func apiURL(host string) (*url.URL, error) {
	host = strings.TrimSpace(host)
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	u, err := url.Parse(host)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errHost
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(u.Path, "/")}, nil
}

// careful bounds what the API server can send, and marks requests as safe to repeat: all of ours change
// nothing, so that one which meets a connection that was closed meanwhile goes out again on a new one.
type careful struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (c *careful) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	// Without a value it is a mark for http.Transport alone, and not sent.
	r.Header["X-Idempotency-Key"] = []string{}
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	return resp, nil
}

// quiet keeps client-go from writing a log of its own, where tokens could end up.
func quiet(ctx context.Context) context.Context { return klog.NewContext(ctx, klog.Logger{}) }

// call is one login's use of the API server.
type call struct {
	*cluster
	// bearer is whom the API server is asked as: the reviewer, or the client himself.
	bearer string
}

func (c *call) request(r *rest.Request) *rest.Request {
	return r.SetHeader("Authorization", "Bearer "+c.bearer).MaxRetries(0)
}

// read gets the metadata of an object; elements are its path below /api/v1.
func (c *call) read(ctx context.Context, elements ...string) ([]byte, error) {
	path := append([]string{"/api/v1"}, elements...)
	return c.request(c.api.Get().AbsPath(path...)).Do(ctx).Raw()
}
