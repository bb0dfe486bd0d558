package mounts_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
	"coffer/server/mounts"
	"coffer/storage"
	"coffer/storage/memory"
)

// fake is an engine whose context and options the test can see.
type fake struct {
	ctx context.Context //nolint:containedctx // the test asks whether it ended
	cfg engines.Config
}

func (*fake) Routes() *engines.Routes { return engines.Compile() }

// house is a table over a store that outlives it, with every engine it made and every path it gave up.
type house struct {
	*mounts.Table
	store *memory.Store
	made  []*fake
	hold  chan struct{}

	// Guarded by mu while a removal is under way.
	mu   sync.Mutex
	left []string
	fail error
}

// background runs what the table does beside its callers, until the test is over.
func background(t testing.TB) func(func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	return func(f func(context.Context)) { all.Go(func() { f(ctx) }) }
}

func newHouse(t *testing.T, store *memory.Store) *house {
	t.Helper()
	h := &house{store: store}
	factory := func(ctx context.Context, cfg engines.Config) (engines.Engine, error) {
		e := &fake{ctx: ctx, cfg: cfg}
		h.made = append(h.made, e)
		return e, nil
	}
	h.Table = mounts.New(t.Context(), mounts.Config{
		Storage: store, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		DefaultTTL: time.Hour, MaxTTL: 24 * time.Hour,
		Types: map[mounts.Kind]map[string]engines.Factory{
			mounts.Secret: {"kv": factory, "transit": factory}, mounts.Auth: {"approle": factory},
		},
		Unmounted: func(_ context.Context, path string, wait bool) error {
			if !wait {
				return nil
			}
			if h.hold != nil {
				<-h.hold
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			h.left = append(h.left, path)
			return h.fail
		},
		Background: background(t),
	})
	builtin := mounts.Entry{Kind: mounts.Secret, Path: "sys/", Type: "system", UUID: "sys"}
	err := h.Builtin(builtin, func(engines.Config) (engines.Engine, error) { return &fake{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.FinishRemovals(t.Context())
	return h
}

func (h *house) enable(t *testing.T, kind mounts.Kind, path, typ string) mounts.Entry {
	t.Helper()
	if err := h.Enable(t.Context(), mounts.Entry{Kind: kind, Path: path, Type: typ}); err != nil {
		t.Fatal(err)
	}
	e, ok := h.Find(path)
	if !ok {
		t.Fatalf("%s is not mounted", path)
	}
	return e
}

func TestRouteFindsTheLongestMount(t *testing.T) {
	h := newHouse(t, memory.New())
	h.enable(t, mounts.Secret, "secret/", "kv")
	h.enable(t, mounts.Secret, "team/a/", "kv")
	h.enable(t, mounts.Auth, "auth/approle/", "approle")
	for _, tc := range []struct{ path, mount, rest string }{
		{"secret/data/x", "secret/", "data/x"},
		{"secret/", "secret/", ""},
		{"team/a/b/c", "team/a/", "b/c"},
		{"auth/approle/login", "auth/approle/", "login"},
		{"sys/mounts", "sys/", "mounts"},
		{"secret", "secret/", ""},
		{"team/a", "team/a/", ""},
		{"team", "", ""},
		{"team/b/c", "", ""},
		{"secretx/y", "", ""},
		{"", "", ""},
	} {
		m, rest, ok := h.Route(tc.path)
		got := ""
		if ok {
			got = m.Entry.Path
		}
		if got != tc.mount || rest != tc.rest {
			t.Errorf("Route(%q) = %q, %q; want %q, %q", tc.path, got, rest, tc.mount, tc.rest)
		}
	}
}

func TestEnableRefuses(t *testing.T) {
	h := newHouse(t, memory.New())
	h.enable(t, mounts.Secret, "a/b/", "kv")
	for name, e := range map[string]mounts.Entry{
		"a taken path":            {Kind: mounts.Secret, Path: "a/b/", Type: "kv"},
		"a path below a mount":    {Kind: mounts.Secret, Path: "a/b/c/", Type: "kv"},
		"a path above a mount":    {Kind: mounts.Secret, Path: "a/", Type: "kv"},
		"a path below a built-in": {Kind: mounts.Secret, Path: "sys/x/", Type: "kv"},
		"an unknown type":         {Kind: mounts.Secret, Path: "n/", Type: "nope"},
		"an auth type as engine":  {Kind: mounts.Secret, Path: "n/", Type: "approle"},
	} {
		if err := h.Enable(t.Context(), e); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%s: error = %v, want ErrInvalid", name, err)
		}
	}
}

func TestAnAccessorIsOneMountWhereverItMoves(t *testing.T) {
	h := newHouse(t, memory.New())
	h.enable(t, mounts.Secret, "a/", "kv")
	h.enable(t, mounts.Secret, "b/", "kv")
	entry, _ := h.Find("a/")
	if m, ok := h.ByAccessor(entry.Accessor); !ok || m.Path != "a/" || m.UUID != entry.UUID {
		t.Errorf("%s is %+v, %v", entry.Accessor, m, ok)
	}
	if m, ok := h.ByAccessor("kv_none"); ok {
		t.Errorf("an unknown accessor is %+v", m)
	}
	if err := h.Remount(t.Context(), "a/", "c/", "1"); err != nil {
		t.Fatal(err)
	}
	if m, ok := h.ByAccessor(entry.Accessor); !ok || m.Path != "c/" {
		t.Errorf("after its move %s is %+v, %v", entry.Accessor, m, ok)
	}
	if err := h.Disable(t.Context(), "c/"); err != nil {
		t.Fatal(err)
	}
	if m, ok := h.ByAccessor(entry.Accessor); ok {
		t.Errorf("after its end %s is %+v", entry.Accessor, m)
	}
}

func TestMountsSurviveAReload(t *testing.T) {
	store := memory.New()
	before := newHouse(t, store)
	if err := before.Enable(t.Context(), mounts.Entry{Kind: mounts.Secret, Path: "s/", Type: "kv-v2", Description: "d"}); err != nil {
		t.Fatal(err)
	}
	err := before.Tune(t.Context(), "s/", func(e *mounts.Entry) error {
		e.Tuning.MaxLeaseTTL = 2 * time.Hour
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := before.Find("s/")
	if want.Type != "kv" || want.Options["version"] != "2" || want.UUID == "" || want.Accessor == "" {
		t.Fatalf("mounted as %+v", want)
	}
	after := newHouse(t, store)
	got, _ := after.Find("s/")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after a reload (-want +got):\n%s", diff)
	}
}

func TestTuneChangesLimitsAtOnceAndOptionsRemakeTheEngine(t *testing.T) {
	h := newHouse(t, memory.New())
	h.enable(t, mounts.Secret, "s/", "kv")
	m, _, _ := h.Route("s/x")
	err := h.Tune(t.Context(), "s/", func(e *mounts.Entry) error {
		e.Tuning.DefaultLeaseTTL, e.Tuning.MaxLeaseTTL = 5*time.Hour, 2*time.Hour
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d, limit := m.TTLs().DefaultTTL(), m.TTLs().MaxTTL(); d != 2*time.Hour || limit != 2*time.Hour {
		t.Errorf("limits are %v and %v, want the maximum to cap both at 2h", d, limit)
	}
	if len(h.made) != 1 {
		t.Errorf("%d engines were made, want 1: options did not change", len(h.made))
	}
	err = h.Tune(t.Context(), "s/", func(e *mounts.Entry) error {
		e.Options = map[string]string{"version": "2"}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(h.made) != 2 || h.made[1].cfg.Mount.Options["version"] != "2" {
		t.Error("the engine was not made anew with its options")
	}
	<-h.made[0].ctx.Done() // the old one does not go on
}

func TestTuneThatFailsChangesNothing(t *testing.T) {
	h := newHouse(t, memory.New())
	want := h.enable(t, mounts.Secret, "s/", "kv")
	refused := errors.New("refused")
	err := h.Tune(t.Context(), "s/", func(e *mounts.Entry) error {
		e.Description = "changed"
		return refused
	})
	got, _ := h.Find("s/")
	if !errors.Is(err, refused) || !cmp.Equal(want, got) {
		t.Errorf("error %v, entry %+v", err, got)
	}
}

func TestDisableRevokesClearsAndForgets(t *testing.T) {
	store := memory.New()
	h := newHouse(t, store)
	e := h.enable(t, mounts.Secret, "s/", "kv")
	if err := store.Apply(t.Context(), storage.Put(mounts.StoragePrefix(e)+"a/b", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if err := h.Disable(t.Context(), "s/"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"s/"}, h.left); diff != "" {
		t.Errorf("revoked (-want +got):\n%s", diff)
	}
	if left := store.Contents(); len(left) != 0 {
		t.Errorf("%d records are left", len(left))
	}
	if h.made[0].ctx.Err() == nil {
		t.Error("the engine goes on")
	}
	if err := h.Disable(t.Context(), "s/"); !errors.Is(err, mounts.ErrNoMount) {
		t.Errorf("a second time: %v, want ErrNoMount", err)
	}
	if err := h.Disable(t.Context(), "sys/"); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("a built-in mount: %v, want ErrInvalid", err)
	}
}

func TestInterruptedRemovalIsFinishedByTheNextLoad(t *testing.T) {
	store := memory.New()
	h := newHouse(t, store)
	h.enable(t, mounts.Secret, "s/", "kv")
	h.fail = errors.New("the lease's owner is away")
	if err := h.Disable(t.Context(), "s/"); !errors.Is(err, h.fail) {
		t.Fatalf("error = %v", err)
	}
	if _, _, ok := h.Route("s/x"); ok {
		t.Error("a mount that is being removed still serves")
	}
	after := newHouse(t, store)
	if _, ok := after.Find("s/"); ok || len(store.Contents()) != 0 {
		t.Error("the removal was not finished")
	}
}

// A mount that cannot start must not keep the server sealed when all that is left to do is to remove it.
func TestRemovalOfAMountThatDoesNotStart(t *testing.T) {
	store := memory.New()
	h := newHouse(t, store)
	h.enable(t, mounts.Secret, "s/", "kv")
	h.fail = errors.New("the lease's owner is away")
	if err := h.Disable(t.Context(), "s/"); !errors.Is(err, h.fail) {
		t.Fatalf("error = %v", err)
	}
	left := ""
	after := mounts.New(t.Context(), mounts.Config{
		Storage: store, Logger: slog.New(slog.DiscardHandler), Now: time.Now, DefaultTTL: time.Hour, MaxTTL: time.Hour,
		Unmounted: func(_ context.Context, path string, _ bool) error {
			left = path
			return nil
		},
		Background: background(t),
	})
	if err := after.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := after.Enable(t.Context(), mounts.Entry{Kind: mounts.Secret, Path: "s/", Type: "kv"}); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("its path is free: %v", err)
	}
	after.FinishRemovals(t.Context())
	if left != "s/" || len(store.Contents()) != 0 {
		t.Errorf("revoked at %q, %d records are left", left, len(store.Contents()))
	}
}

func TestRemount(t *testing.T) {
	store := memory.New()
	h := newHouse(t, store)
	e := h.enable(t, mounts.Secret, "s/", "kv")
	h.enable(t, mounts.Secret, "other/", "kv")
	if err := h.Remount(t.Context(), "s/", "other/", "1"); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("onto a mount: %v, want ErrInvalid", err)
	}
	if err := h.Remount(t.Context(), "s/", "moved/", "2"); err != nil {
		t.Fatal(err)
	}
	got, ok := newHouse(t, store).Find("moved/")
	if !ok || got.UUID != e.UUID || got.Accessor != e.Accessor {
		t.Errorf("after the move and a reload: %+v, %v", got, ok)
	}
	if _, ok := h.Find("s/"); ok {
		t.Error("the old path still serves")
	}
}

func BenchmarkRoute(b *testing.B) {
	table := mounts.New(b.Context(), mounts.Config{
		Storage: memory.New(), Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Types: map[mounts.Kind]map[string]engines.Factory{mounts.Secret: {
			"kv": func(context.Context, engines.Config) (engines.Engine, error) { return &fake{}, nil },
		}},
	})
	if err := table.Enable(b.Context(), mounts.Entry{Kind: mounts.Secret, Path: "secret/", Type: "kv"}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := table.Route("secret/data/app/config"); !ok {
			b.Fatal("not found")
		}
	}
}
