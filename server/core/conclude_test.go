package core

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/server/audit"
	"coffer/server/ceremony"
	"coffer/server/sys"
	"coffer/storage/memory"
)

// TestAnswersThatNothingRecords: audit fails between a ceremony and its answer. New keys are told, because they are in
// effect; anything else is withheld, and a root token is revoked.
func TestAnswersThatNothingRecords(t *testing.T) {
	c := New(Config{
		Storage: memory.New(), Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Settings: Settings{DefaultLeaseTTL: time.Hour, MaxLeaseTTL: time.Hour, LogLevel: new(slog.LevelVar)},
		Build:    Build{Version: "1.21.2", Date: "2026-01-01T00:00:00Z"},
	})
	result, err := c.initialize(t.Context(), ceremony.InitParams{SecretShares: 1, SecretThreshold: 1}, engines.Token{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.addShare(t.Context(), Call{}, result.Keys[0], false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Seal(); err != nil {
			t.Error(err)
		}
	})
	s := c.session.Load()
	accessor, err := s.tokens.MintRoot(t.Context(), func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	device := sys.AuditDevice{Path: "file/", Type: "file", Options: map[string]string{
		"file_path": filepath.Join(t.TempDir(), "audit.log")}}
	if err := s.audit.Enable(t.Context(), device); err != nil {
		t.Fatal(err)
	}
	s.audit.Close() // from here on nothing is recorded
	conclude := func(answer any, err error) (any, error) {
		return c.conclude(context.Background(), s.operation(Call{Path: "sys/x", Operation: engines.Update}), answer, err)
	}
	for _, told := range []any{&ceremony.RekeyResult{Complete: true}, &ceremony.VerifyResult{Complete: true}} {
		if answer, err := conclude(told, nil); err != nil || answer != told {
			t.Errorf("%T is withheld: %v", told, err)
		}
	}
	for _, withheld := range []any{
		nil, &ceremony.RekeyStatus{}, ceremony.GenerateRootStatus{Started: true},
		ceremony.GenerateRootStatus{Complete: true, EncodedToken: "hidden", Accessor: accessor},
	} {
		if answer, err := conclude(withheld, nil); answer != nil || !errors.Is(err, audit.ErrNotRecorded) {
			t.Errorf("%T: %v, %v", withheld, answer, err)
		}
	}
	if answer, err := conclude(&ceremony.RekeyResult{}, errors.New("it failed")); answer != nil || !errors.Is(err, audit.ErrNotRecorded) {
		t.Errorf("a failure: %v, %v", answer, err)
	}
	if _, err := s.tokens.ByAccessor(t.Context(), accessor); !errors.Is(err, token.ErrBadToken) {
		t.Errorf("the root token that nobody was given: %v", err)
	}
}
