package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The record of a secret, in the order of its bytes. What a read of the latest version needs comes first.
//
//	format    1 byte: formatWhole, or formatPaged when older versions are in pages
//	flags     1 byte: hasLatest, isDestroyed, isInline, isCASRequired
//	current   uvarint, number of the latest version
//	          of the latest version, when hasLatest: created and deletion time
//	custom    bytes, custom_metadata as a JSON object; empty for none
//	data      bytes, the latest version's data as JSON; empty unless isInline
//	settings  uvarint oldest version, uvarint max versions, uvarint delete-after in nanoseconds
//	created, updated time
//	actors    uvarint count, each three byte strings
//	updatedBy attribution
//	paged     uvarint, how many versions are in pages; only in formatPaged
//	versions  uvarint count, newest first: flags (1 byte: isDestroyed, isInline), times, two attributions,
//	          data when isInline; of the first, whose times and data stand above, without these
//
// Bytes are a uvarint length and the content; a time is varint seconds since 1970 and uvarint nanoseconds,
// zero in both for none; an attribution is the byte of its operation and, unless that is 0, the uvarint
// index of its actor.
//
// Coffers that know no pages wrote formatWhole for any number of versions, and refuse formatPaged as damaged. The next
// write of such a secret makes pages of its older versions.
const (
	formatWhole = 1
	formatPaged = 2
)

const (
	hasLatest byte = 1 << iota
	isDestroyed
	isInline
	isCASRequired
)

// errRecord is returned for bytes that are not a record.
var errRecord = errors.New("kv: damaged record")

// errLater is returned for a record whose format is not known here.
var errLater = errors.New("kv: the record was written by a later coffer")

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
	// Paged is how many versions are in pages: those before Versions.
	Paged uint64
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

// recent is the number of the oldest version in Versions.
func (e *entry) recent() uint64 { return e.Current - uint64(len(e.Versions)) + 1 }

// first is the number of the oldest version, in a page or in Versions.
func (e *entry) first() uint64 { return e.recent() - e.Paged }

// count is how many versions there are.
func (e *entry) count() uint64 { return e.Paged + uint64(len(e.Versions)) }

// paged reports whether the version of that number is in a page.
func (e *entry) paged(n uint64) bool { return e.first() <= n && n < e.recent() }

// version returns the version of that number when it is in the record, or nil.
func (e *entry) version(n uint64) *version {
	if len(e.Versions) == 0 || n < e.recent() || n > e.Current {
		return nil
	}
	return &e.Versions[n-e.recent()]
}

// encode returns the record.
func (e *entry) encode() []byte {
	size := 128 + len(e.Custom) + 32*len(e.Versions)
	for i := range e.Versions {
		size += len(e.Versions[i].Data)
	}
	b := make([]byte, 2, size)
	b[0] = formatWhole
	if e.Paged > 0 {
		b[0] = formatPaged
	}
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
	var actors actorTable
	actors.add(e.UpdatedBy)
	actors.addVersions(e.Versions)
	b = actors.appendTo(b)
	b = actors.append(b, e.UpdatedBy)
	if e.Paged > 0 {
		b = binary.AppendUvarint(b, e.Paged)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Versions)))
	for i := len(e.Versions) - 1; i >= 0; i-- {
		b = actors.appendVersion(b, &e.Versions[i], i < len(e.Versions)-1)
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

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0, 0)
	}
	nanos := uint64(t.Nanosecond()) //nolint:gosec // below a billion
	return binary.AppendUvarint(binary.AppendVarint(b, t.Unix()), nanos)
}

// actorTable numbers the actors of a record, so that each is stored once. Its zero value is ready for use.
type actorTable struct {
	list  []actor
	index map[actor]uint64
}

func (t *actorTable) add(a attribution) {
	if a.Operation == opNone {
		return
	}
	if _, known := t.index[a.actor]; known {
		return
	}
	if t.index == nil {
		t.index = make(map[actor]uint64)
	}
	t.index[a.actor] = uint64(len(t.list))
	t.list = append(t.list, a.actor)
}

func (t *actorTable) addVersions(versions []version) {
	for i := range versions {
		t.add(versions[i].CreatedBy)
		t.add(versions[i].DeletedBy)
	}
}

// appendTo appends the table itself.
func (t *actorTable) appendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(t.list)))
	for _, a := range t.list {
		b = appendBytes(b, a.Name)
		b = appendBytes(b, a.EntityID)
		b = appendBytes(b, a.ClientID)
	}
	return b
}

func (t *actorTable) append(b []byte, a attribution) []byte {
	b = append(b, byte(a.Operation))
	if a.Operation == opNone {
		return b
	}
	return binary.AppendUvarint(b, t.index[a.actor])
}

// appendVersion appends a version; without the times and the data unless it is older than the latest.
func (t *actorTable) appendVersion(b []byte, v *version, older bool) []byte {
	b = append(b, v.flags())
	if older {
		b = appendTime(b, v.Created)
		b = appendTime(b, v.Deletion)
	}
	b = t.append(b, v.CreatedBy)
	b = t.append(b, v.DeletedBy)
	if older && v.Inline {
		b = appendBytes(b, v.Data)
	}
	return b
}

// plausible reports whether the version can have been written: what is destroyed has no data, nor has what
// is not inline.
func (v *version) plausible() bool {
	return (!v.Inline || !v.Destroyed) && (v.Inline || len(v.Data) == 0)
}

// damaged names the key of bytes that could not be decoded.
func damaged(key string) error { return fmt.Errorf("%w: %s", errRecord, key) }

// unreadable is the error for a record that could not be decoded, where formats up to known are.
func unreadable(key string, record []byte, known byte) error {
	if len(record) > 0 && record[0] > known {
		return fmt.Errorf("%w: %s", errLater, key)
	}
	return damaged(key)
}
