package core

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"coffer/barrier/record"
	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/engines"
	"coffer/server/ceremony"
	"coffer/storage/memory"
)

// slowSeal stands for whatever makes an initialisation take long: Wrap waits for release.
type slowSeal struct{ wrapping, release chan struct{} }

func (slowSeal) Type() string { return "static" }

func (s slowSeal) Wrap(context.Context, secret.Key) ([]byte, error) {
	s.wrapping <- struct{}{}
	<-s.release
	return make([]byte, record.KeySize), nil
}

func (slowSeal) Unwrap(context.Context, []byte) (secret.Key, error) {
	return secret.Key{}, seal.ErrNoKey
}
func (slowSeal) Stale([]byte) bool { return false }

// TestSealDoesNotWaitForAnInit: while one initialisation takes its time the server seals, and a second one waits no
// longer than its request.
func TestSealDoesNotWaitForAnInit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := slowSeal{make(chan struct{}), make(chan struct{})}
		c := New(Config{
			Storage: memory.New(), Logger: slog.New(slog.DiscardHandler), Now: time.Now, Seal: slow,
			Settings: Settings{DefaultLeaseTTL: time.Hour, MaxLeaseTTL: time.Hour, LogLevel: new(slog.LevelVar)},
		})
		p := ceremony.InitParams{RecoveryShares: 1, RecoveryThreshold: 1}
		first := make(chan error, 1)
		go func() {
			_, err := c.initialize(t.Context(), p, engines.Token{})
			first <- err
		}()
		<-slow.wrapping
		sealed := make(chan error, 1)
		go func() { sealed <- c.Seal() }()
		synctest.Wait()
		select {
		case err := <-sealed:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("sealing waits for the initialisation")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.initialize(ctx, p, engines.Token{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second one: %v", err)
		}
		close(slow.release)
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}
