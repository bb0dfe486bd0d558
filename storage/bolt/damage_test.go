package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bbolt "go.etcd.io/bbolt"

	"coffer/storage"
)

// specimen is a database file with some hundred pages, and what it holds; before is what it held before its last commit.
type specimen struct {
	file         []byte
	data, before map[string]string
}

const specimenPage = 4096

// newSpecimen makes a file with branches, leaves, pages that are continued, and free pages.
func newSpecimen(t testing.TB) specimen {
	t.Helper()
	path := filepath.Join(t.TempDir(), "specimen")
	s, err := Open(path, WithoutSync(), func(s *settings) { s.bolt.PageSize = specimenPage })
	if err != nil {
		t.Fatal(err)
	}
	data := map[string]string{}
	var batch []storage.Op
	for i := range 600 {
		key, value := fmt.Sprintf("k/%x", uint32(i)*2654435761), strings.Repeat("v", i)
		if i%100 == 0 {
			value = strings.Repeat("large", 3000)
		}
		data[key] = value
		batch = append(batch, storage.Put(key, []byte(value)))
	}
	if err := s.Apply(t.Context(), batch...); err != nil {
		t.Fatal(err)
	}
	batch = nil
	for key := range data {
		if len(batch) < 100 {
			delete(data, key)
			batch = append(batch, storage.Delete(key))
		}
	}
	if err := s.Apply(t.Context(), batch...); err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(data)
	data["last"] = "change"
	if err := errors.Join(s.Apply(t.Context(), storage.Put("last", []byte("change"))), s.Close()); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return specimen{file, data, before}
}

// contents reads everything from an open store.
func contents(t testing.TB, s *Store) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := s.view(func(b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			got[string(k)] = string(v)
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
	return got
}

// opened writes the file to disk and opens it. It returns what it holds, or the error.
func opened(t testing.TB, file []byte, options ...Option) (map[string]string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	must(t, os.WriteFile(path, file, 0o600), os.WriteFile(MarkerPath(path), nil, 0o600))
	s, err := Open(path, append(options, WithoutSync())...)
	if err != nil {
		return nil, err
	}
	got := contents(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return got, nil
}

// outcome opens a damaged file: either a *DamageError says so in one line, or all is there.
func (sp specimen) outcome(t *testing.T, what string, file []byte) (refused bool) {
	t.Helper()
	got, err := opened(t, file)
	var damage *DamageError
	switch {
	case errors.As(err, &damage):
		if text := err.Error(); strings.Contains(text, "\n") || damage.Lost == "" || damage.Remedy == "" {
			t.Errorf("%s: %q", what, text)
		}
		return true
	case err != nil:
		t.Errorf("%s: %v; want a *DamageError", what, err)
	case !maps.EqualFunc(got, sp.data, func(a, b string) bool {
		// A page in the middle of a large value has no header. What changes in values the barrier notices.
		return a == b || len(a) == len(b) && len(a) > 2*specimenPage
	}):
		t.Errorf("%s: opened with %d of %d values", what, len(got), len(sp.data))
	}
	return false
}

func TestEveryPageHeaderIsChecked(t *testing.T) {
	sp := newSpecimen(t)
	refused, pages := 0, len(sp.file)/specimenPage
	for id := 2; id < pages; id++ {
		at, accepted := id*specimenPage, false
		for name, change := range map[string]func(header []byte){
			"number":   func(h []byte) { h[0] ^= 1 },
			"kind":     func(h []byte) { h[8] ^= 3 }, // a branch becomes a leaf, a leaf a branch
			"no kind":  func(h []byte) { h[9] ^= 0x80 },
			"count":    func(h []byte) { binary.NativeEndian.PutUint16(h[10:], binary.NativeEndian.Uint16(h[10:])+1) },
			"less":     func(h []byte) { h[10] &= h[10] - 1 },
			"none":     func(h []byte) { clear(h[10:12]) },
			"overflow": func(h []byte) { h[12]++ },
			"far":      func(h []byte) { h[15] ^= 0x80 },
			"zeroes":   func(h []byte) { clear(h) },
			"ones":     func(h []byte) { copy(h, bytes.Repeat([]byte{0xFF}, 16)) },
		} {
			file := bytes.Clone(sp.file)
			change(file[at : at+pageHeader])
			if bytes.Equal(file, sp.file) {
				continue
			}
			if _, err := examine(bytes.NewReader(file), int64(len(file))); err != nil {
				refused++ // Open calls it
				continue
			}
			// The page is free, or in the middle of a value: opening it once is enough.
			if !accepted && sp.outcome(t, fmt.Sprintf("page %d, %s", id, name), file) {
				refused++
			}
			accepted = true
		}
	}
	if refused < pages {
		t.Errorf("only %d damages were noticed in %d pages", refused, pages)
	}
}

func TestEveryTruncationIsNoticed(t *testing.T) {
	sp := newSpecimen(t)
	for size := int64(0); size < int64(len(sp.file)); size += specimenPage {
		for _, size := range []int64{size, size + 100, size + specimenPage - 1} {
			_, err := examine(bytes.NewReader(sp.file[:size]), size)
			if err != nil && size%(16*specimenPage) != 0 {
				continue // Open calls it
			}
			if !sp.outcome(t, fmt.Sprintf("%d bytes", size), sp.file[:size]) {
				m, _, _, _ := readMetas(bytes.NewReader(sp.file), int64(len(sp.file)))
				if size < int64(m.pages)*specimenPage {
					t.Errorf("%d bytes of %d pages were opened", size, m.pages)
				}
			}
		}
	}
}

// TestDamagedMetaIsReported damages each byte of both meta pages in turn, swaps them, and clears them.
func TestDamagedMetaIsReported(t *testing.T) {
	sp := newSpecimen(t)
	newest, _, _, err := readMetas(bytes.NewReader(sp.file), int64(len(sp.file)))
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, want map[string]string, say string, damage func(file []byte)) {
		t.Helper()
		file := bytes.Clone(sp.file)
		damage(file)
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, say := range []string{say, ""} { // it is mended by the first start
			var log bytes.Buffer
			s, err := Open(path, WithoutSync(), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			if err != nil {
				t.Errorf("%s: %v", what, err)
				return
			}
			if got := contents(t, s); !maps.Equal(got, want) {
				t.Errorf("%s: %d values, want %d", what, len(got), len(want))
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if text := log.String(); !strings.Contains(text, say) || say == "" && text != "" {
				t.Errorf("%s: the log says %q, want %q", what, text, say)
			}
		}
	}
	for i := range metaLength - pageHeader {
		at := pageHeader + i
		lost, kept := fmt.Sprintf("commit %d is lost", newest.txid), "nothing is lost"
		if i >= 48 && i < 56 { // it cannot be read any more which commit it is of
			lost, kept = "is damaged", "is damaged"
		}
		try(fmt.Sprintf("newer meta, byte %d", i), sp.before, lost, func(f []byte) { f[newest.page*specimenPage+at] ^= 0x10 })
		try(fmt.Sprintf("older meta, byte %d", i), sp.data, kept, func(f []byte) { f[(1-newest.page)*specimenPage+at] ^= 0x10 })
	}
	try("newer meta cleared", sp.before, "may be lost", func(f []byte) { clear(f[newest.page*specimenPage:][:specimenPage]) })
	try("swapped", sp.data, "do not follow", func(f []byte) {
		first := bytes.Clone(f[:specimenPage])
		copy(f, f[specimenPage:2*specimenPage])
		copy(f[specimenPage:], first)
	})
	sp.outcome(t, "both cleared", append(make([]byte, 2*specimenPage), sp.file[2*specimenPage:]...))
}

func TestSeveralPageSizes(t *testing.T) {
	for size := minPageSize; size <= 64<<10; size *= 2 {
		path := filepath.Join(t.TempDir(), "db")
		s, err := Open(path, WithoutSync(), func(s *settings) { s.bolt.PageSize = size })
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Apply(t.Context(), storage.Put("k", make([]byte, 3000))), s.Close()); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m, _, _, err := readMetas(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		clear(file[(1-m.page)*size:][:metaLength])
		if got, err := opened(t, file); err != nil || len(got) != 1 {
			t.Errorf("page size %d: %v, %v", size, got, err)
		}
	}
}

// TestHealthyFilesPass checks the file after each of many random commits.
func TestHealthyFilesPass(t *testing.T) {
	const seed = 7
	random := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), "db")
	s, err := Open(path, WithoutSync())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for round := range 150 {
		var batch []storage.Op
		for range random.IntN(200) {
			key := fmt.Sprintf("%x/%x", random.IntN(8), random.IntN(3000))
			switch op := random.IntN(20); {
			case op == 0:
				batch = append(batch, storage.Put(key, make([]byte, random.IntN(100_000))))
			case op < 10:
				batch = append(batch, storage.Put(key+strings.Repeat("x", random.IntN(1500)), make([]byte, random.IntN(500))))
			default:
				batch = append(batch, storage.Delete(key))
			}
		}
		if err := s.Apply(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
		if report, err := Check(path); err != nil || report.Doubt != "" {
			t.Fatalf("round %d: %+v, %v", round, report, err)
		}
	}
}

// TestFilesWithAFreelist: other versions of coffer and bbolt's own tools leave the list of free pages in the file.
func TestFilesWithAFreelist(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(bucketName))
			if err != nil {
				return err
			}
			return b.Put(fmt.Appendf(nil, "k%d", i), make([]byte, 9000*i%20_000))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := opened(t, file); err != nil || len(got) != 20 {
		t.Errorf("%d values, %v", len(got), err)
	}
	m, pageSize, _, err := readMetas(bytes.NewReader(file), int64(len(file)))
	if err != nil || m.freelist == noFreelist {
		t.Fatal(m, err)
	}
	for name, value := range map[string]uint64{"root": m.root, "far": m.pages, "meta": 1, "huge": 1 << 62} {
		damaged := bytes.Clone(file)
		binary.NativeEndian.PutUint64(damaged[int64(m.freelist)*pageSize+pageHeader:], value)
		if _, err := opened(t, damaged); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s in the list: %v", name, err)
		}
	}
}
