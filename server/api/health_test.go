package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"coffer/engines"
	"coffer/engines/kv"
	"coffer/server/api"
	"coffer/server/core"
	"coffer/server/mounts"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// TestAStoreThatDoesNotWriteIsTold by health with a status of its own, and by seal-status.
func TestAStoreThatDoesNotWriteIsTold(t *testing.T) {
	var trouble error
	faulty := storagetest.NewFaulty(memory.New())
	c := core.New(core.Config{
		Storage: faulty, Trouble: func() error { return trouble },
		Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Types:    map[mounts.Kind]map[string]engines.Factory{mounts.Secret: {"kv": kv.Factory}},
		Settings: core.Settings{DefaultLeaseTTL: time.Hour, MaxLeaseTTL: time.Hour, LogLevel: new(slog.LevelVar)},
	})
	if _, _, err := c.InitDev(t.Context(), engines.Token{}, 2); err != nil {
		t.Fatal(err)
	}
	handler := api.New(api.Config{Core: c, Logger: slog.New(slog.DiscardHandler), MaxRequestDuration: time.Minute})
	get := func(method, path string) (int, map[string]any) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/v1/sys/"+path, http.NoBody))
		var answer map[string]any
		_ = json.Unmarshal(w.Body.Bytes(), &answer)
		return w.Code, answer
	}
	full := errors.New("the disk is full")
	for _, test := range []struct {
		trouble      error
		sealed       bool
		method, path string
		status       int
		text         any
	}{
		{nil, false, "GET", "health", 200, nil},
		{nil, false, "GET", "seal-status", 200, nil},
		{full, false, "GET", "health", 500, "the disk is full"},
		{full, false, "HEAD", "health", 500, nil},
		{full, false, "GET", "health?unwritablecode=299", 299, "the disk is full"},
		{full, false, "GET", "health?unwritablecode=x", 400, nil},
		{full, false, "GET", "seal-status", 200, "the disk is full"},
		{full, true, "GET", "health", 503, "the disk is full"},
		{nil, true, "GET", "health", 503, nil},
	} {
		trouble = test.trouble
		if test.sealed {
			if err := c.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		status, answer := get(test.method, test.path)
		if status != test.status || answer["storage_error"] != test.text {
			t.Errorf("%+v: %d %v", test, status, answer)
		}
	}
	// A store that cannot be read either says why, and not that nothing is in it.
	trouble = errors.New("the file is damaged")
	faulty.FailEvery(storagetest.Get, storagetest.NotWritten)
	status, answer := get("GET", "health")
	if status != 503 || answer["initialized"] != true || answer["storage_error"] != "the file is damaged" {
		t.Errorf("health: %d %v", status, answer)
	}
	if status, answer = get("GET", "seal-status"); status != 500 || !strings.Contains(fmt.Sprint(answer), "the file is damaged") {
		t.Errorf("seal-status: %d %v", status, answer)
	}
}
