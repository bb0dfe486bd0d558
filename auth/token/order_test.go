package token

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

// held is a Storage that holds batches back before they are written, so that a test can let others try
// to overtake them.
type held struct {
	storage.Storage
	hold func(batch []storage.Op)
}

func (h *held) Apply(ctx context.Context, batch ...storage.Op) error {
	if h.hold != nil {
		h.hold(batch)
	}
	return h.Storage.Apply(ctx, batch...)
}

// patience is how long a batch is held for others that must not be able to overtake it.
const patience = 50 * time.Millisecond

func TestRevocationWaitsForAChildThatIsBeingMade(t *testing.T) {
	base := &held{Storage: memory.New()}
	f := openFixture(t, base)
	parent := f.make(f.root, params{"policies": []any{"p"}})
	writing, revoked := make(chan struct{}), make(chan struct{})
	base.hold = func(batch []storage.Op) {
		if strings.HasPrefix(batch[len(batch)-1].Key, parentFolder) && !batch[0].Remove {
			close(writing)
			select {
			case <-revoked:
			case <-time.After(patience):
			}
		}
	}
	var child engines.Token
	var wg sync.WaitGroup
	wg.Go(func() {
		if resp, err := f.call(parent, engines.Update, "create", nil); err == nil {
			child = resp.Auth.Token
		}
	})
	<-writing
	if err := f.store.Revoke(t.Context(), parent.Caller.Token); err != nil {
		t.Fatal(err)
	}
	close(revoked)
	wg.Wait()
	if child.IsZero() {
		t.Fatal("the child was not made, so nothing was tested")
	}
	if _, err := f.store.Authenticate(t.Context(), child); !errors.Is(err, ErrBadToken) {
		t.Errorf("the child lives on: %v", err)
	}
	checkWhole(t, base)
}

func TestUsesAreCountedOneAfterTheOther(t *testing.T) {
	base := &held{Storage: memory.New()}
	f := openFixture(t, base)
	e := f.make(f.root, params{"policies": []any{"p"}, "num_uses": json.Number("1")})
	var writing atomic.Int32
	both := make(chan struct{})
	base.hold = func([]storage.Op) {
		if writing.Add(1) == 2 {
			close(both)
		}
		select {
		case <-both:
		case <-time.After(patience):
		}
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := f.store.Use(context.Background(), e); err == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d won", won.Load())
	}
}

func TestPayloadIsTakenByTheFirst(t *testing.T) {
	base := &held{Storage: memory.New()}
	f := openFixture(t, base)
	e, err := f.store.AddWrapping(t.Context(), "a", time.Hour, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	writing, second := make(chan struct{}), make(chan struct{})
	base.hold = func([]storage.Op) {
		base.hold = nil
		close(writing)
		<-second
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if b, err := f.store.TakeWrapped(context.Background(), e.Caller.Token); string(b) != "x" || err != nil {
			t.Errorf("the first got %q, %v", b, err)
		}
	})
	<-writing
	if b, err := f.store.TakeWrapped(t.Context(), e.Caller.Token); !errors.Is(err, ErrBadToken) {
		t.Errorf("the second got %q, %v", b, err)
	}
	take := endOptions{take: func(context.Context, *Entry) ([]storage.Op, func(), error) {
		t.Error("a second one takes")
		return nil, nil, nil
	}}
	if err := f.store.end(t.Context(), e.ID, take); !errors.Is(err, ErrBadToken) {
		t.Errorf("the third got %v", err)
	}
	close(second)
	wg.Wait()
}
