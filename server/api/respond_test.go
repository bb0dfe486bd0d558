package api

import (
	"net/http/httptest"
	"testing"

	"coffer/engines"
)

func TestPagesAreNotFramed(t *testing.T) {
	for contentType, want := range map[string]bool{"text/html; charset=utf-8": true, "application/json": false} {
		w := httptest.NewRecorder()
		writeRaw(w, &engines.Response{Raw: &engines.Raw{ContentType: contentType, Body: []byte("x")}})
		h := w.Header()
		if got := h.Get("X-Frame-Options") == "DENY" && h.Get("Content-Security-Policy") == pagePolicy; got != want {
			t.Errorf("%s: %v", contentType, h)
		}
	}
}
