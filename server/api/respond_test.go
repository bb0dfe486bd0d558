package api

import (
	"net/http/httptest"
	"testing"

	"coffer/engines"
)

func TestPagesAreNotFramed(t *testing.T) {
	for contentType, want := range map[string]bool{"text/html; charset=utf-8": true, "application/json": false} {
		w := httptest.NewRecorder()
		setRawHeader(w, &engines.Response{Raw: &engines.Raw{ContentType: contentType, Body: []byte("x")}})
		h := w.Header()
		if got := h.Get("X-Frame-Options") == "DENY" && h.Get("Content-Security-Policy") == pagePolicy; got != want {
			t.Errorf("%s: %v", contentType, h)
		}
	}
}

func TestPagesAndTheirNeighbours(t *testing.T) {
	for keeps, opener := range map[bool]string{false: "same-origin", true: ""} {
		w := httptest.NewRecorder()
		setRawHeader(w, &engines.Response{Raw: &engines.Raw{ContentType: "text/html; charset=utf-8", KeepsOpener: keeps}})
		if got := w.Header().Get("Cross-Origin-Opener-Policy"); got != opener {
			t.Errorf("KeepsOpener %v: Cross-Origin-Opener-Policy %q, want %q", keeps, got, opener)
		}
		// With "no-referrer" browsers send forms with "Origin: null".
		if got := w.Header().Get("Referrer-Policy"); got != "same-origin" {
			t.Errorf("Referrer-Policy %q", got)
		}
	}
}
