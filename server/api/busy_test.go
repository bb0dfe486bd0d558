package api

import (
	"net/http"
	"testing"

	"coffer/auth"
)

// TestBusyClient: stock clients ask again after a 429.
func TestBusyClient(t *testing.T) {
	if status, known := statusOf(auth.ErrBusy); status != http.StatusTooManyRequests || !known {
		t.Errorf("%d, %v", status, known)
	}
}
