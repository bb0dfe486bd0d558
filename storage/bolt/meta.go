package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
)

// meta is what a meta page says. There are two, pages 0 and 1, which commits write in turn; the newer valid one counts.
type meta struct {
	// root is the page of the root bucket, freelist the one of the list of free pages.
	root, freelist uint64
	// pages is how many pages are in use or free; none of a higher number counts.
	pages uint64
	// txid is the number of the commit that wrote it.
	txid uint64
	// page is where it stands: 0 or 1.
	page int
}

const (
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	// metaLength is the length of a meta page's content with its header; the rest of the page is unused.
	metaLength = pageHeader + 64
	noFreelist = 1<<64 - 1

	// The sizes that a page can have.
	minPageSize = 1 << 10
	maxPageSize = 16 << 20
)

func metaPageOf(m meta) uint64 { return uint64(m.page) } //nolint:gosec // It is 0 or 1.

// parseMeta reads a meta page of metaLength bytes as bbolt does. It returns false for one that is damaged, and what it
// says then is worth a guess at most.
func parseMeta(b []byte) (m meta, pageSize int64, ok bool) {
	b = b[pageHeader:metaLength]
	field := func(i int) uint64 { return binary.NativeEndian.Uint64(b[i:]) }
	// magic, version, page size and flags in 4 bytes each, then root page, its sequence, freelist, pages, txid, checksum.
	m = meta{root: field(16), freelist: field(32), pages: field(40), txid: field(48)}
	pageSize = int64(binary.NativeEndian.Uint32(b[8:]))
	sum := fnv.New64a()
	_, _ = sum.Write(b[:56])
	ok = binary.NativeEndian.Uint32(b) == metaMagic && binary.NativeEndian.Uint32(b[4:]) == metaVersion &&
		field(56) == sum.Sum64()
	return m, pageSize, ok
}

// readMetas returns the newer valid meta of a file of size bytes, the size of its pages, and a doubt: a sentence when
// the two are not as commits leave them, "" when they are.
func readMetas(f io.ReaderAt, size int64) (m meta, pageSize int64, doubt string, err error) {
	var metas [2]meta
	var valid [2]bool
	if metas[0], pageSize, valid[0], err = readMeta(f, 0, 0, size); err != nil {
		return m, 0, "", err
	}
	if valid[0] {
		metas[1], _, valid[1], err = readMeta(f, pageSize, pageSize, size)
	}
	// Without the first one the size of the pages is not known: the second one says itself where it belongs.
	for at := int64(minPageSize); err == nil && !valid[0] && !valid[1] && at <= maxPageSize; at *= 2 {
		metas[1], pageSize, valid[1], err = readMeta(f, at, at, size)
	}
	if err != nil {
		return m, 0, "", err
	}
	metas[1].page = 1
	switch {
	case valid[0] && valid[1]:
		m = metas[0]
		if metas[1].txid > m.txid {
			m = metas[1]
		}
		if metas[0].txid+metas[1].txid != 2*m.txid-1 || m.txid%2 != metaPageOf(m) {
			doubt = fmt.Sprintf("the meta pages say commit %d and %d, which do not follow each other; "+
				"the data is that of commit %d", metas[0].txid, metas[1].txid, m.txid)
		}
	case valid[0]:
		m, doubt = metas[0], oneMeta(metas[0], metas[1])
	case valid[1]:
		m, doubt = metas[1], oneMeta(metas[1], metas[0])
	default:
		return m, 0, "", &DamageError{What: "neither of its two meta pages is one", Lost: lostAll}
	}
	if m.pages > uint64(1<<62)/uint64(pageSize) { //nolint:gosec // It is positive.
		what := fmt.Sprintf("its meta page %d speaks of %d pages", m.page, m.pages)
		return m, 0, "", &DamageError{What: what, Lost: lostAll}
	}
	return m, pageSize, doubt, nil
}

// oneMeta says what it means that only good is valid. A damaged page may still say which commit it is of.
func oneMeta(good, bad meta) string {
	text := fmt.Sprintf("meta page %d is damaged, the data is that of commit %d; ", 1-good.page, good.txid)
	switch bad.txid {
	case good.txid + 1:
		return text + fmt.Sprintf("commit %d is lost: the last change, unless the power failed during it", bad.txid)
	case good.txid - 1:
		return text + "nothing is lost"
	}
	return text + "the last change may be lost"
}

// readMeta reads the meta page at offset at, whose pages are of size want, or of any size when that is 0. One that the
// file is too short for is not valid.
func readMeta(f io.ReaderAt, at, want, size int64) (m meta, pageSize int64, ok bool, err error) {
	if size < at+metaLength {
		return m, 0, false, nil
	}
	var b [metaLength]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return m, 0, false, &DamageError{Offset: at, What: "a meta page cannot be read", Lost: lostAll, Cause: err}
	}
	m, pageSize, ok = parseMeta(b[:])
	sane := pageSize >= minPageSize && pageSize <= maxPageSize && pageSize&(pageSize-1) == 0
	if ok && (!sane || want != 0 && pageSize != want) {
		what := fmt.Sprintf("a meta page speaks of pages of %d bytes", pageSize)
		return m, 0, false, &DamageError{What: what, Lost: lostAll}
	}
	return m, pageSize, ok, nil
}
