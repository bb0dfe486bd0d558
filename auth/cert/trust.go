package cert

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"

	"coffer/storage"
)

// trusted is a role, ready to be held against a client's certificate.
type trusted struct {
	role  *role
	certs []*x509.Certificate // of the role, never empty
	// responders may sign what OCSP servers answer. They let nobody in.
	responders []*x509.Certificate
}

// anchors are the roles that a login can match: one, or all of the mount.
type anchors struct {
	pool        *x509.CertPool // the certificates of authorities
	authorities []*trusted
	leaves      []*trusted
}

func (a *anchors) add(t *trusted) {
	if !t.certs[0].IsCA {
		a.leaves = append(a.leaves, t)
		return
	}
	for _, c := range t.certs {
		a.pool.AddCert(c)
	}
	a.authorities = append(a.authorities, t)
}

// anchors returns what a login with the role's name is held against; "" stands for every role. A role that
// does not exist trusts nobody.
func (e *engine) anchors(ctx context.Context, name string, c *config) (*anchors, error) {
	ready, generation := e.trust.get(name)
	if ready != nil {
		return ready, nil
	}
	names := []string{name}
	if name == "" {
		var err error
		if names, err = e.storage.List(storage.LeaveOut(ctx), roleFolder, "", 0); err != nil {
			return nil, err
		}
	}
	a := &anchors{pool: x509.NewCertPool()}
	known := false
	for _, n := range names {
		r, err := e.role(ctx, n)
		switch {
		case errors.Is(err, errRecord), errors.Is(err, storage.ErrDamaged):
			// The others can still be trusted, and this one lets nobody in.
			e.log.Error("a role cannot be read", slog.String("role", n), slog.Any("error", err))
			continue
		case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrInvalidKey):
			continue
		case err != nil:
			return nil, err
		}
		t := &trusted{role: r, certs: parseCertificates(r.Certificate), responders: parseCertificates(r.OCSP.CAs)}
		if len(t.certs) > 0 {
			a.add(t)
			known = true
		}
	}
	// Names that nobody gave a role come from anybody: they must not push out those that are in use.
	if known || name == "" {
		e.trust.put(name, a, generation, c.RoleCache)
	}
	return a, nil
}

// trustCache keeps anchors ready, by the name that the login gave. What is in it is never changed.
type trustCache struct {
	mu sync.Mutex // guards what follows
	// generation counts the changes of roles: what was read before one must not be kept after it.
	generation uint64
	ready      map[string]*anchors
}

func (c *trustCache) get(name string) (*anchors, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready[name], c.generation
}

// put keeps what was read at a generation, unless a role has changed since. size is as in config.
func (c *trustCache) put(name string, a *anchors, generation uint64, size int) {
	if size == 0 {
		size = defaultRoleCache
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if size < 0 || generation != c.generation {
		return
	}
	if c.ready == nil {
		c.ready = map[string]*anchors{}
	}
	makeRoom(c.ready, size)
	c.ready[name] = a
}

// forget drops everything. It is called after a change was committed.
func (c *trustCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	clear(c.ready)
}

// makeRoom removes arbitrary entries until there is room for one more.
func makeRoom[V any](m map[string]V, size int) {
	for key := range m {
		if len(m) < size {
			return
		}
		delete(m, key)
	}
}
