package core_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"coffer/engines"
	"coffer/server/core"
	"coffer/server/mounts"
	"coffer/storage"
	"coffer/storage/memory"
)

// lingerer is an engine whose handler and whose work in the background take their time to end.
type lingerer struct {
	storage storage.Storage
	log     *diary
}

// diary notes what happened, in order.
type diary struct {
	mu     sync.Mutex
	events []string
	// leave is closed to let the handler end.
	leave chan struct{}
}

func (d *diary) note(event string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, event)
}

func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.events)
}

func (d *diary) factory(ctx context.Context, cfg engines.Config) (engines.Engine, error) {
	e := lingerer{storage: cfg.Storage, log: d}
	err := cfg.Storage.Apply(ctx, storage.Put("k", []byte("v")))
	cfg.Background(func(ctx context.Context) {
		<-ctx.Done()
		time.Sleep(time.Second)
		d.note("worker ended, storage: " + e.look())
	})
	return e, err
}

// look tells what the engine's storage has.
func (e lingerer) look() string {
	value, err := e.storage.Get(context.Background(), "k")
	if err != nil {
		return err.Error()
	}
	return string(value)
}

func (e lingerer) Routes() *engines.Routes {
	return engines.Compile(engines.Path("wait", "Wait.", engines.OnRead(e.wait)))
}

func (e lingerer) wait(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	e.log.note("handler")
	select {
	case <-ctx.Done():
		time.Sleep(time.Second)
		e.log.note("handler interrupted, storage: " + e.look())
		return nil, ctx.Err()
	case <-e.log.leave:
		e.log.note("handler ended, storage: " + e.look())
		return &engines.Response{Data: map[string]any{"a": 1}}, nil
	}
}

func inLingering(t *testing.T, f func(t *testing.T, c *core.Core, root string, d *diary)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &diary{leave: make(chan struct{})}
		c := core.New(core.Config{
			Storage: memory.New(), Logger: slog.New(slog.DiscardHandler), Now: time.Now,
			Types:    map[mounts.Kind]map[string]engines.Factory{mounts.Secret: {"slow": d.factory, "kv": d.factory}},
			Settings: core.Settings{DefaultLeaseTTL: time.Hour, MaxLeaseTTL: time.Hour, LogLevel: new(slog.LevelVar)},
		})
		_, root, err := c.InitDev(t.Context(), engines.Token{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		must(t, c, root.Reveal(), engines.Update, "sys/mounts/slow", map[string]any{"type": "slow"})
		f(t, c, root.Reveal(), d)
	})
}

// linger makes the request that lingers, and notes how it ends.
func linger(t *testing.T, c *core.Core, root string, d *diary) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		_, err := do(ctx, c, root, engines.Read, "slow/wait", nil)
		d.note("answer: " + answer(err))
	}()
	synctest.Wait()
}

func answer(err error) string {
	switch {
	case err == nil:
		return "served"
	case errors.Is(err, engines.ErrSealed):
		return "sealed"
	default:
		return err.Error()
	}
}

// TestARemovedMountWaitsForItsEngine: the storage is there until the last handler and the last worker have ended.
func TestARemovedMountWaitsForItsEngine(t *testing.T) {
	inLingering(t, func(t *testing.T, c *core.Core, root string, d *diary) {
		defer sealNow(t, c)
		linger(t, c, root, d)
		removed := make(chan error)
		go func() {
			_, err := do(t.Context(), c, root, engines.Delete, "sys/mounts/slow", nil)
			d.note("removed")
			removed <- err
		}()
		synctest.Wait()
		if _, err := do(t.Context(), c, root, engines.Read, "slow/wait", nil); !errors.Is(err, engines.ErrNotFound) {
			t.Errorf("a request meanwhile: %v", err)
		}
		close(d.leave)
		if err := <-removed; err != nil {
			t.Error(err)
		}
		want := []string{"handler", "handler ended, storage: v", "answer: served", "worker ended, storage: v", "removed"}
		if got := d.all(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// TestASealWaitsForEngines: the keys are there until the last handler and the last worker have ended.
func TestASealWaitsForEngines(t *testing.T) {
	inLingering(t, func(t *testing.T, c *core.Core, root string, d *diary) {
		linger(t, c, root, d)
		time.AfterFunc(5*time.Second, func() { close(d.leave) }) // nothing interrupts a request that is not one of HTTP
		sealNow(t, c)
		d.note("sealed")
		synctest.Wait()
		got := d.all()
		slices.Sort(got[1 : len(got)-1]) // what ends with the session ends in no order
		want := []string{"handler", "answer: served", "handler ended, storage: v", "worker ended, storage: v",
			"worker ended, storage: v", "sealed"} // of two mounts, secret/ is the other one
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
