package barrier

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"coffer/barrier/record"
)

const (
	// tagSize is the length of a tag in bytes: that of AES-GCM's.
	tagSize = 16
	// shardCount is into how many records the manifest is split. A change writes the shards of its keys and the root.
	shardCount = 256
)

// tag tells what is stored under a key from all that was stored there before. Of a record it is the tag of AES-GCM,
// which nobody without the key can make for other bytes; of anything else it is a hash.
type tag [tagSize]byte

// tagOf returns the tag of stored bytes.
func tagOf(data []byte) tag {
	if _, err := record.Term(data); err == nil {
		return tag(data[len(data)-tagSize:])
	}
	return hashOf(data)
}

func hashOf(data []byte) tag {
	sum := sha256.Sum256(data)
	return tag(sum[:tagSize])
}

// entry says what is stored under a key.
type entry struct {
	key string
	tag tag
}

// entries are sorted by key. They are never changed in place.
type entries []entry

func (e entries) search(key string) (at int, found bool) {
	return slices.BinarySearchFunc(e, key, func(e entry, key string) int { return strings.Compare(e.key, key) })
}

func (e entries) find(key string) (tag, bool) {
	at, found := e.search(key)
	if !found {
		return tag{}, false
	}
	return e[at].tag, true
}

// with returns the entries with one more, or with another tag.
func (e entries) with(key string, t tag) entries {
	at, found := e.search(key)
	changed := make(entries, 0, len(e)+1)
	changed = append(append(changed, e[:at]...), entry{strings.Clone(key), t})
	if found {
		at++
	}
	return append(changed, e[at:]...)
}

func (e entries) without(key string) entries {
	at, found := e.search(key)
	if !found {
		return e
	}
	return slices.Concat(e[:at], e[at+1:])
}

// append appends the encoded entries: for each the length of the key (2 bytes, big endian), the key and the tag.
func (e entries) append(b []byte) []byte {
	for _, entry := range e {
		//nolint:gosec // storage.MaxKeySize fits
		b = binary.BigEndian.AppendUint16(b, uint16(len(entry.key)))
		b = append(b, entry.key...)
		b = append(b, entry.tag[:]...)
	}
	return b
}

// decodeEntries is the inverse of append. It keeps nothing of b.
func decodeEntries(b []byte) (entries, error) {
	var list entries
	for len(b) > 0 {
		if len(b) < 2 {
			return nil, errManifest
		}
		n := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; n == 0 || len(b) < n+tagSize {
			return nil, errManifest
		}
		e := entry{key: string(b[:n]), tag: tag(b[n:])}
		if len(list) > 0 && list[len(list)-1].key >= e.key {
			return nil, errManifest
		}
		list, b = append(list, e), b[n+tagSize:]
	}
	return list, nil
}

// errManifest is returned for bytes that are no part of a manifest.
var errManifest = fmt.Errorf("%w: not a manifest", ErrCorrupt)

// manifest says what the storage holds of the records whose age matters, and so tells an old one from the one that
// was stored last. It is never changed once it is in use.
type manifest struct {
	header
	// shards are the keys behind the barrier, each in the shard of its hash.
	shards [shardCount]entries
	// self is the tag of the stored root.
	self tag
}

// header is what the root of a manifest holds.
type header struct {
	// revision is that of the Scope that the manifest covers; 0 while it covers the keyring alone.
	revision uint32
	// term had encrypted about used values when this was stored: its counter is not below that.
	term uint32
	used uint64
	// below are plaintext keys: the keyring's, and those of the seal.
	below entries
	// tags are those of the stored shards; zero for an empty one.
	tags [shardCount]tag
}

// shardOf returns the number of the shard that has the key.
func shardOf(key string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never returns an error
	sum := h.Sum32()
	return int((sum ^ sum>>8 ^ sum>>16 ^ sum>>24) % shardCount)
}

// find returns the tag of what is stored under a key behind the barrier.
func (m *manifest) find(key string) (tag, bool) { return m.shards[shardOf(key)].find(key) }

// names returns the names one level below a folder, folders ending in "/", in no order; a folder may be there twice.
func (m *manifest) names(folder string) []string {
	var names []string
	for _, shard := range m.shards {
		at, _ := shard.search(folder)
		for ; at < len(shard); at++ {
			name, below := strings.CutPrefix(shard[at].key, folder)
			if !below {
				break
			}
			if i := strings.IndexByte(name, '/'); i >= 0 {
				name = name[:i+1]
			}
			names = append(names, name)
		}
	}
	return names
}

// The encoded root, numbers in big endian:
//
//	version (1 byte, 1) | revision (4) | term (4) | used (8) | tags (256 × 16) | entries of below
const (
	manifestVersion = 1
	headerSize      = 1 + 4 + 4 + 8 + shardCount*tagSize
)

func (h *header) encode() []byte {
	b := make([]byte, 0, headerSize+len(h.below)*(2+tagSize+32))
	b = append(b, manifestVersion)
	b = binary.BigEndian.AppendUint32(b, h.revision)
	b = binary.BigEndian.AppendUint32(b, h.term)
	b = binary.BigEndian.AppendUint64(b, h.used)
	for i := range h.tags {
		b = append(b, h.tags[i][:]...)
	}
	return h.below.append(b)
}

// decodeHeader is the inverse of encode. It keeps nothing of b.
func decodeHeader(b []byte) (header, error) {
	if len(b) < headerSize || b[0] != manifestVersion {
		return header{}, errManifest
	}
	h := header{
		revision: binary.BigEndian.Uint32(b[1:]), term: binary.BigEndian.Uint32(b[5:]), used: binary.BigEndian.Uint64(b[9:]),
	}
	for i := range h.tags {
		h.tags[i] = tag(b[17+i*tagSize:])
	}
	var err error
	h.below, err = decodeEntries(b[headerSize:])
	return h, err
}

// draft is a manifest that is being changed.
type draft struct {
	manifest
	// changed are the shards that differ from those stored.
	changed map[int]bool
}

// edit returns a draft that begins as m; m may be nil.
func (m *manifest) edit() *draft {
	d := &draft{changed: make(map[int]bool)}
	if m != nil {
		d.manifest = *m
	}
	return d
}

func (d *draft) set(key string, t tag) {
	i := shardOf(key)
	d.shards[i], d.changed[i] = d.shards[i].with(key, t), true
}

func (d *draft) remove(key string) {
	i := shardOf(key)
	d.shards[i], d.changed[i] = d.shards[i].without(key), true
}

// setAll replaces what is covered behind the barrier.
func (d *draft) setAll(all []entry) {
	clear(d.shards[:])
	for _, e := range all {
		i := shardOf(e.key)
		d.shards[i] = append(d.shards[i], e)
	}
	for i, shard := range d.shards {
		slices.SortFunc(shard, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
		d.changed[i] = true
	}
}
