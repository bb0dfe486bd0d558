package kv

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// full is a secret with everything in it: versions in the record, elsewhere, destroyed and deleted.
func full() *entry {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 1, 2, 3, 4, time.UTC) }
	alice := attribution{Operation: opCreate, actor: actor{Name: "token-alice", ClientID: "c"}}
	bob := attribution{Operation: opDelete, actor: actor{Name: "bob", EntityID: "e", ClientID: "e"}}
	return &entry{
		settings: settings{MaxVersions: 5, CASRequired: true, DeleteAfter: time.Hour, Custom: []byte(`{"a":"b"}`)},
		Current:  9, Oldest: 6, Created: day(1), Updated: day(9), UpdatedBy: bob,
		Versions: []version{
			{Created: day(6), Destroyed: true},
			{Created: day(7), CreatedBy: alice},
			{Created: day(8), Deletion: day(10), CreatedBy: alice, DeletedBy: bob, Data: []byte(`{"v":8}`), Inline: true},
			{Created: day(9), CreatedBy: bob, Data: []byte(`{"v":9}`), Inline: true},
		},
	}
}

func TestRecordKeepsEverything(t *testing.T) {
	for name, e := range map[string]*entry{"full": full(), "metadata alone": {Created: time.Unix(1, 0).UTC()}} {
		got, err := decodeEntry(e.encode())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all := cmp.AllowUnexported(entry{}, settings{}, version{}, attribution{}, actor{})
		if diff := cmp.Diff(e, got, all, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func TestDamagedRecordIsAnError(t *testing.T) {
	record := full().encode()
	for n := range record {
		if _, err := decodeEntry(record[:n]); !errors.Is(err, errRecord) {
			t.Errorf("the first %d bytes: %v, want errRecord", n, err)
		}
	}
	if _, err := decodeEntry(append(record, 0)); !errors.Is(err, errRecord) {
		t.Errorf("one byte more: %v, want errRecord", err)
	}
}

// Any bytes are a record or an error, and a record says the same when it is written again.
func FuzzRecord(f *testing.F) {
	f.Add(full().encode())
	f.Add((&entry{}).encode())
	f.Add([]byte{recordFormat, hasLatest | isDestroyed | isInline, 1})
	f.Fuzz(func(t *testing.T, record []byte) {
		_, headErr := decodeHead(record)
		e, err := decodeEntry(record)
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Fatalf("error %v is not errRecord", err)
			}
			return
		}
		if headErr != nil {
			t.Fatal("the head of a good record was refused")
		}
		again, err := decodeEntry(e.encode())
		if err != nil || !bytes.Equal(again.encode(), e.encode()) {
			t.Errorf("written again the record differs (%v)", err)
		}
	})
}
