package damage_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"coffer/server/damage"
	"coffer/storage"
)

func newRegister(log *bytes.Buffer) *damage.Register {
	return damage.New(slog.New(slog.NewTextHandler(log, nil)), time.Now, func(d storage.Damage) damage.Description {
		return damage.Description{Kind: "kind", Name: "name of " + d.Key}
	})
}

func TestRegister(t *testing.T) {
	var log bytes.Buffer
	r := newRegister(&log)
	if r.Any() || r.Count() != 0 {
		t.Error("an empty register is not empty")
	}
	for range 3 {
		r.Report(storage.Damage{Key: "k", Err: storage.ErrDamaged})
		r.Report(storage.Damage{Key: "f/", Stored: "barrier/f/a", Err: storage.ErrDamaged})
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 2 || r.Count() != 2 || r.Kinds()["kind"] != 2 {
		t.Errorf("%d lines, %d records; the log: %s", n, r.Count(), log.String())
	}
	records, more := r.Records()
	if len(records) != 2 || more != 0 || !strings.Contains(log.String(), records[0].ID) {
		t.Errorf("%v, %d", records, more)
	}
	if found, ok := r.Find(records[0].ID); !ok || found != records[0] {
		t.Errorf("%v, %v", found, ok)
	}
	r.Replaced("other")
	r.Replaced("k")
	r.Discarded("barrier/f/a")
	if r.Any() || r.Count() != 0 {
		t.Error("what was replaced is still there")
	}
	r.Report(storage.Damage{Key: "k", Err: storage.ErrDamaged})
	if !r.Any() {
		t.Error("damaged again, and nobody knows")
	}
}

// TestRegisterIsBounded reports more than is kept: the number is right, and the log is not filled.
func TestRegisterIsBounded(t *testing.T) {
	var log bytes.Buffer
	r := newRegister(&log)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 300 {
				r.Report(storage.Damage{Key: fmt.Sprint(i*300 + j), Err: storage.ErrDamaged})
			}
		})
	}
	all.Wait()
	records, more := r.Records()
	if len(records) != 1000 || more != 1400 || r.Count() != 2400 {
		t.Errorf("%d kept, %d more, %d in all", len(records), more, r.Count())
	}
	if n := strings.Count(log.String(), "\n"); n != 1001 {
		t.Errorf("%d lines", n)
	}
}
