package mfa

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"coffer/engines"
	"coffer/storage/memory"
)

// everybody knows every entity and group.
type everybody struct{}

func (everybody) HasEntity(context.Context, string) (bool, error) { return true, nil }
func (everybody) HasGroup(context.Context, string) (bool, error)  { return true, nil }
func (everybody) AuthMounts() []engines.Mount                     { return nil }

func open(t *testing.T, store *memory.Store) *Store {
	t.Helper()
	s, err := New(t.Context(), Config{Storage: store, Identities: everybody{}, Mounts: everybody{}, Now: time.Now, Wall: time.Now,
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// enrol makes a method and a secret of each entity and returns what is demanded, and the URLs.
func enrol(t *testing.T, s *Store, p methodParams, entities ...string) (d *Demand, id string, urls []*otp.Key) {
	t.Helper()
	id, err := s.writeMethod(t.Context(), "", &p)
	if err != nil {
		t.Fatal(err)
	}
	for _, entity := range entities {
		resp, err := s.makeSecret(t.Context(), id, entity)
		if err != nil {
			t.Fatal(err)
		}
		key, err := otp.NewKeyFromURL(fmt.Sprint(resp.Data["url"]))
		if err != nil {
			t.Fatal(err)
		}
		urls = append(urls, key)
	}
	return &Demand{[]*enforcement{{Name: "all", Methods: []string{id}}}}, id, urls
}

func standard() methodParams {
	return methodParams{Name: "phone", Issuer: "x", Period: 30 * time.Second, KeySize: 20, Algorithm: "SHA1", Digits: 6, Skew: 1}
}

// code is what a telephone shows at a time.
func code(t *testing.T, key *otp.Key, at time.Time) string {
	t.Helper()
	c, err := totp.GenerateCodeCustom(key.Secret(), at, totp.ValidateOpts{
		Period: uint(key.Period()), Digits: key.Digits(), Algorithm: key.Algorithm(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *Store) try(t *testing.T, d *Demand, entity, code string) string {
	t.Helper()
	err := s.Satisfy(t.Context(), d, entity, Factors{d.enforcements[0].Methods[0]: {code}})
	if err != nil {
		return err.Error()
	}
	return ""
}

func refusedWith(t *testing.T, what, got, want string) {
	t.Helper()
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

const wrongCode = "failed to validate TOTP passcode"

func TestACodeIsGoodOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		s := open(t, store)
		d, _, keys := enrol(t, s, standard(), "ann", "bob")
		now := code(t, keys[0], time.Now())
		refusedWith(t, "somebody else's", s.try(t, d, "bob", now), wrongCode)
		for _, spelling := range []string{" " + now, now + " ", now[:3] + " " + now[3:], now + "\n", "\t" + now, now[:5] + " "} {
			refusedWith(t, fmt.Sprintf("%q", spelling), s.try(t, d, "ann", spelling), wrongCode)
			s.attempts.clear(secretKey(d.enforcements[0].Methods[0], "ann"))
		}
		refusedWith(t, "the code", s.try(t, d, "ann", now), "")
		refusedWith(t, "again", s.try(t, d, "ann", now), wrongCode)
		refusedWith(t, "the one before", s.try(t, d, "ann", code(t, keys[0], time.Now().Add(-30*time.Second))), wrongCode)
		refusedWith(t, "again after a restart", open(t, store).try(t, d, "ann", now), wrongCode)
		next := code(t, keys[0], time.Now().Add(30*time.Second))
		refusedWith(t, "the next", s.try(t, d, "ann", next), "")
		time.Sleep(30 * time.Second)
		refusedWith(t, "the next, later", s.try(t, d, "ann", next), wrongCode)
		time.Sleep(30 * time.Second)
		refusedWith(t, "the one after", s.try(t, d, "ann", code(t, keys[0], time.Now())), "")
	})
}

func TestManyAtOnceWithOneCodeAreOne(t *testing.T) {
	s := open(t, memory.New())
	p := standard()
	p.MaxAttempts = 1000
	d, id, keys := enrol(t, s, p, "ann")
	now, good := code(t, keys[0], time.Now()), make(chan bool)
	for range 50 {
		go func() { good <- s.Satisfy(context.Background(), d, "ann", Factors{id: {now}}) == nil }()
	}
	n := 0
	for range 50 {
		if <-good {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d logins with one code", n)
	}
}

func TestGuessesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, memory.New())
		d, _, keys := enrol(t, s, standard(), "ann", "bob")
		far := code(t, keys[0], time.Now().Add(time.Hour))
		for range defaultAttempts {
			refusedWith(t, "a guess", s.try(t, d, "ann", far), wrongCode)
		}
		refusedWith(t, "the right one, too late", s.try(t, d, "ann", code(t, keys[0], time.Now())), "maximum TOTP validation attempts")
		refusedWith(t, "another entity", s.try(t, d, "bob", code(t, keys[1], time.Now())), "")
		time.Sleep(30 * time.Second)
		refusedWith(t, "in the next period", s.try(t, d, "ann", code(t, keys[0], time.Now())), "")
	})
}

func TestCodesOfAllKinds(t *testing.T) {
	for _, alg := range []string{"SHA1", "SHA256", "SHA512"} {
		for _, digits := range []int{6, 8} {
			for _, skew := range []int{0, 1} {
				synctest.Test(t, func(t *testing.T) {
					s := open(t, memory.New())
					p := standard()
					p.Algorithm, p.Digits, p.Skew, p.QRSize = alg, digits, skew, 100
					d, _, keys := enrol(t, s, p, "ann")
					late := wrongCode
					if skew == 1 {
						late = ""
					}
					at := func(shift time.Duration) string { return code(t, keys[0], time.Now().Add(shift)) }
					refusedWith(t, "two periods ago", s.try(t, d, "ann", at(-time.Minute)), wrongCode)
					refusedWith(t, "a period ago", s.try(t, d, "ann", at(-30*time.Second)), late)
					refusedWith(t, "now", s.try(t, d, "ann", at(0)), "")
					refusedWith(t, "in two periods", s.try(t, d, "ann", at(time.Minute)), wrongCode)
				})
			}
		}
	}
}

func TestSecretIsShownOnce(t *testing.T) {
	s := open(t, memory.New())
	_, id, keys := enrol(t, s, standard(), "ann")
	resp, err := s.makeSecret(t.Context(), id, "ann")
	if err != nil || resp.Data != nil || len(resp.Warnings) != 1 {
		t.Errorf("%+v, %v", resp, err)
	}
	if text := fmt.Sprint(resp); strings.Contains(text, keys[0].Secret()) {
		t.Error("the secret is shown again")
	}
}

func TestADeletedMethodTakesItsSecretsAlong(t *testing.T) {
	store := memory.New()
	s := open(t, store)
	d, id, keys := enrol(t, s, standard(), "ann", "bob")
	if _, err := s.deleteMethod(t.Context(), nil, idParams{id}); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, "a code", s.try(t, d, "ann", code(t, keys[0], time.Now())), "failed to find MFA config")
	if left, err := store.List(t.Context(), folder, "", 0); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestWaitingLoginsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, memory.New())
		wait := func(alias string) string {
			return s.Wait(Waiting{Login: &engines.Login{Alias: alias}, Accessor: "a"})
		}
		first := wait("ann")
		flood := make([]string, 0, maxWaitingOfSubject+1)
		for range maxWaitingOfSubject + 1 {
			flood = append(flood, wait("eve"))
		}
		if _, ok := s.Take(flood[0]); ok {
			t.Error("one waits with more than he may")
		}
		w, ok := s.Take(first)
		if !ok {
			t.Fatal("one drove out another")
		}
		if _, ok := s.Take(first); ok {
			t.Error("two took one login")
		}
		time.Sleep(time.Minute)
		s.Return(w)
		time.Sleep(waitFor - time.Minute - time.Second)
		if w, ok = s.Take(first); !ok {
			t.Fatal("over before its time")
		}
		s.Return(w)
		time.Sleep(time.Second)
		if _, ok := s.Take(first); ok {
			t.Error("it waits longer than five minutes")
		}
		for n := range maxWaiting + 10 {
			wait(fmt.Sprint(n))
		}
		if n, m := len(s.waiting.of), s.waiting.order.Len(); n != maxWaiting || m != n {
			t.Errorf("%d and %d wait", n, m)
		}
		time.Sleep(waitFor)
		wait("last")
		if n, m := len(s.waiting.of), len(s.waiting.count); n != 1 || m != 1 {
			t.Errorf("%d logins and %d counts are left", n, m)
		}
	})
}

func TestAttemptsAreBounded(t *testing.T) {
	a, now := newAttempts(), time.Unix(1, 0)
	for n := range maxCounted {
		a.take(fmt.Sprint(n), 1, time.Minute, now)
	}
	if a.take("one more", 1, time.Minute, now) {
		t.Error("there is no end")
	}
	if !a.take("one more", 1, time.Minute, now.Add(time.Minute)) || len(a.of) != 1 {
		t.Errorf("%d are left", len(a.of))
	}
}

func TestParseHeader(t *testing.T) {
	for text, want := range map[string]string{
		"": "map[]", "phone:1": "map[phone:[1]]", "phone": "map[phone:[]]", "a:b:c": "map[a:[b:c]]",
		":1": "missing method name or ID", "phone:": "missing method value",
	} {
		f, err := ParseHeader(http.Header{header: {text}})
		got := fmt.Sprint(map[string][]string(f))
		if err != nil {
			got = err.Error()
		}
		if !strings.HasSuffix(got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzRecords(f *testing.F) {
	good := codes{Issuer: "x", Period: 30, Algorithm: "SHA1", Digits: 6, Skew: 1, KeySize: 20}
	for _, v := range []any{
		secret{Key: "JBSWY3DPEHPK3PXP", Codes: good}, method{Name: "m", MaxAttempts: 5, Codes: good},
		enforcement{ID: "i", Methods: []string{"m"}},
	} {
		b, err := encode(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x01{\"key\":\"A\",\"codes\":{\"period\":0}}"))
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, b []byte) {
		if s, err := decodeSecret("k", b); err == nil {
			_, _ = s.step("000000", time.Unix(1<<33, 0)) // it may fail, and not panic
		}
		if m, err := decodeMethod("id", b); err == nil {
			m.data()
		}
		if e, err := decodeEnforcement("name", b); err == nil {
			e.covers(&Subject{EntityID: "e"})
		}
	})
}

func FuzzParsePayload(f *testing.F) {
	f.Add("m", "1", true)
	f.Fuzz(func(_ *testing.T, name, text string, list bool) {
		var value any = text
		if list {
			value = []any{text, 1}
		}
		if factors, err := ParsePayload(map[string]any{name: value}); err == nil {
			_, _ = passcode(factors[name])
		}
	})
}

// TestCodeOfALaterTimeIsTold uses a code while the clock is a day ahead: the log says why later ones are refused.
func TestCodeOfALaterTimeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead time.Duration
		var log strings.Builder
		s, err := New(t.Context(), Config{Storage: memory.New(), Identities: everybody{}, Mounts: everybody{}, Now: time.Now,
			Wall:   func() time.Time { return time.Now().Add(ahead) },
			Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		d, method, keys := enrol(t, s, standard(), "ann", "bob")
		refusedWith(t, "a wrong code", s.try(t, d, "ann", code(t, keys[0], time.Now().Add(time.Hour))), wrongCode)
		refusedWith(t, "a code used again", s.try(t, d, "bob", code(t, keys[1], time.Now())), "")
		refusedWith(t, "a code used again", s.try(t, d, "bob", code(t, keys[1], time.Now())), wrongCode)
		ahead = 24 * time.Hour
		refusedWith(t, "ahead", s.try(t, d, "ann", code(t, keys[0], time.Now().Add(ahead))), "")
		if log.Len() > 0 {
			t.Errorf("log %q", log.String())
		}
		ahead = 0
		right := code(t, keys[0], time.Now())
		refusedWith(t, "set right", s.try(t, d, "ann", right), wrongCode)
		text := log.String()
		if !strings.Contains(text, method) || !strings.Contains(text, "ann") || !strings.Contains(text, "later time") {
			t.Errorf("log %q", text)
		}
		if strings.Contains(text, right) || strings.Contains(text, keys[0].Secret()) {
			t.Errorf("the log tells secrets: %q", text)
		}
	})
}
