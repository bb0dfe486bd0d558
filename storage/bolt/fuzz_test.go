package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"testing"

	"coffer/storage"
)

// FuzzOpenDamaged changes bytes of a database file, and its length. Opening it and reading all of it never panics, and
// never yields an empty store.
func FuzzOpenDamaged(f *testing.F) {
	base := smallFile(f)
	edit := func(edits ...uint32) (b []byte) {
		for _, e := range edits {
			b = binary.LittleEndian.AppendUint32(b, e)
		}
		return b
	}
	f.Add(edit(), uint32(0), false)
	f.Add(edit(), uint32(5000), false)
	// An edit is an offset and, in the upper byte, what the byte there is changed by.
	for _, at := range []uint32{pageHeader + 16, pageHeader + 40, pageHeader + 48, specimenPage + pageHeader + 17} {
		f.Add(edit(at|1<<24), uint32(0), true)
	}
	for page := uint32(2); page < 12; page++ {
		for _, at := range []uint32{0, 8, 10, 12, 16, 20, 24, 28, 40} {
			f.Add(edit(page*specimenPage+at|1<<24), uint32(0), false)
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, edits []byte, cut uint32, sealed bool) {
		file := bytes.Clone(base)
		for ; len(edits) >= 4; edits = edits[4:] {
			e := binary.LittleEndian.Uint32(edits)
			file[int(e&(1<<24-1))%len(file)] ^= byte(e >> 24)
		}
		for page := 0; sealed && page < 2; page++ { // a meta page whose checksum is right
			m := file[page*specimenPage+pageHeader:]
			sum := fnv.New64a()
			_, _ = sum.Write(m[:56])
			binary.NativeEndian.PutUint64(m[56:], sum.Sum64())
		}
		file = file[:len(file)-int(cut)%len(file)]
		path := filepath.Join(dir, fmt.Sprint(os.Getpid()))
		must(t, os.WriteFile(path, file, 0o600))
		s, err := Open(path, WithoutSync())
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("Open: %v; want ErrCorrupt", err)
			}
			return
		}
		names, err := s.List(t.Context(), "", "", 0)
		if err != nil && !errors.Is(err, ErrCorrupt) || err == nil && len(names) == 0 {
			t.Errorf("List: %d names, %v", len(names), err)
		}
		for _, name := range names {
			if _, err := s.Get(t.Context(), name); err != nil && !errors.Is(err, ErrCorrupt) &&
				!errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrInvalidKey) {
				t.Errorf("Get: %v", err)
			}
		}
		_ = s.Apply(t.Context(), storage.Put("new", []byte("value")))
		_ = s.Close()
		_ = os.Remove(MarkerPath(path))
	})
}

// smallFile is a database of a few pages with a branch.
func smallFile(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small")
	s, err := Open(path, WithoutSync(), func(s *settings) { s.bolt.PageSize, s.bolt.InitialMmapSize = specimenPage, 1 })
	must(t, err)
	for i := range 30 {
		must(t, s.Apply(t.Context(), storage.Put(fmt.Sprintf("k%d", i), bytes.Repeat([]byte("v"), 100*i))))
	}
	must(t, s.Close())
	file, err := os.ReadFile(path)
	must(t, err)
	return file
}
