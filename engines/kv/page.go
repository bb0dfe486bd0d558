package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"

	"coffer/storage"
)

// A secret with many versions keeps the older ones in pages, so that a write does not rewrite all of them. Page k holds
// the versions k*pageVersions+1 to (k+1)*pageVersions. It is written when the record has grown to twice as many, and
// again when one of its versions is deleted, destroyed or removed. Versions that were removed before the page was made,
// or with their data from it, are not in it. The bytes of a page are:
//
//	format    1 byte, pageFormat
//	actors    as in the record of the secret
//	versions  the same
const (
	pagePrefix = "page/"
	pageFormat = 1
	// pageVersions is part of the format. Many small secrets have twice as many versions in historyLimit bytes, so that
	// they need no key for each.
	pageVersions = 16
)

// What changing pages takes, in bytes of a Budget, which counts each four times.
const (
	sizeOfPage   = 12 << 10 / 4
	sizeOfRemove = 400 / 4
)

// pageOf is the page that holds a version which is not in the record.
func pageOf(n uint64) uint64 { return (n - 1) / pageVersions }

// lastOf is the number of the last version of a page.
func lastOf(page uint64) uint64 { return (page + 1) * pageVersions }

func pageKey(name string, k uint64) string {
	return pagePrefix + strconv.FormatUint(k, 10) + "/" + name
}

// page are versions that are not in the record of their secret.
type page struct {
	number uint64
	// versions are in the order of their numbers, which have no gaps; the last one is lastOf(number).
	versions []version
	changed  bool
}

// version returns the version of that number, or nil.
func (p *page) version(n uint64) *version {
	last := lastOf(p.number)
	if n > last || n+uint64(len(p.versions)) <= last {
		return nil
	}
	return &p.versions[uint64(len(p.versions))-1-(last-n)]
}

func (p *page) encode() []byte {
	var actors actorTable
	actors.addVersions(p.versions)
	b := actors.appendTo([]byte{pageFormat})
	b = binary.AppendUvarint(b, uint64(len(p.versions)))
	for i := len(p.versions) - 1; i >= 0; i-- {
		b = actors.appendVersion(b, &p.versions[i], true)
	}
	return b
}

// decodePage reads a page. It returns errRecord for bytes that are not one.
func decodePage(k uint64, record []byte) (*page, error) {
	d := decoder{rest: record}
	if d.byte() != pageFormat {
		return nil, errRecord
	}
	actors := d.actors()
	count := d.uvarint()
	if count == 0 || count > pageVersions {
		return nil, errRecord
	}
	p := &page{number: k, versions: make([]version, count)}
	for i := len(p.versions) - 1; i >= 0; i-- {
		p.versions[i] = d.version(actors, nil)
	}
	if d.failed || len(d.rest) > 0 {
		return nil, errRecord
	}
	return p, nil
}

// readPage reads page k of a secret, which its record says is there. The caller holds the lock of the secret.
func readPage(ctx context.Context, s storage.Storage, name string, k uint64) (*page, error) {
	key := pageKey(name, k)
	raw, err := s.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, damaged(key)
	}
	if err != nil {
		return nil, err
	}
	p, err := decodePage(k, raw)
	if err != nil {
		return nil, unreadable(key, raw, pageFormat)
	}
	return p, nil
}

// find returns a version of a secret, wherever it is, or nil when there is none of that number. The caller holds the
// lock of the secret.
func (e *versioned) find(ctx context.Context, name string, ent *entry, n uint64) (*version, error) {
	if v := ent.version(n); v != nil || !ent.paged(n) {
		return v, nil
	}
	p, err := readPage(ctx, e.storage, name, pageOf(n))
	if err != nil {
		return nil, err
	}
	v := p.version(n)
	if v == nil {
		return nil, damaged(pageKey(name, p.number))
	}
	return v, nil
}

// history returns all versions of a secret in the order of their numbers. The caller holds the lock of the secret.
func (e *versioned) history(ctx context.Context, name string, ent *entry) ([]version, error) {
	if ent.Paged == 0 {
		return ent.Versions, nil
	}
	all := make([]version, 0, ent.count())
	for n := ent.first(); n < ent.recent(); {
		p, err := readPage(ctx, e.storage, name, pageOf(n))
		if err != nil {
			return nil, err
		}
		for ; n <= lastOf(p.number); n++ {
			v := p.version(n)
			if v == nil {
				return nil, damaged(pageKey(name, p.number))
			}
			v.Data = nil // of which the caller has no need
			all = append(all, *v)
		}
	}
	return append(all, ent.Versions...), nil
}

// page returns a page of the secret, which is read once.
func (c *change) page(ctx context.Context, k uint64) (*page, error) {
	if p := c.pages[k]; p != nil {
		return p, nil
	}
	p, err := readPage(ctx, c.storage, c.name, k)
	if err != nil {
		return nil, err
	}
	if c.pages == nil {
		c.pages = make(map[uint64]*page)
	}
	c.pages[k] = p
	return p, nil
}

// version returns the version of that number, which is about to be changed, or nil.
func (c *change) version(ctx context.Context, n uint64) (*version, error) {
	if v := c.entry.version(n); v != nil || !c.entry.paged(n) {
		return v, nil
	}
	p, err := c.page(ctx, pageOf(n))
	if err != nil {
		return nil, err
	}
	v := p.version(n)
	if v == nil {
		return nil, damaged(pageKey(c.name, p.number))
	}
	p.changed = true
	return v, nil
}

// seal moves the oldest versions from the record into pages, when it has twice as many as a page.
func (c *change) seal() {
	ent := c.entry
	for len(ent.Versions) >= 2*pageVersions {
		k := pageOf(ent.recent())
		n := int(lastOf(k) - ent.recent() + 1) //nolint:gosec // at most pageVersions
		c.batch = append(c.batch, storage.Put(pageKey(c.name, k), (&page{number: k, versions: ent.Versions[:n]}).encode()))
		ent.Versions = ent.Versions[n:]
		ent.Paged += uint64(n) //nolint:gosec // the same
	}
}

// removeBelow removes the versions whose numbers are below end, and their data.
func (c *change) removeBelow(ctx context.Context, end uint64) error {
	ent := c.entry
	if end <= ent.first() {
		return nil
	}
	if err := storage.Spend(ctx, sizeOfRemove*int(end-ent.first())); err != nil { //nolint:gosec // at most maxVersions
		return err
	}
	for ent.Paged > 0 && ent.first() < end {
		if err := c.removeFromPage(ctx, min(end-1, lastOf(pageOf(ent.first())))); err != nil {
			return err
		}
	}
	for ; len(ent.Versions) > 0 && ent.recent() < end; ent.Versions = ent.Versions[1:] {
		if ent.Versions[0].elsewhere() {
			c.batch = append(c.batch, storage.Delete(versionKey(c.name, ent.recent())))
		}
	}
	return nil
}

// removeFromPage removes the versions up to last from the page that holds the oldest. A page that cannot be read must
// not keep the secret from being written: whatever its versions have elsewhere is removed, and the page when no version
// in it is left.
func (c *change) removeFromPage(ctx context.Context, last uint64) error {
	ent := c.entry
	k := pageOf(ent.first())
	p, err := c.page(ctx, k)
	if errors.Is(err, errRecord) {
		p, err = &page{number: k}, nil
	}
	if err != nil {
		return err
	}
	for n := ent.first(); n <= last; n++ {
		v := p.version(n)
		if v == nil || v.elsewhere() {
			c.batch = append(c.batch, storage.Delete(versionKey(c.name, n)))
		}
		p.changed = p.changed || v != nil && v.Inline
	}
	ent.Paged -= last - ent.first() + 1
	switch {
	case last == lastOf(k):
		c.batch = append(c.batch, storage.Delete(pageKey(c.name, k)))
		delete(c.pages, k)
	case p.changed:
		left := lastOf(k) - last
		p.versions = p.versions[uint64(len(p.versions))-left:]
	}
	return nil
}
