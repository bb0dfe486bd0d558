package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"os"
)

// Report is what Check found in a whole file.
type Report struct {
	// Commit is the number of the commit whose state the file holds.
	Commit uint64
	// Size is the length of the file in bytes.
	Size int64
	// Empty tells that no key is stored.
	Empty bool
	// Doubt says in a sentence what is wrong with the meta pages although the rest is whole; "" when nothing is.
	Doubt string
}

// Check reads the structure of the database file at path: both meta pages, and every page that can be reached from
// the newer one. It takes no lock and writes nothing, so the file must not be open for writing. A damaged file is a
// *DamageError, which names the first damage found.
//
// It reads a page for each page of the tree and leaves out the rest of large values: about 0.4 s for a gibibyte that
// the system has in memory. Values carry no checksum here; the barrier notices what is changed in them.
func Check(path string) (Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return Report{}, fmt.Errorf("bolt: check: %w", err)
	}
	defer closeRead(f)
	info, err := f.Stat()
	if err != nil {
		return Report{}, fmt.Errorf("bolt: check: %w", err)
	}
	found, err := examine(f, info.Size())
	if err != nil {
		return Report{}, inFile(path, err)
	}
	return Report{Commit: found.txid, Size: info.Size(), Empty: found.empty, Doubt: found.doubt}, nil
}

// closeRead closes what was only read: nothing can be lost.
func closeRead(f *os.File) { _ = f.Close() }

// The layout of bbolt's pages, in the byte order of the machine. A page starts with its number (8 bytes), its kind (2),
// the count of its elements (2) and the count of pages that continue it (4).
const (
	pageHeader  = 16
	elementSize = 16
	bucketSize  = 16 // number of the root page, and a sequence

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10

	bucketElement = 0x01

	// maxDepth is more than a tree of any file has: one of depth 8 has over 10^14 keys.
	maxDepth = 32
	maxKey   = 32 << 10
)

// examined is what examine found.
type examined struct {
	meta
	pageSize int64
	// bucket tells that there is one, empty that it holds no key.
	bucket, empty bool
	doubt         string
}

// examine checks a file of size bytes. Whatever bbolt relies on when it opens the file is checked, for it scans the
// file in a goroutine of its own, where it panics. It reads through f and not through a mapping of the file: a page
// that cannot be read is an error and no signal. Errors are *DamageError without a path, or those of f.
func examine(f io.ReaderAt, size int64) (examined, error) {
	if size == 0 {
		return examined{}, &DamageError{What: "it is empty", Lost: lostAll}
	}
	m, pageSize, doubt, err := readMetas(f, size)
	if err != nil {
		return examined{}, err
	}
	if end := m.pages * uint64(pageSize); uint64(size) < end { //nolint:gosec // A size is not negative.
		return examined{}, &DamageError{What: fmt.Sprintf("it is cut off: %d of at least %d bytes are left", size, end),
			Lost: "what stood behind"}
	}
	c := &checker{file: f, meta: m, pageSize: pageSize, seen: make([]uint64, m.pages/64+1)}
	if err := c.freelist(); err != nil {
		return examined{}, err
	}
	bucket, err := c.rootBucket()
	if err != nil {
		return examined{}, err
	}
	return examined{meta: m, pageSize: pageSize, bucket: bucket, empty: c.keys == 0, doubt: doubt}, nil
}

// checker walks through a file.
type checker struct {
	file     io.ReaderAt
	meta     meta
	pageSize int64
	// seen has a bit for each page that something refers to.
	seen []uint64
	// heads are the buffers for the pages from the root to the one that is looked at.
	heads [maxDepth + 2][]byte
	// keys counts those of the storage bucket.
	keys int
}

// page is a page with those that continue it.
type page struct {
	id    uint64
	kind  uint16
	count int
	// size is its length in bytes, head its start.
	size int64
	head []byte
	// table are its elements. bbolt packs their keys and values behind it without gaps: end is where the next one starts.
	table []byte
	end   int64
}

func (c *checker) damage(id uint64, lost, format string, args ...any) error {
	return &DamageError{Page: id, Offset: int64(id) * c.pageSize, //nolint:gosec // A page lies in the file.
		What: fmt.Sprintf(format, args...), Lost: lost}
}

// claim marks count pages from id on as used, each at most once. from is the page that refers to them.
func (c *checker) claim(from, id, count uint64, lost string) error {
	if id < 2 || id >= c.meta.pages || count > c.meta.pages-id {
		return c.damage(from, lost, "it refers to the pages %d to %d of %d", id, id+count-1, c.meta.pages)
	}
	for i := id; i < id+count; i++ {
		word, bit := i/64, uint64(1)<<(i%64)
		if c.seen[word]&bit != 0 {
			return c.damage(from, lost, "it refers to page %d, which belongs to another one", i)
		}
		c.seen[word] |= bit
	}
	return nil
}

// open reads the start of page id, to which page from refers, and claims it.
func (c *checker) open(from, id uint64, depth int, lost string) (page, error) {
	if id < 2 || id >= c.meta.pages {
		return page{}, c.damage(from, lost, "it refers to page %d of %d", id, c.meta.pages)
	}
	if c.heads[depth] == nil {
		c.heads[depth] = make([]byte, c.pageSize)
	}
	head := c.heads[depth]
	if err := c.read(id, head, 0); err != nil {
		return page{}, err
	}
	p := page{id: id, kind: binary.NativeEndian.Uint16(head[8:]), count: int(binary.NativeEndian.Uint16(head[10:])),
		head: head}
	if said := binary.NativeEndian.Uint64(head); said != id {
		return page{}, c.damage(id, lost, "it says that it is page %d", said)
	}
	length := uint64(binary.NativeEndian.Uint32(head[12:])) + 1
	if err := c.claim(id, id, length, lost); err != nil {
		return page{}, err
	}
	p.size = int64(length) * c.pageSize //nolint:gosec // claim saw that it lies in the file.
	return p, nil
}

// read fills b with what stands at offset off of page id.
func (c *checker) read(id uint64, b []byte, off int64) error {
	at := int64(id)*c.pageSize + off //nolint:gosec // The page lies in the file.
	if n, err := c.file.ReadAt(b, at); err != nil && n < len(b) {
		return &DamageError{Page: id, Offset: at, What: "it cannot be read", Lost: lostBelow, Cause: err}
	}
	return nil
}

// part returns n bytes of p from off on, or nil when they do not lie in p.
func (c *checker) part(p *page, off, n int64) ([]byte, error) {
	if off < pageHeader || n < 0 || off+n > p.size {
		return nil, c.damage(p.id, lostBelow, "an element lies outside of it")
	}
	if off+n <= int64(len(p.head)) {
		return p.head[off : off+n], nil
	}
	b := make([]byte, n)
	return b, c.read(p.id, b, off)
}

// element is an entry of a leaf, or of a branch.
type element struct {
	key []byte
	// A leaf's: kind, and where the value is.
	kind               uint32
	valueAt, valueSize int64
	// A branch's: the page below.
	child uint64
}

// element returns the i-th element of p; they are asked for in order.
func (c *checker) element(p *page, i int) (e element, err error) {
	raw := p.table[i*elementSize:]
	field := func(i int) int64 { return int64(binary.NativeEndian.Uint32(raw[i:])) }
	at := int64(pageHeader + i*elementSize)
	var keySize int64
	if p.kind == branchPage {
		at, keySize = at+field(0), field(4)
		e.child = binary.NativeEndian.Uint64(raw[8:])
	} else {
		at, keySize = at+field(4), field(8)
		e.kind = binary.NativeEndian.Uint32(raw)
		e.valueSize = field(12)
	}
	e.valueAt = at + keySize
	if at != p.end || keySize > maxKey || e.valueAt+e.valueSize > p.size {
		return e, c.damage(p.id, lostBelow, "the lengths of its keys and values do not fit together")
	}
	p.end = e.valueAt + e.valueSize
	e.key, err = c.part(p, at, keySize)
	return e, err
}

// elements reads the table of p's elements.
func (c *checker) elements(p *page) (err error) {
	p.end = int64(pageHeader + p.count*elementSize)
	p.table, err = c.part(p, pageHeader, p.end-pageHeader)
	return err
}

// walk checks the tree below page id. Its keys are at least low, and below high; nil is no bound.
func (c *checker) walk(from, id uint64, depth int, low, high []byte, each func(*page, element) error) error {
	lost := lostBelow
	if depth == 0 {
		lost = lostAll
	}
	p, err := c.open(from, id, depth, lost)
	if err != nil {
		return err
	}
	switch {
	case p.kind != branchPage && p.kind != leafPage:
		return c.damage(id, lost, "it is of a kind that does not belong there (%#x)", p.kind)
	case p.count == 0: // an empty bucket has no page
		return c.damage(id, lost, "it says that it is empty")
	case depth >= maxDepth:
		return c.damage(id, lost, "it is %d levels deep", depth)
	}
	if err := c.elements(&p); err != nil {
		return err
	}
	if p.kind == leafPage {
		return c.ordered(&p, low, high, func(e, _ element) error { return each(&p, e) })
	}
	return c.ordered(&p, low, high, func(e, next element) error {
		bound := high
		if next.key != nil {
			bound = next.key
		}
		return c.walk(id, e.child, depth+1, e.key, bound, each)
	})
}

// ordered checks that the keys of p ascend from low to below high, and hands each element and the next one to visit.
func (c *checker) ordered(p *page, low, high []byte, visit func(e, next element) error) error {
	if p.count == 0 {
		return nil
	}
	e, err := c.element(p, 0)
	if err != nil {
		return err
	}
	if low != nil && bytes.Compare(e.key, low) < 0 {
		return c.damage(p.id, lostBelow, "its first key is below its place")
	}
	for i := range p.count {
		var next element
		if i+1 < p.count {
			if next, err = c.element(p, i+1); err != nil {
				return err
			}
			if bytes.Compare(e.key, next.key) >= 0 {
				return c.damage(p.id, lostBelow, "its keys are not in order")
			}
		} else if high != nil && bytes.Compare(e.key, high) >= 0 {
			return c.damage(p.id, lostBelow, "its last key is above its place")
		}
		if err := visit(e, next); err != nil {
			return err
		}
		e = next
	}
	return nil
}

// rootBucket checks the bucket of buckets, in which the storage bucket is all there is. A file that nothing was ever
// committed to has none.
func (c *checker) rootBucket() (found bool, err error) {
	p, err := c.open(metaPageOf(c.meta), c.meta.root, 0, lostAll)
	if err != nil {
		return false, err
	}
	fresh := p.count == 0 && c.meta.txid <= 1
	if p.kind != leafPage || p.count != 1 && !fresh {
		return false, c.damage(p.id, lostAll, "it is the root, and is of kind %#x with %d elements", p.kind, p.count)
	}
	if fresh {
		return false, nil
	}
	if err := c.elements(&p); err != nil {
		return false, err
	}
	e, err := c.element(&p, 0)
	if err != nil {
		return false, err
	}
	if string(e.key) != bucketName || e.kind != bucketElement {
		return false, c.damage(p.id, lostAll, "it is the root, and holds what is not coffer's")
	}
	value, err := c.part(&p, e.valueAt, e.valueSize)
	if err != nil {
		return false, err
	}
	return true, c.bucket(&p, value)
}

// bucket checks the storage bucket, described by value on page p: its tree, or the one leaf within the value.
func (c *checker) bucket(p *page, value []byte) error {
	if len(value) < bucketSize {
		return c.damage(p.id, lostAll, "the bucket is too short")
	}
	count := func(p *page, e element) error {
		if e.kind != 0 {
			return c.damage(p.id, lostBelow, "it holds a bucket where only values are")
		}
		c.keys++
		return nil
	}
	root := binary.NativeEndian.Uint64(value)
	if root != 0 {
		return c.walk(p.id, root, 1, nil, nil, count)
	}
	inline := value[bucketSize:]
	if len(inline) < pageHeader {
		return c.damage(p.id, lostAll, "the bucket is too short")
	}
	leaf := page{id: p.id, kind: binary.NativeEndian.Uint16(inline[8:]),
		count: int(binary.NativeEndian.Uint16(inline[10:])), size: int64(len(inline)), head: inline}
	if leaf.kind != leafPage || binary.NativeEndian.Uint64(inline) != 0 {
		return c.damage(p.id, lostAll, "the bucket in it is of a kind that does not belong there (%#x)", leaf.kind)
	}
	if err := c.elements(&leaf); err != nil {
		return err
	}
	if err := c.ordered(&leaf, nil, nil, func(e, _ element) error { return count(&leaf, e) }); err != nil {
		return err
	}
	if leaf.end != leaf.size {
		return c.damage(p.id, lostAll, "the bucket in it is longer than what it holds")
	}
	return nil
}

// freelist checks the list of free pages, where there is one: coffer's commits write none, and make the list from what
// is not reachable. It is claimed before the tree, whose pages it must not name.
func (c *checker) freelist() error {
	id := c.meta.freelist
	if id == noFreelist {
		return nil
	}
	p, err := c.open(metaPageOf(c.meta), id, 0, lostAll)
	if err != nil {
		return err
	}
	if p.kind != freelistPage {
		return c.damage(id, lostNothing, "it is no list of free pages (%#x)", p.kind)
	}
	count, at := uint64(p.count), int64(pageHeader) //nolint:gosec // A count is not negative.
	if count == 0xFFFF {
		raw, err := c.part(&p, at, 8)
		if err != nil {
			return err
		}
		count, at = binary.NativeEndian.Uint64(raw), at+8
	}
	if hi, size := bits.Mul64(count, 8); hi != 0 || size > uint64(p.size-at) { //nolint:gosec // at lies in the page.
		return c.damage(id, lostNothing, "its list is longer than the page")
	}
	list, err := c.part(&p, at, int64(count*8)) //nolint:gosec // It lies in the page.
	if err != nil {
		return err
	}
	for ; len(list) > 0; list = list[8:] {
		if err := c.claim(id, binary.NativeEndian.Uint64(list), 1, lostNothing); err != nil {
			return err
		}
	}
	return nil
}
