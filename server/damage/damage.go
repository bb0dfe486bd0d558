// Package damage keeps account of what is stored and cannot be read: the server goes on without it, and operators are
// told. See DESIGN.md.
package damage

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// maxRecords bounds how many records are kept; of the others only the number is. It is far above what one sector takes
// with it, and a disk that loses more is replaced.
const maxRecords = 1000

// Indispensable is the kind of the records without which nothing is served: they cannot be given up.
const Indispensable = "indispensable"

// Description is what people call a key.
type Description struct {
	// Kind is one of a few words: it is the label of a metric.
	Kind string
	// Name says which of the kind; "" where nobody knows.
	Name string
}

// Record is one thing that cannot be read.
type Record struct {
	// ID names the record as long as it is there; it is made of where it lies.
	ID string
	Description
	// Damage says where it lies and what is wrong.
	storage.Damage
	// Found is when it was found in this session.
	Found time.Time
}

// Register is the account of one session. It implements barrier.Watcher, and is safe for concurrent use.
type Register struct {
	describe func(d storage.Damage) Description
	now      func() time.Time
	log      *slog.Logger
	any      atomic.Bool

	mu sync.Mutex
	// records are by id, and left counts those that found no room; mu guards both.
	records map[string]*Record
	left    int
}

// New returns an empty register. describe says what damage is about.
func New(log *slog.Logger, now func() time.Time, describe func(storage.Damage) Description) *Register {
	return &Register{describe: describe, now: now, log: log, records: make(map[string]*Record)}
}

// idOf is the id of what lies under a key, or of a name that is stored as told.
func idOf(key, stored string) string {
	sum := sha256.Sum256([]byte(key + "\x00" + stored))
	return hex.EncodeToString(sum[:8])
}

// Any reports whether there is anything in the register. It costs one atomic load.
func (r *Register) Any() bool { return r.any.Load() }

// Report implements storage.Reporter. What is new is logged once.
func (r *Register) Report(d storage.Damage) {
	id := idOf(d.Key, d.Stored)
	r.mu.Lock()
	if r.records[id] != nil {
		r.mu.Unlock()
		return
	}
	if len(r.records) >= maxRecords {
		r.left++
		first := r.left == 1
		r.mu.Unlock()
		if first {
			r.log.Error("more stored records cannot be read than are told apart", "kept", maxRecords)
		}
		return
	}
	d.Key, d.Stored = strings.Clone(d.Key), strings.Clone(d.Stored)
	record := &Record{ID: id, Description: r.describe(d), Damage: d, Found: r.now()}
	r.records[id] = record
	r.any.Store(true)
	r.mu.Unlock()
	text := "a stored record cannot be read and is set aside; what it granted is denied, and the rest is served. " +
		"Put a backup back, or give it up with DELETE sys/damaged/" + id
	if record.Kind == Indispensable {
		text = "a stored record cannot be read without which nothing is served: put a backup back"
	}
	r.log.Error(text, "kind", record.Kind, "name", engines.Cut(record.Name, engines.MaxMessage),
		"error", engines.Cut(d.Err.Error(), engines.MaxMessage))
}

// Replaced implements barrier.Watcher.
func (r *Register) Replaced(key string) { r.forget(idOf(key, "")) }

// Discarded implements barrier.Watcher.
func (r *Register) Discarded(stored string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, record := range r.records {
		if record.Stored == stored {
			r.forgetLocked(id)
		}
	}
}

// Forget takes a record out that is no damage any more.
func (r *Register) Forget(id string) { r.forget(id) }

func (r *Register) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(id)
}

func (r *Register) forgetLocked(id string) {
	delete(r.records, id)
	r.any.Store(len(r.records)+r.left > 0)
}

// Find returns the record with that id.
func (r *Register) Find(id string) (Record, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record := r.records[id]
	if record == nil {
		return Record{}, false
	}
	return *record, true
}

// Records returns what is in the register, by kind and name, and how many more there was no room for.
func (r *Register) Records() (records []Record, more int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.records {
		records = append(records, *record)
	}
	slices.SortFunc(records, func(a, b Record) int {
		if c := strings.Compare(a.Kind, b.Kind); c != 0 {
			return c
		}
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return records, r.left
}

// Count is how many records were found and not replaced, those without room included.
func (r *Register) Count() int {
	if !r.Any() {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.records) + r.left
}

// Kinds counts the records by their kind.
func (r *Register) Kinds() map[string]int {
	kinds := make(map[string]int)
	if !r.Any() {
		return kinds
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for record := range maps.Values(r.records) {
		kinds[record.Kind]++
	}
	return kinds
}
