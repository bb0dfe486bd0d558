package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"coffer/api-tests/servers"
)

const megabyte = 1 << 20

// settle is how long a server may take a breath before its memory is looked at.
const settle = 2 * time.Second

// withFresh runs f on a fresh unsealed server of every kind that takes part.
func withFresh(ctx context.Context, field *field, f func(t *target, s *servers.Server) error) error {
	for _, t := range field.servers() {
		s, err := readyServer(ctx, t.server.Kind)
		if err != nil {
			return err
		}
		if err := errors.Join(f(t, s), s.Close()); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

// measureMemory looks at a server that was just unsealed and at the one that has had the load of all rows before.
func measureMemory(ctx context.Context, _ options, f *field, found results) error {
	for _, t := range f.servers() {
		rss, err := t.server.RSS()
		if err != nil {
			return err
		}
		found.add("memory after load", t.name, float64(rss)/megabyte)
	}
	return withFresh(ctx, f, func(t *target, s *servers.Server) error {
		if err := wait(ctx, settle); err != nil {
			return err
		}
		rss, err := s.RSS()
		found.add("memory idle", t.name, float64(rss)/megabyte)
		return err
	})
}

// measureBodies sends 40 bodies of 31 MB at once, half of them without a token, to a fresh server for each form. Vault
// is only sent those that it refuses early: the others cost it gigabytes, which not every machine has.
func measureBodies(ctx context.Context, _ options, f *field, found results) error {
	const count, size = 40, 31_000_000
	for i, body := range servers.Bodies() {
		err := withFresh(ctx, f, func(t *target, s *servers.Server) error {
			if s.Kind == servers.Vault && i > 0 {
				return nil
			}
			if _, err := s.Flood(ctx, "secret/data/large", body, count, size); err != nil {
				return err
			}
			peak, err := s.PeakRSS()
			found.add("bodies: "+body.Name, t.name, float64(peak)/megabyte)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measureStart times the way from the start of the process to the first answer of sys/health, on data that is there.
func measureStart(ctx context.Context, o options, f *field, found results) error {
	return withFresh(ctx, f, func(t *target, s *servers.Server) error {
		for range max(o.rounds, 3) {
			if err := s.Stop(); err != nil {
				return err
			}
			begin := time.Now()
			if err := s.Launch(ctx); err != nil {
				return err
			}
			found.add("start", t.name, float64(time.Since(begin).Microseconds())/1000)
		}
		return nil
	})
}

func measureSize(_ context.Context, _ options, f *field, found results) error {
	for _, t := range f.servers() {
		size, err := t.server.BinarySize()
		if err != nil {
			return err
		}
		found.add("size", t.name, float64(size)/1e6)
	}
	return nil
}

// measureLeases makes tokens that live for a day, then times the unsealing of a new process up to the answer to a KV
// read. Vault makes them too slowly for a benchmark that people run; only coffer is measured.
func measureLeases(ctx context.Context, o options, f *field, found results) error {
	for _, t := range f.servers() {
		if t.server.Kind != servers.Coffer {
			continue
		}
		s, err := readyServer(ctx, t.server.Kind)
		if err != nil {
			return err
		}
		seconds, err := unsealWithLeases(ctx, s, o.leases)
		if err := errors.Join(err, s.Close()); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		found.add("leases", t.name, seconds)
	}
	return nil
}

func unsealWithLeases(ctx context.Context, s *servers.Server, leases int) (seconds float64, err error) {
	path := "secret/data/" + secretName(0)
	if _, err := s.Must(ctx, http.MethodPost, path, json.RawMessage(secretJSON)); err != nil {
		return 0, err
	}
	if err := makeTokens(ctx, s, leases); err != nil {
		return 0, err
	}
	if err := s.Restart(ctx); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := s.Unseal(ctx); err != nil {
		return 0, err
	}
	_, err = s.Must(ctx, http.MethodGet, path, nil)
	return time.Since(begin).Seconds(), err
}

func makeTokens(ctx context.Context, s *servers.Server, count int) error {
	create := createToken(s.RootToken)
	begin := time.Now()
	err := repeat(ctx, s.HostPort(), count, func(c *conn) error { _, err := c.expect(create, http.StatusOK); return err })
	fmt.Fprintf(os.Stderr, "bench: %d tokens in %v\n", count, time.Since(begin).Round(time.Millisecond))
	return err
}

// repeat does something count times over several connections.
func repeat(ctx context.Context, address string, count int, do func(*conn) error) error {
	const conns = 32
	var (
		left atomic.Int64
		wg   sync.WaitGroup
		errs = make([]error, conns)
	)
	left.Store(int64(count))
	for w := range conns {
		c, err := overTCP(address)(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.Close() })()
		wg.Go(func() {
			for left.Add(-1) >= 0 && errs[w] == nil {
				errs[w] = do(c)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
