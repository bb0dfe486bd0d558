package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// The record of a secret, in the order of its bytes. What a read of the latest version needs comes first.
//
//	format    1 byte, recordFormat
//	flags     1 byte: hasLatest, isDestroyed, isInline, isCASRequired
//	current   uvarint, number of the latest version
//	          of the latest version, when hasLatest: created and deletion time
//	custom    bytes, custom_metadata as a JSON object; empty for none
//	data      bytes, the latest version's data as JSON; empty unless isInline
//	settings  uvarint oldest version, uvarint max versions, uvarint delete-after in nanoseconds
//	created, updated time
//	actors    uvarint count, each three byte strings
//	updatedBy attribution
//	versions  uvarint count, newest first: flags (1 byte: isDestroyed, isInline), times, two attributions,
//	          data when isInline; of the first, whose times and data stand above, without these
//
// Bytes are a uvarint length and the content; a time is varint seconds since 1970 and uvarint nanoseconds,
// zero in both for none; an attribution is the byte of its operation and, unless that is 0, the uvarint
// index of its actor.
const recordFormat = 1

const (
	hasLatest byte = 1 << iota
	isDestroyed
	isInline
	isCASRequired
)

// errRecord is returned for bytes that are not a record.
var errRecord = errors.New("kv: damaged record")

// entry is a secret of version 2: its metadata, its history, and often the data of its latest version.
type entry struct {
	settings
	// Current is the number of the latest version; 0 when there is none.
	Current uint64
	// Oldest is the number of the oldest version left since some were removed; 0 before that.
	Oldest    uint64
	Created   time.Time
	Updated   time.Time
	UpdatedBy attribution
	// Versions are in the order of their numbers, which have no gaps; the last one is Current.
	Versions []version
}

// settings are what a client may change of a secret's metadata.
type settings struct {
	MaxVersions uint32
	CASRequired bool
	// DeleteAfter is the life of new versions; 0 for the configuration's.
	DeleteAfter time.Duration
	// Custom is custom_metadata as a JSON object of strings with sorted keys; empty for none.
	Custom []byte
}

// version is one version of a secret.
type version struct {
	Created time.Time
	// Deletion is when the version was or will be deleted; zero for never.
	Deletion  time.Time
	Destroyed bool
	CreatedBy attribution
	DeletedBy attribution
	// Data is the JSON that was written, when Inline; otherwise it has its own key, unless Destroyed.
	Data   []byte
	Inline bool
}

// attribution tells who did what; its zero value is nobody.
type attribution struct {
	Operation operation
	actor
}

type actor struct{ Name, EntityID, ClientID string }

// operation is what an attribution tells of. The numbers are part of the record.
type operation byte

const (
	opNone operation = iota
	opCreate
	opUpdate
	opPatch
	opDelete
	opUndelete
	opUpgrade
	opCount
)

func (o operation) String() string {
	return [...]string{"", "create", "update", "patch", "delete", "undelete", "upgrade"}[o]
}

// first is the number of the oldest version in Versions.
func (e *entry) first() uint64 { return e.Current - uint64(len(e.Versions)) + 1 }

// version returns the version of that number, or nil.
func (e *entry) version(n uint64) *version {
	if len(e.Versions) == 0 || n < e.first() || n > e.Current {
		return nil
	}
	return &e.Versions[n-e.first()]
}

// encode returns the record.
func (e *entry) encode() []byte {
	size := 128 + len(e.Custom) + 32*len(e.Versions)
	for i := range e.Versions {
		size += len(e.Versions[i].Data)
	}
	b := make([]byte, 2, size)
	b[0] = recordFormat
	b[1] = flag(e.CASRequired, isCASRequired)
	b = binary.AppendUvarint(b, e.Current)
	var data []byte
	if n := len(e.Versions); n > 0 {
		latest := &e.Versions[n-1]
		b[1] |= hasLatest | latest.flags()
		b = appendTime(b, latest.Created)
		b = appendTime(b, latest.Deletion)
		data = latest.Data
	}
	b = appendBytes(b, e.Custom)
	b = appendBytes(b, data)
	b = binary.AppendUvarint(b, e.Oldest)
	b = binary.AppendUvarint(b, uint64(e.MaxVersions))
	b = binary.AppendUvarint(b, uint64(max(e.DeleteAfter, 0)))
	b = appendTime(b, e.Created)
	b = appendTime(b, e.Updated)
	actors := e.actors()
	b = binary.AppendUvarint(b, uint64(len(actors.list)))
	for _, a := range actors.list {
		b = appendBytes(b, []byte(a.Name))
		b = appendBytes(b, []byte(a.EntityID))
		b = appendBytes(b, []byte(a.ClientID))
	}
	b = actors.append(b, e.UpdatedBy)
	b = binary.AppendUvarint(b, uint64(len(e.Versions)))
	for i := len(e.Versions) - 1; i >= 0; i-- {
		v := &e.Versions[i]
		older := i < len(e.Versions)-1
		b = append(b, v.flags())
		if older {
			b = appendTime(b, v.Created)
			b = appendTime(b, v.Deletion)
		}
		b = actors.append(b, v.CreatedBy)
		b = actors.append(b, v.DeletedBy)
		if older && v.Inline {
			b = appendBytes(b, v.Data)
		}
	}
	return b
}

func (v *version) flags() byte { return flag(v.Destroyed, isDestroyed) | flag(v.Inline, isInline) }

func flag(set bool, f byte) byte {
	if set {
		return f
	}
	return 0
}

func appendBytes[T ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0, 0)
	}
	nanos := uint64(t.Nanosecond()) //nolint:gosec // below a billion
	return binary.AppendUvarint(binary.AppendVarint(b, t.Unix()), nanos)
}

// actorTable numbers the actors of a record, so that each is stored once.
type actorTable struct {
	list  []actor
	index map[actor]uint64
}

func (e *entry) actors() *actorTable {
	t := &actorTable{index: make(map[actor]uint64)}
	t.add(e.UpdatedBy)
	for i := range e.Versions {
		t.add(e.Versions[i].CreatedBy)
		t.add(e.Versions[i].DeletedBy)
	}
	return t
}

func (t *actorTable) add(a attribution) {
	if a.Operation == opNone {
		return
	}
	if _, known := t.index[a.actor]; !known {
		t.index[a.actor] = uint64(len(t.list))
		t.list = append(t.list, a.actor)
	}
}

func (t *actorTable) append(b []byte, a attribution) []byte {
	b = append(b, byte(a.Operation))
	if a.Operation == opNone {
		return b
	}
	return binary.AppendUvarint(b, t.index[a.actor])
}

// head is what a read of the latest version needs of a record. Its slices are parts of the record.
type head struct {
	current uint64
	latest  version // without attributions
	exists  bool    // there is a version
	cas     bool
	custom  []byte
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
	e.Versions = d.versions(&h, actors)
	if d.failed || len(d.rest) > 0 || e.Oldest > e.Current {
		return nil, errRecord
	}
	return e, nil
}

// decoder takes a record apart. Once it has failed it returns zeros.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) head() head {
	format, flags := d.byte(), d.byte()
	if format != recordFormat || flags > hasLatest|isDestroyed|isInline|isCASRequired {
		d.failed = true
		return head{}
	}
	h := head{current: d.uvarint(), exists: flags&hasLatest != 0, cas: flags&isCASRequired != 0}
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
		v := &list[i]
		flags, older := d.byte(), i < len(list)-1
		if older {
			v.Created, v.Deletion = d.time(), d.time()
			v.Destroyed, v.Inline = flags&isDestroyed != 0, flags&isInline != 0
		} else {
			*v = h.latest
		}
		v.CreatedBy, v.DeletedBy = d.attribution(actors), d.attribution(actors)
		if older && v.Inline {
			v.Data = d.bytes()
		}
		if flags != v.flags() || !v.plausible() {
			d.failed = true
		}
	}
	return list
}

// plausible reports whether the version can have been written: what is destroyed has no data, nor has what
// is not inline.
func (v *version) plausible() bool {
	return (!v.Inline || !v.Destroyed) && (v.Inline || len(v.Data) == 0)
}

// damaged names the key of bytes that could not be decoded.
func damaged(key string) error { return fmt.Errorf("%w: %s", errRecord, key) }
