package servers

import (
	"context"
	"testing"
)

// ForTest starts a server for t, uninitialised, and closes it when t ends. When t fails, the end of the server's log is
// shown.
func ForTest(t testing.TB, kind Kind, opts Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), kind, opts)
	if err != nil {
		t.Fatalf("starting %s: %v", kind, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of %s's log:\n%s", kind, s.LogTail(8192))
		}
		if err := s.Close(); err != nil {
			t.Errorf("closing %s: %v", kind, err)
		}
	})
	return s
}

// ReadyForTest is ForTest followed by Init with one share and Unseal.
func ReadyForTest(t testing.TB, kind Kind, opts Options) *Server {
	t.Helper()
	s := ForTest(t, kind, opts)
	if err := s.Ready(t.Context()); err != nil {
		t.Fatalf("making %s ready: %v", kind, err)
	}
	return s
}

// Crash kills the process with SIGKILL, starts a new one on the same data and unseals it.
func (s *Server) Crash(ctx context.Context) error {
	if err := s.Kill(); err != nil {
		return err
	}
	if err := s.launch(ctx); err != nil {
		return err
	}
	return s.Unseal(ctx)
}
