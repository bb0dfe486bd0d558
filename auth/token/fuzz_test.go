package token

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage/memory"
)

func sample() *Entry {
	e := &Entry{
		ID: "h00", Parent: "h11", Role: "r", NumUses: 3, MaxUses: 4, Internal: map[string]any{"a": "b"},
		Caller: &engines.Caller{Policies: []string{"default", "p"}, Path: "auth/token/create", DisplayName: "token",
			Metadata: map[string]string{"k": "v"}, Accessor: "acc", EntityID: "e"},
		Life: Life{Created: time.Unix(100, 5).UTC(), Expires: time.Unix(4000000000, 0).UTC(), TTL: time.Hour, Renewable: true},
	}
	e.BoundCIDRs, _ = auth.ParseCIDRs([]string{"10.1.2.3/8", "::1"})
	e.complete()
	return e
}

func TestEntryRoundTrip(t *testing.T) {
	want := sample()
	b, err := want.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(want.ID, b)
	opts := cmp.Options{cmp.Comparer(func(a, b engines.Token) bool { return a.Equal(b) }),
		cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
		cmp.Transformer("cidrs", auth.CIDRTexts)}
	if diff := cmp.Diff(want, got, opts); err != nil || diff != "" {
		t.Errorf("%v: -want +got\n%s", err, diff)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	b, err := sample().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("h00", b)
	f.Add("", b)
	f.Add("h00", []byte{recordVersion})
	f.Add("h00", []byte("\x01{}"))
	f.Add("h00", []byte("\x01null"))
	f.Add("h00", []byte(`{"path":"a"}`))
	f.Fuzz(func(t *testing.T, id string, b []byte) {
		e, err := decode(id, b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%v is no ErrCorrupt", err)
			}
			return
		}
		if e.Caller == nil || e.NumUses < spent || e.Caller.Batch != (id == "") {
			t.Fatalf("%+v", e)
		}
		again, err := e.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(id, again); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzDecodeRole(f *testing.F) {
	f.Add([]byte("\x01{}"))
	f.Add([]byte(`{"token":{"cidrs":["1.2.3.4/8"]}}`))
	f.Add([]byte("\x01" + `{"policies":{"allowed":["a"]},"token":{"type":"batch","period":5}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRole("r", b)
		if (r == nil) == (err == nil) || (err != nil && !errors.Is(err, ErrCorrupt)) {
			t.Fatalf("%v, %v", r, err)
		}
	})
}

func FuzzBatchToken(f *testing.F) {
	k, err := openKeys(f.Context(), memory.New())
	if err != nil {
		f.Fatal(err)
	}
	good, err := k.sealBatch(sample())
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good.Reveal(), good.Reveal()[:40], "hvb.", "hvb.AQ", "hvb.====", "hvs.x", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := k.openBatch(engines.NewToken(text))
		if (err == nil) != (text == good.Reveal()) {
			t.Fatalf("%q: %v, %v", text, e, err)
		}
		if err != nil && !errors.Is(err, ErrBadToken) {
			t.Fatal(err)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	f := newFixture(b)
	f.store.now = time.Now
	e := f.make(f.root, params{"policies": []any{"p"}, "ttl": "700h"})
	e.Life.Expires = time.Now().Add(time.Hour)
	f.store.cache.update(e)
	token := engines.NewToken(e.Caller.Token.Reveal())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.store.Authenticate(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticateParallel(b *testing.B) {
	f := newFixture(b)
	token := f.make(f.root, params{"policies": []any{"p"}}).Caller.Token
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := f.store.Authenticate(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAuthenticateUnknown(b *testing.B) {
	f := newFixture(b)
	token := newServiceToken(false)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.store.Authenticate(b.Context(), token); !errors.Is(err, ErrBadToken) {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreateRevoke(b *testing.B) {
	f := newFixture(b)
	b.ReportAllocs()
	for b.Loop() {
		resp := f.write(f.root, "create", params{"policies": []any{"p"}, "ttl": "1h"})
		if err := f.store.Revoke(b.Context(), resp.Auth.Token); err != nil {
			b.Fatal(err)
		}
	}
}
