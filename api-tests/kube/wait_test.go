package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"coffer/api-tests/cluster"
)

// Deadlines of what the operator does; after an error it waits 1 s, 2 s, 4 s and so on before it tries again.
const (
	patience  = 90 * time.Second
	pollEvery = 50 * time.Millisecond
)

// eventually polls check until it returns nil.
func (s *stage) eventually(what string, check func(context.Context) error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			last = err // What the end of the deadline cut off says nothing.
		}
		select {
		case <-ctx.Done():
			s.Fatalf("%s: not within %v: %v", what, patience, last)
		case <-tick.C:
		}
	}
}

// wantSecret waits until the Secret name holds exactly want.
func (s *stage) wantSecret(name string, want map[string]string) {
	s.Helper()
	s.eventually("secret "+name, func(ctx context.Context) error {
		got, err := s.cluster.Secret(ctx, s.ns, name)
		if err == nil && !maps.Equal(got, want) {
			err = fmt.Errorf("it holds %q, want %q", got, want)
		}
		return err
	})
}

// wantNoSecret waits until the Secret name is gone.
func (s *stage) wantNoSecret(name string) {
	s.Helper()
	s.eventually("no secret "+name, func(ctx context.Context) error {
		got, err := s.cluster.Secret(ctx, s.ns, name)
		if errors.Is(err, cluster.ErrNotFound) {
			return nil
		}
		return fmt.Errorf("it is there with %q: %w", got, err)
	})
}

// wantReady waits until the condition Ready of an object, such as "secretstores/store", has the status ("True" or
// "False") and a message that contains fragment.
func (s *stage) wantReady(object, status, fragment string) {
	s.Helper()
	namespace := s.ns
	if strings.HasPrefix(object, "cluster") {
		namespace = ""
	}
	s.eventually(object, func(ctx context.Context) error {
		got, err := s.cluster.Ready(ctx, namespace, object)
		if err == nil && (got.Status != status || !strings.Contains(got.Message, fragment)) {
			err = fmt.Errorf("it is %v; want status %s and %q", got, status, fragment)
		}
		return err
	})
}

// wantEvent waits until the operator has reported something that contains fragment in the test's namespace: there, not
// in the conditions, it says what the server answered.
func (s *stage) wantEvent(fragment string) {
	s.Helper()
	s.eventually("event "+fragment, func(ctx context.Context) error {
		raw, err := s.cluster.Call(ctx, http.MethodGet, "/api/v1/namespaces/"+s.ns+"/events", nil)
		if err == nil && !strings.Contains(string(raw), fragment) {
			err = fmt.Errorf("not in %s", raw)
		}
		return err
	})
}

// wantEventOf waits until the operator has reported something about the SecretStore that contains fragment.
func (s *stage) wantEventOf(store, fragment string) {
	s.Helper()
	s.eventually("event of "+store+": "+fragment, func(ctx context.Context) error {
		raw, err := s.cluster.Call(ctx, http.MethodGet, "/api/v1/namespaces/"+s.ns+
			"/events?fieldSelector=involvedObject.name="+store, nil)
		if err == nil && !strings.Contains(string(raw), fragment) {
			err = fmt.Errorf("not in %s", raw)
		}
		return err
	})
}

// list is what there is at path of the server; nothing when that is not found.
func (s *stage) list(path string) []string {
	s.Helper()
	a, err := s.server.Call(s.Context(), "LIST", path, s.server.RootToken, nil)
	if err == nil && a.Status != http.StatusOK && a.Status != http.StatusNotFound {
		err = fmt.Errorf("status %d: %s", a.Status, a.Raw)
	}
	if err != nil {
		s.Fatal("list", path, err)
	}
	keys, _ := a.Data()["keys"].([]any)
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = fmt.Sprint(key)
	}
	return names
}

// accessors are those of all tokens that are alive; the root token's is one.
func (s *stage) accessors() []string {
	s.Helper()
	return s.list("auth/token/accessors")
}

// wantTokens waits until as many tokens are alive.
func (s *stage) wantTokens(want int) {
	s.Helper()
	s.eventually("tokens", func(context.Context) error {
		if got := len(s.accessors()); got != want {
			return fmt.Errorf("%d tokens are alive, want %d", got, want)
		}
		return nil
	})
}

// wantKey waits until ok accepts the value of a key of the Secret name.
func (s *stage) wantKey(name, key string, ok func(string) bool) {
	s.Helper()
	s.eventually("secret "+name, func(ctx context.Context) error {
		got, err := s.cluster.Secret(ctx, s.ns, name)
		if err != nil {
			return err
		}
		if !ok(got[key]) {
			return errors.New("it holds " + fmt.Sprint(got))
		}
		return nil
	})
}
