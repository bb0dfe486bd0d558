package cert

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// Bounds of fetching a revocation list.
const (
	maxList      = 5 << 20
	fetchTimeout = 10 * time.Second
	refreshEvery = time.Minute
)

// list is a stored revocation list.
type list struct {
	// DER is the list as its authority signed it, in DER or PEM.
	DER []byte `json:"der"`
	// Issuer is the certificate of that authority, in DER.
	Issuer []byte `json:"issuer,omitempty"`
	// URL is where it is fetched from again; "" for one that was uploaded.
	URL string `json:"url,omitempty"`
}

// ready parses what is stored.
func (l *list) ready() (*revocation, error) {
	r, _, err := parseList(l.DER)
	if err != nil {
		return nil, err
	}
	r.url = l.URL
	if l.Issuer != nil {
		r.issuer, err = x509.ParseCertificate(l.Issuer)
	}
	return r, err
}

// revocations keeps the lists ready. Changes go through its lock, so what is ready is what is stored.
type revocations struct {
	mu sync.RWMutex // guards what follows; held for writing over a change and its commit
	// ready is nil until the lists were read. What is in it is never changed.
	ready *revoked
}

// revoked are the lists by name.
type revoked struct{ lists map[string]*revocation }

// any reports whether a certificate of the chain was revoked by who signed it.
func (r *revoked) any(chain []*x509.Certificate) bool {
	return slices.ContainsFunc(chain, func(c *x509.Certificate) bool {
		for _, l := range r.lists {
			if l.lists(c) {
				return true
			}
		}
		return false
	})
}

// all returns the lists. A list that cannot be read is an error: without it nobody knows whom to let in.
func (v *revocations) all(ctx context.Context, e *engine) (*revoked, error) {
	v.mu.RLock()
	ready := v.ready
	v.mu.RUnlock()
	if ready != nil {
		return ready, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.allLocked(ctx, e)
}

func (v *revocations) allLocked(ctx context.Context, e *engine) (*revoked, error) {
	if v.ready != nil {
		return v.ready, nil
	}
	ctx = storage.Unbudgeted(ctx)
	names, err := e.storage.List(ctx, listFolder, "", 0)
	if err != nil {
		return nil, err
	}
	r := &revoked{lists: make(map[string]*revocation, len(names))}
	for _, name := range names {
		stored := &list{}
		if err := e.read(ctx, listFolder+name, stored); err != nil {
			return nil, err
		}
		if r.lists[name], err = stored.ready(); err != nil {
			return nil, fmt.Errorf("cert: %s%s: %w", listFolder, name, errRecord)
		}
	}
	v.ready = r
	return r, nil
}

// changeLocked commits an operation. The lists are read again then, whether it failed or not: a commit that
// fails may have happened all the same. It does not need the lists, so that one that is damaged can be replaced.
func (v *revocations) changeLocked(ctx context.Context, e *engine, op storage.Op) error {
	v.ready = nil
	err := e.storage.Apply(ctx, op)
	if errors.Is(err, storage.ErrValueTooLarge) {
		return engines.Invalid("the CRL is too large")
	}
	return err
}

func noList(name string) error { return engines.Invalid("no such CRL %s", name) }

func (e *engine) listLists(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	return e.list(ctx, listFolder)
}

func (e *engine) readList(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	name, err := nameOf(p.Name)
	if err != nil {
		return nil, err
	}
	all, err := e.lists.all(ctx, e)
	if err != nil {
		return nil, err
	}
	l, ok := all.lists[name]
	if !ok {
		return nil, noList(name)
	}
	var source any
	if l.url != "" {
		source = map[string]any{"url": l.url, "valid_until": l.until.UTC().Format(time.RFC3339)}
	}
	serials := make(map[string]any, len(l.serials))
	for serial := range l.serials {
		serials[serial] = map[string]any{}
	}
	return &engines.Response{Data: map[string]any{"cdp": source, "serials": serials}}, nil
}

func (e *engine) deleteList(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	name, err := nameOf(p.Name)
	if err != nil {
		return nil, err
	}
	e.lists.mu.Lock()
	defer e.lists.mu.Unlock()
	ctx = storage.Unbudgeted(ctx)
	_, err = e.storage.Get(ctx, listFolder+name)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, noList(name)
	}
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, e.lists.changeLocked(ctx, e, storage.Delete(listFolder+name))
}

type listParams struct {
	Name   string  `path:"name" help:"Name of the list."`
	CRL    *string `param:"crl" help:"The list, in PEM or DER."`
	URL    *string `param:"url" help:"Where to fetch the list, now and when it is out of date."`
	Issuer string  `param:"issuer" help:"The certificate of who signs the list, in PEM; needed where no role has it."`
}

// source is the list that was sent, or what its address answers.
func (p *listParams) source(ctx context.Context) (raw []byte, from string, err error) {
	switch {
	case p.CRL != nil:
		return []byte(*p.CRL), "", nil
	case p.URL == nil:
		return nil, "", engines.Invalid("one of 'crl' or 'url' must be provided")
	case *p.URL == "":
		return nil, "", engines.Invalid("empty CRL url")
	}
	if _, err := url.Parse(*p.URL); err != nil {
		return nil, "", engines.Invalid("invalid CRL url: %v", err)
	}
	if raw, err = fetchList(ctx, *p.URL); err != nil {
		return nil, "", engines.Failed("%s", engines.Numbered(err.Error()))
	}
	return raw, *p.URL, nil
}

// errNoAuthority refuses a list that could not count for any certificate that a role trusts.
var errNoAuthority = engines.Invalid("the CRL is not signed by an authority of any role: write the role first, or " +
	"send the certificate of the authority that signs the CRL as 'issuer'")

func (e *engine) writeList(ctx context.Context, _ *engines.Request, p listParams) (*engines.Response, error) {
	name, err := nameOf(p.Name)
	if err != nil {
		return nil, err
	}
	given := parseCertificates(p.Issuer)
	if p.Issuer != "" && len(given) == 0 {
		return nil, engines.Invalid("failed to parse the issuer's certificate")
	}
	raw, from, err := p.source(ctx)
	if err != nil {
		return nil, err
	}
	l, signed, err := parseList(raw)
	if err != nil {
		return nil, engines.Invalid("failed to parse CRL: %v", err)
	}
	e.lists.mu.Lock()
	defer e.lists.mu.Unlock()
	ctx = storage.Unbudgeted(ctx)
	old, err := e.storedList(ctx, name)
	if err != nil {
		return nil, err
	}
	candidates := given
	if len(given) == 0 {
		if candidates, err = e.authorities(ctx, old); err != nil {
			return nil, err
		}
	}
	issuer, ok := signedBy(signed, candidates)
	if !ok {
		return nil, errNoAuthority
	}
	l.issuer = issuer
	if err := l.follows(old); err != nil {
		return nil, engines.Invalid("the CRL cannot replace the one of that name: %v; delete that one first to "+
			"replace it all the same", err)
	}
	return &engines.Response{}, e.putListLocked(ctx, name, list{DER: raw, Issuer: issuer.Raw, URL: from})
}

// storedList reads the list of a name. One that is not there or is damaged can be replaced by any: it is empty.
func (e *engine) storedList(ctx context.Context, name string) (*revocation, error) {
	stored := &list{}
	err := e.read(ctx, listFolder+name, stored)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, errRecord) {
		return &revocation{}, nil
	}
	if err != nil {
		return nil, err
	}
	old, err := stored.ready()
	if err != nil {
		return &revocation{}, nil //nolint:nilerr // damaged
	}
	return old, nil
}

// authorities are the certificates that may have signed a list: who signed the one before it, and those of all roles.
func (e *engine) authorities(ctx context.Context, old *revocation) ([]*x509.Certificate, error) {
	c, err := e.config(ctx)
	if err != nil {
		return nil, err
	}
	a, err := e.anchors(ctx, "", c)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	if old.issuer != nil {
		certs = append(certs, old.issuer)
	}
	for _, t := range slices.Concat(a.authorities, a.leaves) {
		certs = append(certs, t.certs...)
	}
	return certs, nil
}

func (e *engine) putListLocked(ctx context.Context, name string, l list) error {
	op, err := put(listFolder+name, l)
	if err != nil {
		return err
	}
	return e.lists.changeLocked(ctx, e, op)
}

// fetchList gets a list over HTTP, in bounded time and size.
func fetchList(ctx context.Context, from string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("unexpected response code %d fetching CRL from %s", resp.StatusCode, from)
	}
	return readBounded(resp.Body, maxList)
}

// errTooLong is returned for an answer that is longer than any of its kind.
var errTooLong = errors.New("the answer is too long")

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = errTooLong
	}
	return raw, err
}

// refreshLists fetches lists again once they are out of date, until ctx ends. A list that cannot be fetched
// stays as it was.
func (e *engine) refreshLists(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			e.refreshDue(ctx)
		}
	}
}

func (e *engine) refreshDue(ctx context.Context) {
	all, err := e.lists.all(ctx, e)
	if err != nil {
		e.log.Error("revocation lists cannot be read", slog.Any("error", err))
		return
	}
	for name, l := range all.lists {
		if l.url == "" || !e.now().After(l.until) {
			continue
		}
		if err := e.refresh(ctx, name, l); err != nil && ctx.Err() == nil {
			e.log.Warn("a revocation list could not be fetched again; the old one stays",
				slog.String("crl", name), slog.Any("error", err))
		}
	}
}

// errStale is returned for an address that answers with a list that is out of date.
var errStale = errors.New("what is served there is out of date")

// refresh fetches a list again. What comes counts only when it follows the stored list.
func (e *engine) refresh(ctx context.Context, name string, was *revocation) error {
	raw, err := fetchList(ctx, was.url)
	if err != nil {
		return err
	}
	l, signed, err := parseList(raw)
	if err != nil {
		return err
	}
	e.lists.mu.Lock()
	defer e.lists.mu.Unlock()
	all, err := e.lists.allLocked(ctx, e)
	if err != nil {
		return err
	}
	old := all.lists[name]
	if old == nil || old.url != was.url {
		return nil // somebody wrote or deleted it meanwhile
	}
	if l.sum == old.sum && old.issuer != nil {
		if !old.until.IsZero() {
			return errStale
		}
		return nil
	}
	candidates := []*x509.Certificate{old.issuer}
	if old.issuer == nil {
		if candidates, err = e.authorities(ctx, old); err != nil {
			return err
		}
	}
	issuer, ok := signedBy(signed, candidates)
	if !ok {
		return errOtherAuthority
	}
	l.issuer = issuer
	if err := l.follows(old); err != nil {
		return err
	}
	return e.putListLocked(ctx, name, list{DER: raw, Issuer: issuer.Raw, URL: old.url})
}
