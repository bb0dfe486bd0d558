package inflight_test

import (
	"slices"
	"strconv"
	"sync"
	"testing"

	"coffer/server/inflight"
)

func ids(b *inflight.Board) []string {
	var list []string
	for _, r := range b.Requests() {
		list = append(list, r.ID)
	}
	slices.Sort(list)
	return list
}

// Whoever entered is there until he leaves, whatever the order.
func TestBoard(t *testing.T) {
	var b inflight.Board
	entries := make([]inflight.Entry, 64)
	for i := range entries {
		entries[i].ID = strconv.Itoa(100 + i)
		b.Enter(&entries[i])
	}
	if got := ids(&b); len(got) != len(entries) || got[0] != "100" || got[63] != "163" {
		t.Fatalf("on the board: %v", got)
	}
	for i := range entries {
		if i%3 != 0 {
			entries[i].Leave()
		}
	}
	want := 0
	for i, id := range ids(&b) {
		if id != strconv.Itoa(100+3*i) {
			t.Errorf("left over: %s at %d", id, i)
		}
		want++
	}
	if want != 22 {
		t.Errorf("%d are left over", want)
	}
	for i := range entries {
		if i%3 == 0 {
			entries[i].Leave()
		}
	}
	if got := b.Requests(); got != nil {
		t.Errorf("still there: %v", got)
	}
}

func TestManyAtOnce(t *testing.T) {
	var b inflight.Board
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 2000 {
				e := &inflight.Entry{Request: inflight.Request{ID: "x"}}
				b.Enter(e)
				if len(b.Requests()) == 0 {
					t.Error("nobody is there")
				}
				e.Leave()
			}
		})
	}
	all.Wait()
	if got := b.Requests(); got != nil {
		t.Errorf("still there: %v", got)
	}
}

func BenchmarkEnterAndLeave(b *testing.B) {
	var board inflight.Board
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		var e inflight.Entry
		for p.Next() {
			board.Enter(&e)
			e.Leave()
		}
	})
}
