package kv

import (
	"encoding/binary"
	"math"
	"time"
)

// head is what a read of the latest version needs of a record. Its slices are parts of the record.
type head struct {
	current uint64
	latest  version // without attributions
	exists  bool    // there is a version
	cas     bool
	custom  []byte
	format  byte
}

// decodeHead reads the beginning of a record. It returns errRecord for bytes that are not one.
func decodeHead(record []byte) (head, error) {
	d := decoder{rest: record}
	h := d.head()
	if d.failed {
		return head{}, errRecord
	}
	return h, nil
}

// decodeEntry reads a record. It returns errRecord for bytes that are not one. Custom and the versions' Data
// are parts of the record.
func decodeEntry(record []byte) (*entry, error) {
	d := decoder{rest: record}
	h := d.head()
	e := &entry{Current: h.current}
	e.CASRequired, e.Custom = h.cas, h.custom
	e.Oldest = d.uvarint()
	maxVersions, deleteAfter := d.uvarint(), d.uvarint()
	e.Created, e.Updated = d.time(), d.time()
	if maxVersions > math.MaxUint32 || deleteAfter > math.MaxInt64 {
		return nil, errRecord
	}
	e.MaxVersions, e.DeleteAfter = uint32(maxVersions), time.Duration(deleteAfter)
	actors := d.actors()
	e.UpdatedBy = d.attribution(actors)
	if h.format == formatPaged {
		e.Paged = d.uvarint()
	}
	e.Versions = d.versions(&h, actors)
	if d.failed || len(d.rest) > 0 || e.Oldest > e.Current || !e.pagesFit(h.format) {
		return nil, errRecord
	}
	return e, nil
}

// pagesFit reports whether the number of versions in pages can have been written.
func (e *entry) pagesFit(format byte) bool {
	return format == formatWhole ||
		e.Paged > 0 && e.Paged < e.recent() && len(e.Versions) > 0 && (e.recent()-1)%pageVersions == 0
}

// decoder takes a record apart. Once it has failed it returns zeros.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) head() head {
	format, flags := d.byte(), d.byte()
	if format != formatWhole && format != formatPaged || flags > hasLatest|isDestroyed|isInline|isCASRequired {
		d.failed = true
		return head{}
	}
	h := head{format: format, current: d.uvarint(), exists: flags&hasLatest != 0, cas: flags&isCASRequired != 0}
	if h.exists {
		h.latest = version{Created: d.time(), Deletion: d.time(), Destroyed: flags&isDestroyed != 0,
			Inline: flags&isInline != 0}
	}
	h.custom, h.latest.Data = d.bytes(), d.bytes()
	if h.exists != (h.current > 0) || !h.latest.plausible() ||
		h.latest.flags() != flags&(isDestroyed|isInline) {
		d.failed = true
	}
	return h
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.failed = true
		return 0
	}
	c := d.rest[0]
	d.rest = d.rest[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) varint() int64 {
	n, size := binary.Varint(d.rest)
	if size <= 0 {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.failed, d.rest = true, nil
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

// Times outside these are no times that encoding/json could write.
const (
	minSeconds = -62135596800 // the year 1
	maxSeconds = 253402300799 // the end of 9999
)

func (d *decoder) time() time.Time {
	seconds, nanoseconds := d.varint(), d.uvarint()
	if seconds < minSeconds || seconds > maxSeconds || nanoseconds >= uint64(time.Second) {
		d.failed = true
		return time.Time{}
	}
	if seconds == 0 && nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanoseconds)).UTC()
}

func (d *decoder) actors() []actor {
	n := d.uvarint()
	if n > uint64(len(d.rest))/3 { // each takes three bytes at least
		d.failed, d.rest = true, nil
		return nil
	}
	list := make([]actor, n)
	for i := range list {
		list[i] = actor{Name: string(d.bytes()), EntityID: string(d.bytes()), ClientID: string(d.bytes())}
	}
	return list
}

func (d *decoder) attribution(actors []actor) attribution {
	op := operation(d.byte())
	if op == opNone {
		return attribution{}
	}
	i := d.uvarint()
	if op >= opCount || i >= uint64(len(actors)) {
		d.failed = true
		return attribution{}
	}
	return attribution{Operation: op, actor: actors[i]}
}

func (d *decoder) versions(h *head, actors []actor) []version {
	n := d.uvarint()
	if n > uint64(len(d.rest))/3 || n > h.current || (n > 0) != h.exists { // flags and two attributions
		d.failed, d.rest = true, nil
		return nil
	}
	list := make([]version, n)
	for i := len(list) - 1; i >= 0; i-- {
		if i == len(list)-1 {
			list[i] = d.version(actors, &h.latest)
		} else {
			list[i] = d.version(actors, nil)
		}
	}
	return list
}

// version reads a version; of the latest one, what stands in the head of the record is handed in.
func (d *decoder) version(actors []actor, latest *version) version {
	var v version
	flags := d.byte()
	if latest != nil {
		v = *latest
	} else {
		v.Created, v.Deletion = d.time(), d.time()
		v.Destroyed, v.Inline = flags&isDestroyed != 0, flags&isInline != 0
	}
	v.CreatedBy, v.DeletedBy = d.attribution(actors), d.attribution(actors)
	if latest == nil && v.Inline {
		v.Data = d.bytes()
	}
	if flags != v.flags() || !v.plausible() {
		d.failed = true
	}
	return v
}
