package barrier_test

import (
	"context"
	"sync"
	"testing"

	"coffer/barrier"
	"coffer/storage"
	"coffer/storage/memory"
)

// paused is a storage whose next Get of a value calls meanwhile first.
type paused struct {
	storage.Storage
	meanwhile func()
	once      sync.Once
}

func (p *paused) Get(ctx context.Context, key string) ([]byte, error) {
	if values(key) && p.meanwhile != nil {
		p.once.Do(p.meanwhile)
	}
	return p.Storage.Get(ctx, key)
}

// TestReadBesideARotation rotates, and writes with the new term, after a read has begun.
func TestReadBesideARotation(t *testing.T) {
	p := &paused{Storage: memory.New()}
	create(t, p)
	b, err := barrier.Open(t.Context(), p, root)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, b, storage.Put("k", []byte("old")))
	p.meanwhile = func() {
		if _, err := b.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
		apply(t, b, storage.Put("k", []byte("new")))
	}
	wantValue(t, b, "k", "new")
}
