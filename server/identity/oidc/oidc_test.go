package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"coffer/engines"
	"coffer/server/identity"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// entities are who may ask; everybody is nobody.
type entities struct{ err error }

func (e entities) Holder(_ context.Context, id string) (*identity.Holder, error) {
	if e.err == nil && id != "" {
		return nil, identity.ErrNoEntity
	}
	return identity.Nobody(), e.err
}

type fixture struct {
	t      *testing.T
	store  *Store
	router *engines.Router
}

const address = "https://coffer.example:8200"

func openFixture(t *testing.T, base storage.Storage) *fixture {
	t.Helper()
	s, err := New(t.Context(), Config{Storage: base, Holders: entities{}, Address: address, Logger: slog.New(slog.DiscardHandler), Now: time.Now, Wall: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return fixtureOf(t, s)
}

// served is an engine with the routes of a Store alone.
type served struct{ *Store }

func (s served) Routes() *engines.Routes { return engines.Compile(s.Store.Routes()...) }

func fixtureOf(t *testing.T, s *Store) *fixture {
	t.Helper()
	router, err := engines.NewRouter(served{s})
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t: t, store: s, router: router}
}

type params = map[string]any

func (f *fixture) try(op engines.Operation, path string, p params) (*engines.Response, error) {
	f.t.Helper()
	m, ok := f.router.Match(f.t.Context(), op, "oidc/"+path)
	if !ok {
		return nil, engines.ErrUnsupportedPath
	}
	return m.Call(f.t.Context(), &engines.Request{
		Operation: op, Path: "oidc/" + path, Params: p, Caller: &engines.Caller{EntityID: "e1"},
	})
}

func (f *fixture) do(op engines.Operation, path string, p params) *engines.Response {
	f.t.Helper()
	resp, err := f.try(op, path, p)
	if err != nil {
		f.t.Fatalf("%s %s: %v", op, path, err)
	}
	return resp
}

// sign signs a token for nobody with the role's key.
func (f *fixture) sign(name string) string {
	f.t.Helper()
	r := f.store.roles[name]
	k, err := f.store.current(f.t.Context(), r.Key)
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := sign(k, r, identity.Nobody(), f.store.issuerURL(), time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	return text
}

// why is what introspection has against a token.
func (f *fixture) why(text, client string) string {
	f.t.Helper()
	why, err := f.store.introspect(f.t.Context(), text, client)
	if err != nil {
		f.t.Fatal(err)
	}
	if why == nil {
		return ""
	}
	return why.Error()
}

func (f *fixture) keySet() jose.JSONWebKeySet {
	f.t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(f.do(engines.Read, ".well-known/keys", nil).Raw.Body, &set); err != nil {
		f.t.Fatal(err)
	}
	for i := range set.Keys {
		if !set.Keys[i].IsPublic() {
			f.t.Fatal("a private key is published")
		}
	}
	return set
}

// Whoever has the published keys can verify a token, whatever its algorithm.
func TestTokensAreVerifiedByOthers(t *testing.T) {
	f := openFixture(t, memory.New())
	for _, algorithm := range algorithmNames() {
		name := strings.ToLower(string(algorithm))
		f.do(engines.Update, "key/"+name, params{"algorithm": string(algorithm), "allowed_client_ids": "*"})
		f.do(engines.Update, "role/"+name, params{"key": name, "client_id": "c-" + name, "ttl": "1h"})
		parsed, err := jwt.ParseSigned(f.sign(name), []jose.SignatureAlgorithm{algorithm})
		if err != nil {
			t.Fatal(err)
		}
		set := f.keySet()
		keys := set.Key(parsed.Headers[0].KeyID)
		var claims jwt.Claims
		if len(keys) != 1 || parsed.Claims(&keys[0], &claims) != nil {
			t.Fatalf("%s: not verified with %d keys", algorithm, len(keys))
		}
		want := jwt.Expected{Issuer: address + "/v1/identity/oidc", AnyAudience: []string{"c-" + name}, Time: time.Now()}
		if err := claims.Validate(want); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
		if life := claims.Expiry.Time().Sub(claims.IssuedAt.Time()); life != time.Hour {
			t.Errorf("%s: lives for %v", algorithm, life)
		}
		if why := f.why(f.sign(name), "c-"+name); why != "" {
			t.Errorf("%s: %s", algorithm, why)
		}
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	f := openFixture(t, memory.New())
	f.do(engines.Update, "key/k", params{"algorithm": "ES256", "allowed_client_ids": "*"})
	f.do(engines.Update, "role/r", params{"key": "k", "client_id": "c", "ttl": "1h"})
	good := f.sign("r")
	parts := strings.Split(good, ".")
	var header struct{ Kid string }
	raw, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil || json.Unmarshal(raw, &header) != nil {
		t.Fatal(err)
	}
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: other, KeyID: header.Kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := jwt.Signed(signer).Claims(params{"iss": f.store.issuerURL(), "sub": "", "exp": time.Now().Add(time.Hour).Unix()}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no algorithm":    encode(`{"alg":"none","kid":"`+header.Kid+`"}`) + "." + parts[1] + ".",
		"another's key":   forged,
		"other claims":    parts[0] + "." + encode(`{"iss":"x"}`) + "." + parts[2],
		"HMAC":            encode(`{"alg":"HS256","kid":"`+header.Kid+`"}`) + "." + parts[1] + "." + parts[2],
		"other algorithm": encode(`{"alg":"ES384","kid":"`+header.Kid+`"}`) + "." + parts[1] + "." + parts[2],
		"unknown key":     encode(`{"alg":"ES256","kid":"nobody"}`) + "." + parts[1] + "." + parts[2],
		"half":            parts[0] + "." + parts[1], "nothing": "", "dots": "..",
	} {
		if why := f.why(text, ""); why == "" {
			t.Errorf("%s is accepted", name)
		}
	}
	if why := f.why(good, ""); why != "" {
		t.Errorf("the good one: %s", why)
	}
	if why := f.why(good, "other"); !strings.Contains(why, "audience") {
		t.Errorf("for another client: %q", why)
	}
	f.do(engines.Update, "config", params{"issuer": "https://other.example"})
	if why := f.why(good, ""); !strings.Contains(why, "issuer") {
		t.Errorf("with another issuer: %q", why)
	}
}

func TestIntrospectionAsksWhetherTheHolderIsThere(t *testing.T) {
	f := openFixture(t, memory.New())
	f.do(engines.Update, "key/k", params{"algorithm": "EdDSA"})
	f.do(engines.Update, "role/r", params{"key": "k", "client_id": "c", "ttl": "1h"})
	text := f.sign("r")
	for want, err := range map[string]error{
		"": nil, "entity was not found": identity.ErrNoEntity, "entity is disabled": identity.ErrDisabled,
	} {
		f.store.cfg.Holders = entities{err}
		if why := f.why(text, ""); why != want {
			t.Errorf("%v: %q", err, why)
		}
	}
	f.store.cfg.Holders = entities{errors.New("storage is gone")}
	if _, err := f.store.introspect(t.Context(), text, ""); err == nil {
		t.Error("a failure is taken for an answer")
	}
}

// Keys rotate when they are due, are published before they sign and for their time afterwards.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFixture(t, memory.New())
		f.do(engines.Update, "key/k", params{
			"algorithm": "EdDSA", "rotation_period": "1h", "verification_ttl": "2h", "allowed_client_ids": "*",
		})
		f.do(engines.Update, "role/r", params{"key": "k", "client_id": "c", "ttl": "2h"})
		ids := func() []string {
			var list []string
			for _, k := range f.keySet().Keys {
				list = append(list, k.KeyID)
			}
			return list
		}
		kid := func(text string) string {
			parsed, err := jwt.ParseSigned(text, algorithmNames())
			if err != nil {
				t.Fatal(err)
			}
			return parsed.Headers[0].KeyID
		}
		first := f.sign("r")
		published := ids()
		if len(published) != 2 || published[0] != kid(first) {
			t.Fatalf("published %v, signed with %s", published, kid(first))
		}
		time.Sleep(59 * time.Minute)
		if kid(f.sign("r")) != kid(first) {
			t.Error("rotated too early")
		}
		time.Sleep(time.Minute)
		second := f.sign("r")
		if kid(second) != published[1] {
			t.Error("the key that was announced does not sign")
		}
		if got := ids(); !slices.Contains(got, kid(first)) || len(got) != 3 {
			t.Errorf("published %v", got)
		}
		if why := f.why(first, ""); why != "" {
			t.Errorf("the old key's token: %s", why)
		}
		time.Sleep(2 * time.Hour)
		if slices.Contains(ids(), kid(first)) {
			t.Error("the old key is published for too long")
		}
		f.do(engines.Update, "key/k/rotate", params{"verification_ttl": "0"})
		if slices.Contains(ids(), kid(second)) {
			t.Error("a key that was rotated away at once is still published")
		}
		for range 2 * maxRetired {
			f.do(engines.Update, "key/k/rotate", params{"verification_ttl": "1000h"})
		}
		if n := len(ids()); n > maxRetired+2 {
			t.Errorf("%d keys are published", n)
		}
	})
}

func TestOnlyKeysInUseArePublished(t *testing.T) {
	f := openFixture(t, memory.New())
	f.do(engines.Update, "key/k", params{"algorithm": "EdDSA"})
	if n := len(f.keySet().Keys); n != 0 {
		t.Errorf("%d keys", n)
	}
	f.do(engines.Update, "role/r", params{"key": "k", "ttl": "1h"})
	if n := len(f.keySet().Keys); n != 2 {
		t.Errorf("%d keys", n)
	}
}

func TestTemplates(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	who := identity.Nobody()
	claims, err := claimsOf(`{"id": {{identity.entity.id}}, "none": {{ identity.entity.metadata.none }},
		"all": {{identity.entity.metadata}}, "alias": {{identity.entity.aliases.x.name}},
		"aliasdata": {{identity.entity.aliases.x.custom_metadata}},
		"names": {{identity.entity.groups.names}}, "ids": {{identity.entity.groups.ids}}, "now": {{time.now.plus.1h}}}`, who, now)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": "", "none": "", "all": params{}, "alias": "", "aliasdata": params{}, "names": []any{}, "ids": []any{}, "now": 1.7000036e9,
	}
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, template := range []string{`{"SUB": "x"}`, `{"\u017fub": "x"}`, `{"a": 1, "A": 2}`, `{"a": 1, "a": 2}`,
		`{`, `[]`, `"x"`, `{"a": {{identity.entity.id}`, `{"a": }}`, `{"a": {{x}}}`, `{"a": {{identity.groups.names.x.id}}}`,
		`{"a": "{{identity.entity.id}}"}`, `{"iss": "x"}`, `{"sub": 1}`, `{"namespace": {}}`, `{"a": {{time.then}}}`,
		`{"a": {{identity.entity.nothing}}}`, `{"a": "\ud800"}`, "{\"a\": \"\xff\"}", strings.Repeat(" ", maxTemplate) + "{}",
	} {
		if err := checkTemplate(template, now); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%.40s: %v", template, err)
		}
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(`{"a": {{identity.entity.id}}}`))
	if got := templateText(encoded); got != `{"a": {{identity.entity.id}}}` {
		t.Errorf("in base64: %q", got)
	}
}

// Whatever a template and its values are, what it was checked for holds for what is signed.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{`{"a": {{identity.entity.name}}}`, `{"\u0069ss": 1}`, `{{`, `}}`, `{"a":{{time.now}}}`, `null`, ``} {
		f.Add(seed)
	}
	now := time.Unix(1_700_000_000, 0)
	f.Fuzz(func(t *testing.T, template string) {
		if checkTemplate(template, now) != nil {
			return
		}
		claims, err := claimsOf(template, identity.Nobody(), now)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range reserved() {
			if _, taken := claims[name]; taken {
				t.Errorf("%q sets %s", template, name)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	k, err := newDefaultKey().filled(time.Unix(0, 0))
	if err != nil {
		f.Fatal(err)
	}
	seed, err := encode(k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("\x01" + `{"alg":"ES256","rot":60000000000,"ver":0,"signing":{"kty":"EC"}}`))
	f.Add([]byte("\x01" + `{"key":"k","client":"c","ttl":5}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := decodeKey("k", b); err == nil {
			k.public(time.Unix(0, 0))
			if _, err := encode(k); err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, errCorrupt) {
			t.Error(err)
		}
		if _, err := decodeRole("r", b); err != nil && !errors.Is(err, errCorrupt) {
			t.Error(err)
		}
	})
}

func FuzzIntrospect(f *testing.F) {
	s, err := New(f.Context(), Config{Storage: memory.New(), Holders: entities{}, Address: address, Logger: slog.New(slog.DiscardHandler), Now: time.Now, Wall: time.Now})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJFUzI1NiIsImtpZCI6IngifQ.e30.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if why, err := s.introspect(t.Context(), text, ""); why == nil || err != nil {
			t.Errorf("accepted: %v, %v", why, err)
		}
	})
}

// After any fault memory and storage agree.
func TestFaults(t *testing.T) {
	open := func(*testing.T) storage.Storage { return memory.New() }
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
		s, err := New(t.Context(), Config{Storage: faulty, Holders: entities{}, Address: address, Logger: slog.New(slog.DiscardHandler), Now: time.Now, Wall: time.Now})
		if err != nil {
			return // it does not open, and says so
		}
		f := fixtureOf(t, s)
		for _, step := range []struct {
			op   engines.Operation
			path string
			p    params
		}{
			{engines.Update, "config", params{"issuer": "https://x.example"}},
			{engines.Update, "key/k", params{"algorithm": "EdDSA", "allowed_client_ids": "*"}},
			{engines.Update, "key/other", params{"algorithm": "ES256"}},
			{engines.Update, "role/r", params{"key": "k", "client_id": "c", "ttl": "1h"}},
			{engines.Update, "key/k/rotate", nil},
			{engines.Update, "key/k", params{"algorithm": "ES256"}},
			{engines.Delete, "key/other", nil},
			{engines.Delete, "role/r", nil},
		} {
			_, _ = f.try(step.op, step.path, step.p)
		}
		faulty.Heal()
		if err := s.view(t.Context(), func() {}); err != nil {
			t.Fatal(err)
		}
		stored := openFixture(t, base).store
		if diff := cmp.Diff(dump(t, stored), dump(t, s)); diff != "" {
			t.Errorf("storage and memory differ:\n%s", diff)
		}
		for name, r := range s.roles {
			if s.keys[r.Key] == nil {
				t.Errorf("role %s has no key", name)
			}
		}
	})
}

// While nobody knows what storage holds, nobody is told anything.
func TestNothingIsToldWhileInDoubt(t *testing.T) {
	base := storagetest.NewFaulty(memory.New())
	f := openFixture(t, base)
	f.do(engines.Update, "key/k", params{"algorithm": "EdDSA"})
	base.FailEvery(storagetest.List, storagetest.NotWritten)
	base.Fail(storagetest.Apply, 1, storagetest.WrittenButFailed)
	if _, err := f.try(engines.Delete, "key/k", nil); !errors.Is(err, storagetest.ErrInjected) {
		t.Fatal(err)
	}
	if _, err := f.try(engines.Read, "key/k", nil); !errors.Is(err, storagetest.ErrInjected) {
		t.Errorf("in doubt: %v", err)
	}
	base.Heal()
	if _, err := f.try(engines.Read, "key/k", nil); !errors.Is(err, engines.ErrNotFound) {
		t.Errorf("afterwards: %v", err)
	}
}

func dump(t *testing.T, s *Store) string {
	t.Helper()
	text, err := json.MarshalIndent(params{"issuer": s.issuer, "keys": s.keys, "roles": s.roles}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSettingsOfKeysAndRoles(t *testing.T) {
	f := openFixture(t, memory.New())
	f.do(engines.Update, "key/k", params{"algorithm": "EdDSA", "rotation_period": "1h", "verification_ttl": "1h"})
	f.do(engines.Update, "role/r", params{"key": "k", "ttl": "1h"})
	for what, step := range map[string]struct {
		op   engines.Operation
		path string
		p    params
	}{
		"a key that verifies for less than its roles' tokens": {engines.Update, "key/k", params{"verification_ttl": "59m"}},
		"a short period":               {engines.Update, "key/x", params{"rotation_period": "59s"}},
		"a long verification":          {engines.Update, "key/x", params{"rotation_period": "1h", "verification_ttl": "601m"}},
		"a symmetric algorithm":        {engines.Update, "key/x", params{"algorithm": "HS256"}},
		"no algorithm":                 {engines.Update, "key/x", params{"algorithm": "none"}},
		"a role of no key":             {engines.Update, "role/x", params{"key": "x"}},
		"tokens longer than the key":   {engines.Update, "role/x", params{"key": "k", "ttl": "2h"}},
		"deleting a key in use":        {engines.Delete, "key/k", nil},
		"deleting the default key":     {engines.Delete, "key/default", nil},
		"rotating no key":              {engines.Update, "key/x/rotate", nil},
		"a token of no role":           {engines.Read, "token/x", nil},
		"a client that is not allowed": {engines.Read, "token/r", nil},
		"an issuer with a path":        {engines.Update, "config", params{"issuer": "https://a/b"}},
		"an issuer with a user":        {engines.Update, "config", params{"issuer": "https://u:p@a"}},
		"an issuer without a host":     {engines.Update, "config", params{"issuer": "https://"}},
		"an issuer of another kind":    {engines.Update, "config", params{"issuer": "file:///etc"}},
	} {
		if _, err := f.try(step.op, step.path, step.p); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestKeyFromLaterRotates makes a key while the clock is years ahead: it would not be due for as long.
func TestKeyFromLaterRotates(t *testing.T) {
	now := time.Now().Add(30 * 365 * 24 * time.Hour)
	s, err := New(t.Context(), Config{Storage: memory.New(), Holders: entities{}, Address: address,
		Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }, Wall: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	f := fixtureOf(t, s)
	f.do(engines.Update, "key/k", params{"algorithm": "EdDSA", "rotation_period": "1h", "verification_ttl": "1h"})
	ahead, err := s.current(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	now = time.Now()
	rotated, err := s.current(t.Context(), "k")
	if err != nil || rotated.Signing.KeyID != ahead.Next.KeyID {
		t.Errorf("the key did not rotate: %v", err)
	}
	if again, err := s.current(t.Context(), "k"); err != nil || again != rotated {
		t.Errorf("it rotated again: %v", err)
	}
}
