package approle_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

// broken cannot read the value of one key.
type broken struct {
	storage.Storage
	key atomic.Pointer[string]
}

func (b *broken) Get(ctx context.Context, key string) ([]byte, error) {
	if lost := b.key.Load(); lost != nil && key == *lost {
		return nil, storage.ErrDamaged
	}
	return b.Storage.Get(ctx, key)
}

// TestOneUnreadableSecretIDKeepsNoOther has secret ids expire, one of which cannot be read.
func TestOneUnreadableSecretIDKeepsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer end()
		store := memory.New()
		b := &broken{Storage: store}
		m := open(ctx, t, b)
		m.must(t, engines.Update, "role/r", map[string]any{"role_id": "r"})
		ids := func() (keys []string) {
			for _, op := range store.Contents() {
				if strings.HasPrefix(op.Key, "secret/") {
					keys = append(keys, op.Key)
				}
			}
			return keys
		}
		m.secretID(t, "r", map[string]any{"ttl": "10m"})
		lost := ids()[0]
		b.key.Store(&lost)
		_, accessor := m.secretID(t, "r", map[string]any{"ttl": "10m"})
		resp := m.must(t, engines.List, "role/r/secret-id", nil)
		if keys, _ := resp.Data["keys"].([]string); len(keys) != 1 || keys[0] != accessor {
			t.Errorf("the list: %v", resp.Data)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if left := ids(); len(left) != 1 || left[0] != lost {
			t.Errorf("%q are left; want the one that cannot be read", left)
		}
	})
}
