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
	// DER is the list as its authority signed it.
	DER []byte `json:"der"`
	// URL is where it is fetched from again; "" for one that was uploaded.
	URL string `json:"url,omitempty"`
}

// revocations keeps the lists ready. Changes go through its lock, so what is ready is what is stored.
type revocations struct {
	mu sync.RWMutex // guards what follows; held for writing over a change and its commit
	// ready is nil until the lists were read. What is in it is never changed.
	ready *revoked
}

// revoked are the lists by name.
type revoked struct{ lists map[string]*revocation }

type revocation struct {
	url     string
	until   time.Time
	serials map[string]struct{} // in decimal
}

// any reports whether a certificate of the chain is on a list. The lists are not told apart by who signed
// them: a serial number that an operator revoked is not let in.
func (r *revoked) any(chain []*x509.Certificate) bool {
	if len(r.lists) == 0 {
		return false
	}
	return slices.ContainsFunc(chain, func(c *x509.Certificate) bool {
		serial := c.SerialNumber.String()
		for _, l := range r.lists {
			if _, found := l.serials[serial]; found {
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
		if r.lists[name], err = parseList(stored.DER, stored.URL); err != nil {
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

// parseList reads a revocation list in DER or PEM.
func parseList(raw []byte, from string) (*revocation, error) {
	// The newer ParseRevocationList refuses lists of version 1, which openssl writes unless told otherwise.
	parsed, err := x509.ParseCRL(raw) //nolint:staticcheck // see above
	if err != nil {
		return nil, err
	}
	r := &revocation{
		url: from, until: parsed.TBSCertList.NextUpdate,
		serials: make(map[string]struct{}, len(parsed.TBSCertList.RevokedCertificates)),
	}
	for _, c := range parsed.TBSCertList.RevokedCertificates {
		r.serials[c.SerialNumber.String()] = struct{}{}
	}
	return r, nil
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
	Name string  `path:"name" help:"Name of the list."`
	CRL  *string `param:"crl" help:"The list, in PEM or DER."`
	URL  *string `param:"url" help:"Where to fetch the list, now and when it is out of date."`
}

func (e *engine) writeList(ctx context.Context, _ *engines.Request, p listParams) (*engines.Response, error) {
	name, err := nameOf(p.Name)
	if err != nil {
		return nil, err
	}
	var raw []byte
	from := ""
	switch {
	case p.CRL != nil:
		raw = []byte(*p.CRL)
	case p.URL != nil:
		from = *p.URL
		if from == "" {
			return nil, engines.Invalid("empty CRL url")
		}
		if _, err := url.Parse(from); err != nil {
			return nil, engines.Invalid("invalid CRL url: %v", err)
		}
		if raw, err = fetchList(ctx, from); err != nil {
			return nil, engines.Failed("%s", numbered(err.Error()))
		}
	default:
		return nil, engines.Invalid("one of 'crl' or 'url' must be provided")
	}
	parsed, err := parseList(raw, from)
	if err != nil {
		return nil, engines.Invalid("failed to parse CRL: %v", err)
	}
	e.lists.mu.Lock()
	defer e.lists.mu.Unlock()
	return &engines.Response{}, e.putListLocked(ctx, name, raw, parsed.url)
}

func (e *engine) putListLocked(ctx context.Context, name string, raw []byte, from string) error {
	op, err := put(listFolder+name, list{DER: raw, URL: from})
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

func (e *engine) refresh(ctx context.Context, name string, old *revocation) error {
	raw, err := fetchList(ctx, old.url)
	if err != nil {
		return err
	}
	parsed, err := parseList(raw, old.url)
	if err != nil {
		return err
	}
	e.lists.mu.Lock()
	defer e.lists.mu.Unlock()
	all, err := e.lists.allLocked(ctx, e)
	if err != nil {
		return err
	}
	if now := all.lists[name]; now == nil || now.url != old.url || !now.until.Equal(old.until) {
		return nil // somebody wrote or deleted it meanwhile
	}
	return e.putListLocked(ctx, name, raw, parsed.url)
}
