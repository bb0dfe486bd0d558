package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"coffer/engines"
	"coffer/engines/kv"
	"coffer/server/mounts"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// TestAWriteWhoseOutcomeIsOpen is answered with 503, as is everything until the outcome is known; then readers see it.
func TestAWriteWhoseOutcomeIsOpen(t *testing.T) {
	for form, last := range map[storagetest.Form]string{storagetest.WrittenLater: "2", storagetest.DroppedLater: "1"} {
		faulty := storagetest.NewFaulty(memory.New())
		h := newHouseOver(t, map[mounts.Kind]map[string]engines.Factory{mounts.Secret: {"kv": kv.Factory}}, faulty)
		h.must(t, "PUT", "/v1/secret/data/x", `{"data":{"n":"1"}}`)
		faulty.Fail(storagetest.Apply, 1, form)
		w := h.send(t, "PUT", "/v1/secret/data/x", h.root, `{"data":{"n":"2"}}`)
		answers := 0
		for ; w.Code == http.StatusServiceUnavailable; answers++ {
			if !strings.Contains(w.Body.String(), "not known yet") {
				t.Errorf("%s: %s", form, w.Body)
			}
			w = h.send(t, "GET", "/v1/secret/data/x", h.root, "")
		}
		if answers < 2 || w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"n":"`+last+`"`) {
			t.Errorf("%s: after %d refusals %d %s, want %s", form, answers, w.Code, w.Body, last)
		}
	}
}

// follower is the storage of a node that was the leader until lost is set.
type follower struct {
	storage.Storage
	lost bool
}

// Apply implements storage.Storage.
func (f *follower) Apply(ctx context.Context, batch ...storage.Op) error {
	if f.lost {
		return storage.ErrNotLeader
	}
	return f.Storage.Apply(ctx, batch...)
}

// TestANodeThatIsNotTheLeader reads, and writes nothing.
func TestANodeThatIsNotTheLeader(t *testing.T) {
	store := &follower{Storage: memory.New()}
	h := newHouseOver(t, map[mounts.Kind]map[string]engines.Factory{mounts.Secret: {"kv": kv.Factory}}, store)
	h.must(t, "PUT", "/v1/secret/data/x", `{"data":{"n":"1"}}`)
	store.lost = true
	w := h.send(t, "PUT", "/v1/secret/data/x", h.root, `{"data":{"n":"2"}}`)
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "not the active one") {
		t.Errorf("write: %d %s", w.Code, w.Body)
	}
	if w := h.must(t, "GET", "/v1/secret/data/x", ""); !strings.Contains(w.Body.String(), `"n":"1"`) {
		t.Errorf("read: %s", w.Body)
	}
}
