package core_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"coffer/auth/approle"
	"coffer/engines"
	"coffer/engines/kv"
	"coffer/server/core"
	"coffer/server/mounts"
	"coffer/storage/memory"
)

const day = 24 * time.Hour

// timed is a server on a machine whose clock can be set.
type timed struct {
	*testing.T
	store     *memory.Store
	off       atomic.Int64
	c         *core.Core
	log       *log
	key, root string
}

// newTimed starts a server in the year 2027: bubbles begin in 2000.
func newTimed(t *testing.T) *timed {
	t.Helper()
	s := &timed{T: t, store: memory.New()}
	s.set(27 * 366 * day)
	s.c = s.core(false)
	key, token, err := s.c.InitDev(t.Context(), engines.Token{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	s.key, s.root = key, token.Reveal()
	t.Cleanup(func() {
		if err := s.c.Seal(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *timed) set(by time.Duration) { s.off.Add(int64(by)) }

func (s *timed) core(trust bool) *core.Core {
	s.log = &log{}
	return core.New(core.Config{
		Storage: s.store, Logger: slog.New(slog.NewTextHandler(s.log, nil)),
		Now: func() time.Time { return time.Now().Add(time.Duration(s.off.Load())).Round(0) },
		Types: map[mounts.Kind]map[string]engines.Factory{
			mounts.Auth: {"approle": approle.Factory}, mounts.Secret: {"kv": kv.Factory}},
		Settings: core.Settings{DefaultLeaseTTL: 768 * time.Hour, MaxLeaseTTL: 768 * time.Hour, StorageType: "inmem",
			LogLevel: new(slog.LevelVar), TrustClock: trust},
		Build: core.Build{Version: "1.21.2", Date: "2026-01-01T00:00:00Z"},
	})
}

// restart starts the server anew over the same storage.
func (s *timed) restart(trust bool) {
	s.Helper()
	if err := s.c.Seal(); err != nil {
		s.Fatal(err)
	}
	s.boot(s.store, trust)
}

// crash starts a server over what is stored now, as if the machine had lost its power.
func (s *timed) crash() {
	s.Helper()
	left := memory.New()
	if err := left.Apply(s.Context(), s.store.Contents()...); err != nil {
		s.Fatal(err)
	}
	if err := s.c.Seal(); err != nil {
		s.Fatal(err)
	}
	s.boot(left, false)
}

func (s *timed) boot(store *memory.Store, trust bool) {
	s.Helper()
	s.store = store
	s.c = s.core(trust)
	if _, err := s.c.Unseal(s.Context(), core.Call{Params: map[string]any{"key": s.key}}); err != nil {
		s.Fatal(err)
	}
}

// token makes one that ends after ttl.
func (s *timed) token(typ string, ttl time.Duration) string {
	s.Helper()
	return newToken(s.T, s.c, s.root, map[string]any{"policies": []any{"default"}, "type": typ, "ttl": ttl.String()})
}

func (s *timed) alive(token string) bool {
	s.Helper()
	_, err := do(s.Context(), s.c, token, engines.Read, "auth/token/lookup-self", nil)
	if err != nil && !errors.Is(err, engines.ErrDenied) {
		s.Fatal(err)
	}
	return err == nil
}

// want checks who is alive.
func (s *timed) want(when string, want bool, tokens ...string) {
	s.Helper()
	for i, token := range tokens {
		if got := s.alive(token); got != want {
			s.Errorf("%s: token %d alive: %v, want %v", when, i, got, want)
		}
	}
}

// stored counts the tokens that are stored, besides the root token.
func (s *timed) stored() int {
	s.Helper()
	return len(must(s.T, s.c, s.root, engines.List, "auth/token/accessors/", nil).Data["keys"].([]string)) - 1
}

// TestWhatEndedStaysEnded lets tokens of both types end by a clock that is a day ahead, and sets it right again.
func TestWhatEndedStaysEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimed(t)
		service, batch := s.token("service", time.Hour), s.token("batch", time.Hour)
		long := s.token("service", 200*time.Hour)
		s.want("before", true, service, batch, long)
		s.set(day)
		time.Sleep(time.Minute) // nobody asks
		synctest.Wait()
		if n := s.stored(); n != 1 {
			t.Errorf("%d tokens are stored a minute after the jump, want 1", n)
		}
		s.want("ahead", false, service, batch)
		s.want("ahead", true, long)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.set(-day)
		s.want("set right", false, service, batch)
		s.want("set right", true, long)
		s.crash()
		s.want("after a crash", false, service, batch)
		s.want("after a crash", true, long)
		if n := strings.Count(s.log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings: %s", n, s.log)
		}
	})
}

// TestTokensLiveAsLongAsTheyWereMadeFor makes tokens while the clock is years ahead.
func TestTokensLiveAsLongAsTheyWereMadeFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimed(t)
		s.set(70 * 365 * day)
		service, batch := s.token("service", 10*time.Hour), s.token("batch", 10*time.Hour)
		s.set(-70 * 365 * day)
		s.restart(false)
		time.Sleep(9 * time.Hour)
		s.want("before its time", true, service, batch)
		time.Sleep(time.Hour + time.Minute)
		s.want("after its time", false, service, batch)
	})
}

// TestMachineThatBootsIn1970 has no clock until NTP answers.
func TestMachineThatBootsIn1970(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimed(t)
		service, batch := s.token("service", time.Hour), s.token("batch", time.Hour)
		long := s.token("service", 20*day)
		time.Sleep(2 * time.Hour)
		s.want("at its end", false, service, batch)
		time.Sleep(2 * time.Minute)
		lost := time.Duration(s.off.Load()) + 30*365*day
		s.set(-lost)
		s.crash()
		s.want("in 1970", false, service, batch)
		s.want("in 1970", true, long)
		fresh := s.token("service", time.Hour)
		time.Sleep(time.Minute)
		s.set(lost)
		s.want("at the right time", false, service, batch)
		s.want("at the right time", true, long, fresh)
		time.Sleep(time.Hour)
		s.want("an hour later", false, fresh)
		if text := s.log.String(); !strings.Contains(text, "clock is behind what this server has seen") {
			t.Errorf("log: %s", text)
		}
	})
}

// TestTrustedClockEndsWhatWasIssuedLater tells a server that its data is from a wrong future.
func TestTrustedClockEndsWhatWasIssuedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimed(t)
		before := s.token("service", 200*time.Hour)
		s.set(100 * time.Hour)
		service, batch := s.token("service", 10*time.Hour), s.token("batch", 10*time.Hour)
		s.set(-100 * time.Hour)
		s.restart(true)
		synctest.Wait()
		s.want("of the wrong clock", false, service, batch)
		s.want("of the right clock", true, before)
		if n := s.stored(); n != 1 {
			t.Errorf("%d tokens are stored, want 1", n)
		}
		s.restart(false)
		lookup := must(t, s.c, s.root, engines.Update, "auth/token/create", map[string]any{"ttl": "1h"}).Auth
		found := must(t, s.c, lookup.Token.Reveal(), engines.Read, "auth/token/lookup-self", nil).Data["expire_time"]
		at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(found))
		if d := time.Until(at) - time.Duration(s.off.Load()); err != nil || (d-time.Hour).Abs() > time.Second {
			t.Errorf("a token ends at %v, in %v: %v", found, d, err)
		}
	})
}

// secretID makes a secret id for an hour and returns a login with it.
func (s *timed) secretID() (login func() error) {
	s.Helper()
	role := must(s.T, s.c, s.root, engines.Read, "auth/approle/role/r/role-id", nil).Data["role_id"]
	secret := must(s.T, s.c, s.root, engines.Update, "auth/approle/role/r/secret-id", nil).Data["secret_id"]
	return func() error {
		_, err := do(s.Context(), s.c, "", engines.Update, "auth/approle/login",
			map[string]any{"role_id": role, "secret_id": secret})
		return err
	}
}

// TestSecretIDsStayEnded is the same for the secret ids of AppRole.
func TestSecretIDsStayEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTimed(t)
		must(t, s.c, s.root, engines.Update, "sys/auth/approle", map[string]any{"type": "approle"})
		must(t, s.c, s.root, engines.Update, "auth/approle/role/r", map[string]any{"secret_id_ttl": "1h"})
		login := s.secretID()
		if err := login(); err != nil {
			t.Fatal(err)
		}
		s.set(2 * time.Hour)
		if login() == nil {
			t.Error("it is good after its time")
		}
		later := s.secretID()
		s.set(-2 * time.Hour)
		if login() == nil {
			t.Error("it is good again")
		}
		if err := later(); err != nil {
			t.Errorf("one that was made meanwhile: %v", err)
		}
		s.restart(true)
		if later() == nil {
			t.Error("it is good although the clock was wrong")
		}
	})
}
