package kv

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"coffer/storage/memory"
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

// aPage is a page with everything in it.
func aPage() *page { return &page{number: 3, versions: full().Versions} }

// TestPagedRecord keeps how many versions are in pages, and refuses numbers that cannot be.
func TestPagedRecord(t *testing.T) {
	e := full()
	e.Current, e.Paged = 36, 20
	got, err := decodeEntry(e.encode())
	if err != nil || got.Paged != 20 || got.first() != 13 || got.recent() != 33 || got.count() != 24 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, change := range map[string]func(*entry){
		"more than there were": func(e *entry) { e.Paged = 33 }, "a page cut in two": func(e *entry) { e.Current = 37 },
		"no version left": func(e *entry) { e.Versions = nil },
	} {
		bad := *e
		change(&bad)
		if _, err := decodeEntry(bad.encode()); !errors.Is(err, errRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWholeRecordIsDivided writes to a secret of the form that kept all versions in its record.
func TestWholeRecordIsDivided(t *testing.T) {
	e := &entry{Current: 100, Oldest: 21}
	for range 80 {
		e.Versions = append(e.Versions, version{Created: time.Unix(1, 0).UTC(), Data: []byte("1"), Inline: true})
	}
	e, err := decodeEntry(e.encode())
	if err != nil {
		t.Fatal(err)
	}
	c := &change{storage: memory.New(), name: "a", entry: e}
	if err := c.addVersion(t.Context(), []byte("2"), version{Created: time.Unix(2, 0).UTC()}, 79); err != nil {
		t.Fatal(err)
	}
	if err := c.commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.first() != 23 || e.recent() != 81 || e.Oldest != 23 || len(e.Versions) != 21 {
		t.Errorf("versions from %d, in the record from %d, %d there, the oldest is %d",
			e.first(), e.recent(), len(e.Versions), e.Oldest)
	}
	for n := uint64(23); n <= 101; n++ {
		if v, err := c.version(t.Context(), n); err != nil || v == nil || string(v.Data) == "" {
			t.Errorf("version %d: %+v, %v", n, v, err)
		}
	}
}

func FuzzPage(f *testing.F) {
	f.Add(aPage().encode())
	f.Add([]byte{pageFormat, 0, 1, isInline, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, record []byte) {
		p, err := decodePage(3, record)
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Fatalf("error %v is not errRecord", err)
			}
			return
		}
		for n := range uint64(70) {
			if v := p.version(n); (v != nil) != (n <= 64 && n > 64-uint64(len(p.versions))) {
				t.Fatalf("version %d of a page of %d: %v", n, len(p.versions), v)
			}
		}
		again, err := decodePage(3, p.encode())
		if err != nil || !bytes.Equal(again.encode(), p.encode()) {
			t.Errorf("written again the page differs (%v)", err)
		}
	})
}

// TestSizeOfVersions holds the size that an answer is charged against its JSON.
func TestSizeOfVersions(t *testing.T) {
	versions := full().Versions
	for i := range versions {
		versions[i].CreatedBy = attribution{Operation: opUndelete, actor: actor{Name: "<\x00é", EntityID: "e", ClientID: "\n"}}
		versions[i].DeletedBy = versions[i].CreatedBy
		versions[i].Deletion = time.Date(2026, 10, 10, 10, 10, 10, 123456789, time.UTC)
		versions[i].Created = versions[i].Deletion
		size, text := sizeOfVersions(versions[i:i+1]), appendVersions(nil, 1<<62, versions[i:i+1])
		if len(text) > size || size > len(text)+64 {
			t.Errorf("charged %d for %d: %s", size, len(text), text)
		}
	}
}

// Any bytes are a record or an error, and a record says the same when it is written again.
func FuzzRecord(f *testing.F) {
	f.Add(full().encode())
	f.Add((&entry{}).encode())
	paged := full()
	paged.Current, paged.Paged = 36, 20
	f.Add(paged.encode())
	f.Add([]byte{formatWhole, hasLatest | isDestroyed | isInline, 1})
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
