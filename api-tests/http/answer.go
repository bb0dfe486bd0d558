package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// usual are the headers that are compared, with the value that goes without saying. A header without a usual value is
// written whenever it is there.
var usual = []headerLine{
	{"Allow", ""},
	{"Cache-Control", "no-store"},
	{"Content-Type", "application/json"},
	{"Location", ""},
	{"Retry-After", ""},
	{"Strict-Transport-Security", "max-age=31536000; includeSubDomains"},
	{"Warning", ""},
}

// Limits of one step.
const (
	stepTimeout = 30 * time.Second
	awaitEvery  = 50 * time.Millisecond
	maxAnswer   = 8 << 20
)

// runner sends the steps of one script.
type runner struct {
	transport *http.Transport
	host      string
	vars      *variables
	pki       *pki // nil unless the listener speaks TLS
}

// run sends the request of st and returns its answer in the form of the scripts.
func (r *runner) run(ctx context.Context, st *step) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if err := r.sign(st.rules.tokens); err != nil {
		return "", err
	}
	for {
		resp, body, err := r.send(ctx, &st.request, st.rules.client)
		if err != nil {
			return "", err
		}
		if st.rules.await == 0 || resp.StatusCode == st.rules.await {
			return r.render(resp, body, &st.rules)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("never answered %d, last %d: %s", st.rules.await, resp.StatusCode, body)
		case <-time.After(awaitEvery):
		}
	}
}

// sign makes the tokens that a step needs.
func (r *runner) sign(tokens []signature) error {
	for _, s := range tokens {
		claims, err := r.vars.expand(s.claims)
		if err != nil {
			return err
		}
		token, err := signJWT(s.key, claims)
		if err != nil {
			return err
		}
		r.vars.set(s.name, token)
	}
	return nil
}

func (r *runner) send(ctx context.Context, spec *requestSpec, client string) (*http.Response, []byte, error) {
	target, targetErr := r.vars.expand(spec.target)
	text, bodyErr := r.vars.expand(spec.body)
	if err := errors.Join(targetErr, bodyErr); err != nil {
		return nil, nil, err
	}
	var body io.Reader
	if spec.hasBody {
		body = strings.NewReader(text)
	}
	transport, scheme, err := r.dial(client)
	if err != nil {
		return nil, nil, err
	}
	if transport != r.transport {
		defer transport.CloseIdleConnections()
	}
	req, err := http.NewRequestWithContext(ctx, spec.method, scheme+"://"+r.host, body)
	if err != nil {
		return nil, nil, err
	}
	path, query, hasQuery := strings.Cut(target, "?")
	// Opaque goes on the wire as it is: no cleaning, no escaping.
	req.URL = &url.URL{Scheme: scheme, Host: r.host, Opaque: path, RawQuery: query, ForceQuery: hasQuery}
	for _, h := range spec.headers {
		value, err := r.vars.expand(h.value)
		if err != nil {
			return nil, nil, err
		}
		req.Header.Add(h.name, value)
	}
	if spec.token != "" {
		token, err := r.vars.compute(spec.token)
		if err != nil {
			return nil, nil, fmt.Errorf("@%s: %w", spec.token, err)
		}
		req.Header.Set("X-Vault-Token", token)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp, answer, err
}

// dial returns what carries the requests of a client: over TLS each has connections of its own.
func (r *runner) dial(client string) (transport *http.Transport, scheme string, err error) {
	switch {
	case r.pki != nil:
		conf, ok := r.pki.config(client)
		if !ok {
			return nil, "", fmt.Errorf("client %s: %w", client, errVariable)
		}
		transport = r.transport.Clone()
		transport.TLSClientConfig = conf
		return transport, "https", nil
	case client != "":
		return nil, "", fmt.Errorf("client %s: %w", client, errNoTLS)
	default:
		return r.transport, "http", nil
	}
}

// errNoTLS is returned for a step with a client certificate in a script without "listener: tls".
var errNoTLS = errors.New("the script's listener does not speak TLS")

// render writes an answer down and captures what the step asks for.
func (r *runner) render(resp *http.Response, body []byte, rules *stepRules) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", resp.StatusCode)
	for _, h := range usual {
		value, has := strings.Join(resp.Header.Values(h.name), ", "), resp.Header.Values(h.name) != nil
		switch {
		case has && value != h.value:
			fmt.Fprintf(&b, "%s: %s\n", h.name, markParts(r.vars.nameValues(value)))
		case !has && h.value != "":
			fmt.Fprintf(&b, "%s: (none)\n", h.name)
		}
	}
	if len(body) > 0 {
		text, err := r.renderBody(body, rules)
		if err != nil {
			return "", err
		}
		b.WriteString("\n" + text)
	} else if len(rules.captures) > 0 {
		return "", fmt.Errorf("nothing to capture in an empty %d", resp.StatusCode)
	}
	return strings.Trim(b.String(), "\n"), nil
}

func (r *runner) renderBody(body []byte, rules *stepRules) (string, error) {
	tree, err := parseTree(body)
	if err != nil {
		return markParts(r.vars.nameValues(strings.TrimRight(string(body), "\n"))), nil //nolint:nilerr // no JSON
	}
	for _, c := range rules.captures {
		found := tree.find(c.path)
		if len(found) != 1 {
			return "", fmt.Errorf("nothing to capture at %v in %s", c.path, body)
		}
		value, ok := found[0].text()
		if !ok {
			value = found[0].String()
		}
		r.vars.set(c.name, value)
	}
	for _, path := range rules.ignore {
		for _, n := range tree.find(path) {
			n.setText("<ignored>")
		}
	}
	sortRepeats(tree)
	r.vars.normalise(tree, "")
	// Sorted by what is compared, not by what was random.
	for _, path := range rules.sort {
		for _, n := range tree.find(path) {
			n.sortMembers()
		}
	}
	return tree.String(), nil
}
