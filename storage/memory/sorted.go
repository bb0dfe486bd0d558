package memory

import (
	"slices"
	"sort"
	"strings"
)

// maxChunk bounds a chunk, and so what an insertion has to move.
const maxChunk = 256

type entry struct {
	key   string
	value []byte
}

// sorted is an ordered map: chunks of entries in key order, none of them empty. It is a tree of two
// levels, which is enough up to some millions of keys.
type sorted struct {
	chunks [][]entry
}

// find returns where key is, or where it would be inserted: chunk c (len(chunks) when it is greater than
// every key), index i.
func (s *sorted) find(key string) (c, i int, found bool) {
	c = sort.Search(len(s.chunks), func(c int) bool {
		chunk := s.chunks[c]
		return chunk[len(chunk)-1].key >= key
	})
	if c == len(s.chunks) {
		return c, 0, false
	}
	i, found = slices.BinarySearchFunc(s.chunks[c], key, func(e entry, key string) int {
		return strings.Compare(e.key, key)
	})
	return c, i, found
}

func (s *sorted) get(key string) ([]byte, bool) {
	c, i, found := s.find(key)
	if !found {
		return nil, false
	}
	return s.chunks[c][i].value, true
}

func (s *sorted) set(key string, value []byte) {
	c, i, found := s.find(key)
	if found {
		s.chunks[c][i].value = value
		return
	}
	if c == len(s.chunks) {
		if c == 0 {
			s.chunks = append(s.chunks, []entry{{key, value}})
			return
		}
		c, i = c-1, len(s.chunks[c-1])
	}
	chunk := slices.Insert(s.chunks[c], i, entry{key, value})
	s.chunks[c] = chunk
	if len(chunk) > maxChunk {
		half := len(chunk) / 2
		right := append(make([]entry, 0, maxChunk), chunk[half:]...)
		clear(chunk[half:])
		s.chunks[c] = chunk[:half]
		s.chunks = slices.Insert(s.chunks, c+1, right)
	}
}

func (s *sorted) remove(key string) {
	c, i, found := s.find(key)
	if !found {
		return
	}
	if len(s.chunks[c]) == 1 {
		s.chunks = slices.Delete(s.chunks, c, c+1)
		return
	}
	s.chunks[c] = slices.Delete(s.chunks[c], i, i+1)
}

// cursor walks a sorted map; see listing.Cursor.
type cursor struct {
	keys *sorted
	c, i int
}

// Seek implements listing.Cursor.
func (c *cursor) Seek(from string) string {
	c.c, c.i, _ = c.keys.find(from)
	return c.key()
}

// Next implements listing.Cursor.
func (c *cursor) Next() string {
	c.i++
	if c.c < len(c.keys.chunks) && c.i == len(c.keys.chunks[c.c]) {
		c.c, c.i = c.c+1, 0
	}
	return c.key()
}

func (c *cursor) key() string {
	if c.c >= len(c.keys.chunks) {
		return ""
	}
	return c.keys.chunks[c.c][c.i].key
}
