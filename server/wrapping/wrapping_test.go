package wrapping_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/server/leases"
	"coffer/server/wrapping"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

const body = `{"request_id":"1","data":{"password":"<&>"}}` + "\n"

// start returns a service whose tokens expire, over store.
func start(t *testing.T, store storage.Storage) (*wrapping.Service, *token.Store) {
	t.Helper()
	m := leases.New(leases.Config{Storage: store})
	tokens, err := token.NewStore(t.Context(), token.Config{
		Storage: store, Leases: m, CubbyholePrefix: "logical/cubbyhole/",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.Start(ctx, tokens, nil)
	t.Cleanup(func() { cancel(); m.Wait() })
	return wrapping.New(wrapping.Config{Tokens: tokens}), tokens
}

func wrap(t *testing.T, s *wrapping.Service) *engines.WrapInfo {
	t.Helper()
	info, err := s.Wrap(t.Context(), wrapping.Request{
		Body: []byte(body), TTL: time.Minute, CreationPath: "secret/data/a", WrappedAccessor: "acc",
	})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

var ignoreToken = cmp.Comparer(func(a, b engines.Token) bool { return a.IsZero() == b.IsZero() })

func TestWrapLookupUnwrap(t *testing.T) {
	store := memory.New()
	s, tokens := start(t, store)
	before := len(store.Contents())
	info := wrap(t, s)
	want := &engines.WrapInfo{
		Token: info.Token, Accessor: info.Accessor, TTL: time.Minute, CreationTime: info.CreationTime,
		CreationPath: "secret/data/a", WrappedAccessor: "acc",
	}
	if diff := cmp.Diff(want, info, ignoreToken); diff != "" || len(info.Accessor) != 24 {
		t.Errorf("-want +got\n%s", diff)
	}
	want.WrappedAccessor = ""
	for range 2 { // a lookup uses nothing up
		got, err := s.Lookup(t.Context(), info.Token)
		if err != nil {
			t.Fatal(err)
		}
		got.CreationTime = want.CreationTime
		if diff := cmp.Diff(want, got, ignoreToken); diff != "" {
			t.Errorf("lookup: -want +got\n%s", diff)
		}
	}
	e, err := tokens.Authenticate(t.Context(), info.Token)
	if err != nil || e.NumUses != 1 || !e.Orphan() || e.Life.Renewable || e.Policies()[0] != "response-wrapping" {
		t.Errorf("%+v, %v", e, err)
	}
	held, err := tokens.ByAccessor(t.Context(), info.Accessor)
	if err != nil || !held.Caller.Token.IsZero() {
		t.Errorf("by accessor: %v, %v", held, err)
	}
	got, err := s.Unwrap(t.Context(), info.Token)
	if err != nil || string(got) != body {
		t.Errorf("unwrapped %s, %v", got, err)
	}
	for what, f := range operations(s) {
		if err := f(t.Context(), info.Token); !errors.Is(err, wrapping.ErrNotWrapping) {
			t.Errorf("%s after unwrap: %v", what, err)
		}
	}
	if after := len(store.Contents()); after != before {
		t.Errorf("%d keys, want %d", after, before)
	}
}

func operations(s *wrapping.Service) map[string]func(context.Context, engines.Token) error {
	return map[string]func(context.Context, engines.Token) error{
		"lookup": func(ctx context.Context, t engines.Token) error { _, err := s.Lookup(ctx, t); return err },
		"unwrap": func(ctx context.Context, t engines.Token) error { _, err := s.Unwrap(ctx, t); return err },
		"rewrap": func(ctx context.Context, t engines.Token) error { _, err := s.Rewrap(ctx, t); return err },
	}
}

func TestOtherTokensWrapNothing(t *testing.T) {
	s, tokens := start(t, memory.New())
	root, err := tokens.CreateRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []engines.Token{root, engines.NewToken("zzz"), {}, engines.NewToken("hvb.AA")} {
		for what, f := range operations(s) {
			err := f(t.Context(), token)
			if !errors.Is(err, wrapping.ErrNotWrapping) || !errors.Is(err, engines.ErrInvalid) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if _, err := tokens.Authenticate(t.Context(), root); err != nil {
		t.Errorf("the root token was used up: %v", err)
	}
}

func TestRewrap(t *testing.T) {
	store := memory.New()
	s, _ := start(t, store)
	first := wrap(t, s)
	before := len(store.Contents())
	second, err := s.Rewrap(t.Context(), first.Token)
	if err != nil || second.Token.Equal(first.Token) || second.TTL != first.TTL || second.CreationPath != first.CreationPath {
		t.Fatalf("%+v, %v", second, err)
	}
	if after := len(store.Contents()); after != before {
		t.Errorf("%d keys, want %d", after, before)
	}
	if _, err := s.Unwrap(t.Context(), first.Token); !errors.Is(err, wrapping.ErrNotWrapping) {
		t.Errorf("the old token: %v", err)
	}
	if got, err := s.Unwrap(t.Context(), second.Token); err != nil || string(got) != body {
		t.Errorf("the new token: %s, %v", got, err)
	}
}

func TestOneOfAHundredUnwrapsWins(t *testing.T) {
	s, _ := start(t, memory.New())
	info := wrap(t, s)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			_, err := s.Unwrap(context.Background(), info.Token)
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, wrapping.ErrNotWrapping) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d won", won.Load())
	}
}

func TestWrappingTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s, _ := start(t, store)
		before := len(store.Contents())
		info := wrap(t, s)
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, err := s.Unwrap(t.Context(), info.Token); !errors.Is(err, wrapping.ErrNotWrapping) {
			t.Error(err)
		}
		if after := len(store.Contents()); after != before {
			t.Errorf("%d keys, want %d", after, before)
		}
	})
}

func TestHeldAsACubbyholeSecret(t *testing.T) {
	store := memory.New()
	s, tokens := start(t, store)
	info := wrap(t, s)
	e, err := tokens.Authenticate(t.Context(), info.Token)
	if err != nil {
		t.Fatal(err)
	}
	value, err := store.Get(t.Context(), "logical/cubbyhole/"+e.Caller.CubbyholeID+"/response")
	var secret map[string]string
	if err := errors.Join(err, json.Unmarshal(value, &secret)); err != nil || secret["response"] != body {
		t.Errorf("%v, %v", secret, err)
	}
}

// TestFaults makes every call to storage fail in every form: an answer is never given out twice, and one
// that was given out is gone.
func TestFaults(t *testing.T) {
	open := func(*testing.T) storage.Storage { return memory.New() }
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
		healthy, _ := start(t, base)
		s, err := token.NewStore(t.Context(), token.Config{
			Storage: faulty, Leases: leases.New(leases.Config{Storage: faulty}), CubbyholePrefix: "logical/cubbyhole/",
		})
		if err != nil {
			return
		}
		service := wrapping.New(wrapping.Config{Tokens: s})
		info, err := service.Wrap(t.Context(), wrapping.Request{Body: []byte(body), TTL: time.Hour, CreationPath: "a"})
		if err != nil {
			return
		}
		first, err := service.Unwrap(t.Context(), info.Token)
		again, againErr := healthy.Unwrap(t.Context(), info.Token)
		if err == nil && (string(first) != body || againErr == nil) {
			t.Errorf("given out twice: %s, %s", first, again)
		}
	})
}
