package barrier_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"coffer/barrier"
	"coffer/storage"
	"coffer/storage/memory"
)

// interrupted is a storage whose Apply lets somebody close the barrier first, once that is set.
type interrupted struct {
	storage.Storage
	close func() (closed <-chan struct{})
	early bool
}

// grace is how long a write waits for a Close that must not return before the write has.
const grace = 20 * time.Millisecond

func (s *interrupted) Apply(ctx context.Context, batch ...storage.Op) error {
	if s.close != nil {
		closed := s.close()
		s.close = nil
		select {
		case <-closed:
			s.early = true
		case <-time.After(grace):
		}
	}
	return s.Storage.Apply(ctx, batch...)
}

// TestCloseWaitsForWrites: nothing is written through a barrier that was closed, so that another one opened meanwhile
// knows everything that is stored.
func TestCloseWaitsForWrites(t *testing.T) {
	for name, write := range map[string]func(context.Context, *barrier.Barrier) error{
		"a record": func(ctx context.Context, b *barrier.Barrier) error {
			return b.Apply(ctx, storage.Put("free", []byte("v")))
		},
		"a record of the manifest": func(ctx context.Context, b *barrier.Barrier) error {
			return b.Apply(ctx, storage.Put("policy/p", []byte("v")))
		},
		"a record below": func(ctx context.Context, b *barrier.Barrier) error {
			return b.Below().Apply(ctx, storage.Put("core/seal-config", []byte("v")))
		},
		"a new term": func(ctx context.Context, b *barrier.Barrier) error {
			_, err := b.Rotate(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := &interrupted{Storage: memory.New()}
			create(t, store)
			b, err := barrier.Open(t.Context(), store, root)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Guard(t.Context(), barrier.Scope{Revision: 1, Within: []string{"policy/"}}); err != nil {
				t.Fatal(err)
			}
			closed := make(chan struct{})
			store.close = func() <-chan struct{} {
				go func() {
					defer close(closed)
					if err := b.Close(); err != nil {
						t.Error(err)
					}
				}()
				return closed
			}
			if err := write(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			<-closed
			if store.early {
				t.Error("the barrier was closed while a write was under way")
			}
			if err := write(t.Context(), b); !errors.Is(err, barrier.ErrSealed) {
				t.Errorf("a write after Close: %v", err)
			}
			again, err := barrier.Open(t.Context(), store, root)
			if err != nil {
				t.Fatalf("opened again: %v", err)
			}
			if err := write(t.Context(), again); err != nil {
				t.Errorf("a write through the barrier that was opened again: %v", err)
			}
		})
	}
}
