package token

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

func TestLookup(t *testing.T) {
	f := newFixture(t)
	e := f.make(f.root, params{"policies": []any{"p"}, "ttl": "1h", "meta": params{"k": "v"}, "display_name": "my app!",
		"explicit_max_ttl": "2h"})
	f.pass(1500 * time.Millisecond)
	want := map[string]any{
		"accessor": e.Caller.Accessor, "creation_time": int64(1767323045), "creation_ttl": int64(3600),
		"display_name": "token-my-app", "entity_id": "", "expire_time": "2026-01-02T04:04:05Z",
		"explicit_max_ttl": int64(7200), "id": e.Caller.Token.Reveal(), "issue_time": "2026-01-02T03:04:05Z",
		"meta": map[string]string{"k": "v"}, "num_uses": 0, "orphan": false, "path": "auth/token/create",
		"policies": []string{"default", "p"}, "renewable": true, "ttl": int64(3598), "type": "service",
	}
	if diff := cmp.Diff(want, f.lookup(e)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	byAccessor := f.write(f.root, "lookup-accessor", params{"accessor": e.Caller.Accessor})
	want["id"] = ""
	if diff := cmp.Diff(want, byAccessor.Data); diff != "" {
		t.Errorf("by accessor: -want +got\n%s", diff)
	}
}

func TestLookupOfRootHasNoLease(t *testing.T) {
	f := newFixture(t)
	resp, err := f.call(f.root, engines.Read, "lookup-self", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"accessor": f.root.Caller.Accessor, "creation_time": int64(1767323045), "creation_ttl": int64(0),
		"display_name": "root", "entity_id": "", "expire_time": nil, "explicit_max_ttl": int64(0),
		"id": f.root.Caller.Token.Reveal(), "meta": nil, "num_uses": 0, "orphan": true, "path": "auth/token/root",
		"policies": []string{"root"}, "ttl": int64(0), "type": "service",
	}
	if diff := cmp.Diff(want, resp.Data); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if len(f.leases.expires) != 0 {
		t.Errorf("leases %v", f.leases.expires)
	}
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	fixed := f.make(f.root, params{"policies": []any{"p"}, "renewable": false})
	eternal := f.make(f.root, nil)
	batch := f.make(f.root, params{"policies": []any{"p"}, "type": "batch"})
	text := func(e *Entry) string { return e.Caller.Token.Reveal() }
	for _, tt := range []struct {
		path string
		p    params
		err  string
	}{
		{"lookup", params{"token": "zzz"}, "bad token"},
		{"lookup", params{"token": "hvb.zzz"}, "bad token"},
		{"lookup-accessor", params{"accessor": "zzz"}, "1 error occurred:\n\t* invalid accessor\n\n"},
		{"lookup-accessor", params{"accessor": "../id/x"}, "1 error occurred:\n\t* invalid accessor\n\n"},
		{"lookup-accessor", nil, "1 error occurred:\n\t* missing accessor\n\n"},
		{"renew", nil, "missing token ID"},
		{"renew", params{"token": "zzz"}, "token not found"},
		{"renew", params{"token": text(fixed)}, "lease is not renewable"},
		{"renew", params{"token": text(eternal)}, "lease is not renewable"},
		{"renew", params{"token": text(f.root)}, "invalid lease ID"},
		{"renew", params{"token": text(batch)}, "batch tokens cannot be renewed"},
		{"renew-accessor", params{"accessor": fixed.Caller.Accessor}, "invalid request"},
		{"renew-accessor", params{"accessor": "zzz"}, "1 error occurred:\n\t* invalid accessor\n\n"},
		{"revoke", nil, "missing token ID"},
		{"revoke", params{"token": "zzz"}, ""},
		{"revoke", params{"token": "hvb.zzz"}, ""},
		{"revoke", params{"token": text(batch)}, "batch tokens cannot be revoked"},
		{"revoke-orphan", params{"token": "zzz"}, "token to revoke not found"},
		{"revoke-orphan", params{"token": text(batch)}, "batch tokens cannot be revoked"},
		{"revoke-orphan", nil, "missing token ID"},
		{"revoke-accessor", nil, "1 error occurred:\n\t* missing accessor\n\n"},
	} {
		if _, err := f.call(f.root, engines.Update, tt.path, tt.p); texts(err) != tt.err {
			t.Errorf("%s %v: %q, want %q", tt.path, tt.p, texts(err), tt.err)
		}
	}
	resp := f.write(f.root, "revoke-accessor", params{"accessor": "zzz"})
	if !slices.Equal(resp.Warnings, []string{"No token found with this accessor"}) {
		t.Errorf("warnings %q", resp.Warnings)
	}
}

func TestRenew(t *testing.T) {
	f := newFixture(t)
	e := f.make(f.root, params{"policies": []any{"p"}, "ttl": "1h", "explicit_max_ttl": "2h"})
	renew := func(increment, want string, warnings ...string) {
		t.Helper()
		resp := f.write(f.root, "renew", params{"token": e.Caller.Token.Reveal(), "increment": increment})
		if got := resp.Auth.LeaseDuration.String(); got != want {
			t.Errorf("increment %q gives %s, want %s", increment, got, want)
		}
		if !slices.Equal(warnings, resp.Warnings) {
			t.Errorf("increment %q warns %q", increment, resp.Warnings)
		}
	}
	f.pass(1100 * time.Millisecond)
	renew("", "1h0m0s")
	renew("30m", "30m0s")
	renew("", "30m0s")
	renew("10h", "1h59m59s", `TTL of "10h" exceeded the effective max_ttl of "1h59m59s"; TTL value is capped accordingly`)
	if got, want := f.entry(e.Caller.Token).Life.Expires, e.Life.Created.Add(2*time.Hour); !got.Equal(want) {
		t.Errorf("it ends at %v, want %v", got, want)
	}
	if got := f.lookup(e); got["last_renewal_time"] != int64(1767323046) || got["last_renewal"] != "2026-01-02T03:04:06.1Z" {
		t.Errorf("last renewal %v, %v", got["last_renewal"], got["last_renewal_time"])
	}
	f.pass(2*time.Hour - 2100*time.Millisecond) // one second before the end
	renew("1h", "1s", `TTL of "1h" exceeded the effective max_ttl of "1s"; TTL value is capped accordingly`)
	f.pass(time.Second)
	if f.alive(e) {
		t.Error("it lives past its max")
	}
	if _, err := f.call(f.root, engines.Update, "renew", params{"token": e.Caller.Token.Reveal()}); !errors.Is(err, errNoToken) {
		t.Errorf("renewal after the end: %v", err)
	}
}

func TestRenewReadsTheRole(t *testing.T) {
	f := newFixture(t)
	f.write(f.root, "roles/r", params{"token_period": "1h"})
	e := f.makeAt(f.root, "create/r", params{"policies": []any{"p"}})
	renew := func(want string) {
		t.Helper()
		resp := f.write(f.root, "renew", params{"token": e.Caller.Token.Reveal()})
		if got := resp.Auth.LeaseDuration.String(); got != want {
			t.Errorf("renewed for %s, want %s", got, want)
		}
	}
	f.write(f.root, "roles/r", params{"token_period": "2h"})
	renew("2h0m0s")
	f.write(f.root, "roles/r", params{"token_explicit_max_ttl": "90m"})
	renew("1h30m0s")
	if _, err := f.call(f.root, engines.Delete, "roles/r", nil); err != nil {
		t.Fatal(err)
	}
	_, err := f.call(f.root, engines.Update, "renew", params{"token": e.Caller.Token.Reveal()})
	want := "1 error occurred:\n\t* failed to renew entry: original token role \"r\" could not be found, not renewing\n\n"
	if texts(err) != want || !errors.Is(err, engines.ErrFailed) {
		t.Errorf("without its role: %v", err)
	}
}

func TestPeriodicTokenLivesOn(t *testing.T) {
	f := newFixture(t)
	e := f.make(f.root, params{"policies": []any{"p"}, "period": "700h"})
	for range 5 {
		f.pass(699 * time.Hour)
		resp := f.write(e, "renew-self", params{"increment": "1h"})
		if resp.Auth.LeaseDuration != 700*time.Hour {
			t.Fatalf("renewed for %v", resp.Auth.LeaseDuration)
		}
	}
}

func TestGrantNeverPassesTheEnd(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 700e6, time.UTC)
	for _, l := range []limits{
		{explicit: time.Hour, requested: 5 * time.Hour}, {login: time.Hour}, {explicit: time.Hour, period: 2 * time.Hour},
		{explicit: 500 * time.Millisecond, period: time.Hour},
	} {
		l.mount, l.start = fixedTTLs{}, start
		end := start.Add(max(l.explicit, l.login))
		for _, back := range []time.Duration{time.Hour - 1, time.Minute, time.Second, 300 * time.Millisecond, 1} {
			now := end.Add(-back)
			if now.Before(start) {
				continue
			}
			if g, _, err := l.grant(now); err != nil || g.expires.After(end) || !g.expires.After(now) {
				t.Errorf("%+v, %v before the end: until %v, %v", l, back, g.expires.Sub(end), err)
			}
		}
		if _, _, err := l.grant(end); texts(err) != "past the max TTL, cannot renew" {
			t.Errorf("%+v at the end: %v", l, err)
		}
	}
}

// tree makes a token, its child and its grandchild.
func tree(f *fixture) (a, b, c *Entry) {
	a = f.make(f.root, params{"policies": []any{"p"}})
	b = f.make(a, nil)
	return a, b, f.make(b, nil)
}

func TestRevoke(t *testing.T) {
	text := func(e *Entry) string { return e.Caller.Token.Reveal() }
	for _, tt := range []struct {
		name   string
		revoke func(f *fixture, a, b, c *Entry)
		alive  string
	}{
		{"the middle", func(f *fixture, _, b, _ *Entry) { f.write(f.root, "revoke", params{"token": text(b)}) }, "a"},
		{"by accessor", func(f *fixture, a, _, _ *Entry) {
			f.write(f.root, "revoke-accessor", params{"accessor": a.Caller.Accessor})
		}, ""},
		{"self", func(f *fixture, _, b, _ *Entry) { f.write(b, "revoke-self", nil) }, "a"},
		{"without children", func(f *fixture, _, b, _ *Entry) { f.write(f.root, "revoke-orphan", params{"token": text(b)}) }, "ac"},
		{"the leaf", func(f *fixture, _, _, c *Entry) { f.write(f.root, "revoke", params{"token": text(c)}) }, "ab"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			before := keysOf(t, f.base)
			a, b, c := tree(f)
			tt.revoke(f, a, b, c)
			got := ""
			for i, e := range []*Entry{a, b, c} {
				if f.alive(e) {
					got += string("abc"[i])
				}
			}
			if got != tt.alive {
				t.Fatalf("alive: %q, want %q", got, tt.alive)
			}
			if strings.Contains(got, "c") && !strings.Contains(got, "b") && f.lookup(c)["orphan"] != true {
				t.Error("c is no orphan")
			}
			for _, e := range []*Entry{a, b, c} {
				f.write(f.root, "revoke", params{"token": text(e)})
			}
			if diff := cmp.Diff(before, keysOf(t, f.base)); diff != "" {
				t.Errorf("left behind: %s", diff)
			}
		})
	}
}

func TestWideAndDeepTreesAreRevokedInBatches(t *testing.T) {
	f := newFixture(t)
	before := len(keysOf(t, f.base))
	top := f.make(f.root, params{"policies": []any{"p"}})
	for range 3 * childPage {
		f.make(top, nil)
	}
	deep := top
	for range 600 {
		deep = f.make(deep, nil)
	}
	f.write(f.root, "revoke", params{"token": top.Caller.Token.Reveal()})
	if got := len(keysOf(t, f.base)); got != before {
		t.Errorf("%d keys, want %d", got, before)
	}
	if len(f.leases.expires) != 0 || len(f.store.ending.counts) != 0 {
		t.Errorf("%d leases, %d endings left", len(f.leases.expires), len(f.store.ending.counts))
	}
}

func TestCubbyholeGoesWithTheToken(t *testing.T) {
	f := newFixture(t)
	before := keysOf(t, f.base)
	for _, n := range []int{3, 2 * cubbyholeBatch} {
		e := f.make(f.root, params{"policies": []any{"p"}})
		for i := range n {
			key := cubbyholes + e.Caller.CubbyholeID + "/a/b" + strings.Repeat("/c", i%3) + "/" + base62(8)
			if err := f.base.Apply(t.Context(), storage.Put(key, nil)); err != nil {
				t.Fatal(err)
			}
		}
		f.write(e, "revoke-self", nil)
		if diff := cmp.Diff(before, keysOf(t, f.base)); diff != "" {
			t.Errorf("%d keys: left behind: %s", n, diff)
		}
	}
}

func TestUseCountsExactly(t *testing.T) {
	const uses, callers = 10, 100
	f := newFixture(t)
	e := f.make(f.root, params{"policies": []any{"p"}, "num_uses": json.Number("10")})
	var won, last atomic.Int32
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			found, err := f.store.Authenticate(context.Background(), e.Caller.Token)
			if err == nil {
				var left *Entry
				if left, err = f.store.Use(context.Background(), found); err == nil && left.NumUses == spent {
					last.Add(1)
				}
			}
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, ErrBadToken) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != uses || last.Load() != 1 {
		t.Errorf("%d of %d uses, %d of them the last", won.Load(), uses, last.Load())
	}
}

func TestLastUse(t *testing.T) {
	f := newFixture(t)
	before := keysOf(t, f.base)
	e := f.make(f.root, params{"policies": []any{"p"}, "num_uses": json.Number("2")})
	first, err := f.store.Use(t.Context(), e)
	if err != nil || first.NumUses != 1 {
		t.Fatalf("first use: %+v, %v", first, err)
	}
	whole, err := f.call(first, engines.Read, "lookup-self", nil)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = f.store.Use(t.Context(), first); err != nil || e.NumUses != spent {
		t.Fatalf("second use: %+v, %v", e, err)
	}
	resp, err := f.call(e, engines.Read, "lookup-self", nil)
	if err != nil || resp.Data["num_uses"] != -1 || resp.Data["expire_time"] != whole.Data["expire_time"] {
		t.Errorf("lookup-self: %v, %v; before the last use %v", resp, err, whole)
	}
	if _, err := f.call(e, engines.Update, "renew-self", nil); !errors.Is(err, errNoToken) {
		t.Errorf("renew-self: %v", err)
	}
	if f.alive(e) {
		t.Error("it can be used again")
	}
	if got, want := f.leases.expires[e.LeaseID()], f.now().Add(spentGrace); !got.Equal(want) {
		t.Errorf("the lease ends at %v, want %v", got, want)
	}
	if err := f.store.EndUse(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if _, err := f.call(first, engines.Read, "lookup-self", nil); err != nil {
		t.Errorf("lookup-self in the use that began first and is not over: %v", err)
	}
	if err := f.store.EndUse(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if n := len(f.store.underway.tokens); n != 0 {
		t.Errorf("%d tokens are still counted as in use", n)
	}
	if diff := cmp.Diff(before, keysOf(t, f.base)); diff != "" {
		t.Errorf("left behind: %s", diff)
	}
}

func TestBatchToken(t *testing.T) {
	f := newFixture(t)
	f.write(f.root, "roles/r", params{"token_bound_cidrs": "10.0.0.0/8"})
	parent := f.make(f.root, params{"policies": []any{"p"}})
	before := keysOf(t, f.base)
	e := f.makeAt(parent, "create/r", params{"type": "batch", "ttl": "1h", "meta": params{"a": "b"}})
	if diff := cmp.Diff(before, keysOf(t, f.base)); diff != "" {
		t.Errorf("stored: %s", diff)
	}
	if !e.Caller.Token.HasPrefix("hvb.") || e.Caller.Accessor != "" || e.Caller.CubbyholeID != "" || !e.Caller.Batch {
		t.Errorf("%+v", e.Caller)
	}
	if want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}; !slices.Equal(e.BoundCIDRs, want) {
		t.Errorf("networks %v", e.BoundCIDRs)
	}
	data := f.lookup(e)
	if data["type"] != "batch" || data["ttl"] != int64(3600) || data["renewable"] != false || data["orphan"] != false {
		t.Errorf("lookup %v", data)
	}
	text := e.Caller.Token.Reveal()
	for i := range text {
		changed := []byte(text)
		changed[i] ^= 1
		if _, err := f.store.Authenticate(t.Context(), engines.NewToken(string(changed))); !errors.Is(err, ErrBadToken) {
			t.Fatalf("changed at %d: %v", i, err)
		}
	}
	orphan := f.makeAt(f.root, "create-orphan", params{"type": "batch", "policies": []any{"p"}, "ttl": "1h"})
	f.write(f.root, "revoke", params{"token": parent.Caller.Token.Reveal()})
	if f.alive(e) || !f.alive(orphan) {
		t.Error("a batch token dies with its parent, an orphan does not")
	}
	f.pass(time.Hour)
	if f.alive(orphan) {
		t.Error("it lives past its end")
	}
}

func TestBatchTokenOfAnotherServer(t *testing.T) {
	a, b := newFixture(t), newFixture(t)
	e := a.makeAt(a.root, "create-orphan", params{"type": "batch", "policies": []any{"p"}})
	if _, err := b.store.Authenticate(t.Context(), e.Caller.Token); !errors.Is(err, ErrBadToken) {
		t.Fatal(err)
	}
}

func TestTokensSurviveTheStore(t *testing.T) {
	base := memory.New()
	f := openFixture(t, base)
	e := f.make(f.root, params{"policies": []any{"p"}, "meta": params{}, "num_uses": json.Number("3")})
	batch := f.make(f.root, params{"policies": []any{"p"}, "type": "batch"})
	g := openFixture(t, base)
	want, got := f.lookup(e), g.lookup(e)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if !g.alive(batch) {
		t.Error("the batch token is lost")
	}
}

func TestStorageShowsNoToken(t *testing.T) {
	base := memory.New()
	f := openFixture(t, base)
	e := f.make(f.root, params{"policies": []any{"p"}})
	chosen := f.make(f.root, params{"id": "chosen-by-the-client"})
	for _, op := range base.Contents() {
		for _, token := range []*Entry{f.root, e, chosen} {
			text := token.Caller.Token.Reveal()
			if strings.Contains(op.Key, text) || strings.Contains(string(op.Value), text) {
				t.Errorf("%s holds a token", op.Key)
			}
		}
	}
}

func TestIssue(t *testing.T) {
	f := newFixture(t)
	at := IssueAt{Mount: "auth/approle/", Accessor: "auth_approle_1", Path: "auth/approle/login", TTLs: fixedTTLs{}}
	a, warnings, err := f.store.Issue(t.Context(), &engines.Login{
		Policies: []string{"P", "q"}, TTL: time.Hour, MaxTTL: 2 * time.Hour, Metadata: map[string]string{"role": "x"},
		DisplayName: "bob", BoundCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Internal: map[string]any{"role": "x"},
	}, at)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	e := f.entry(a.Token)
	data := f.lookup(e)
	for key, want := range map[string]any{
		"display_name": "approle-bob", "path": "auth/approle/login", "orphan": true, "ttl": int64(3600),
		"policies": []string{"default", "p", "q"}, "bound_cidrs": []string{"10.0.0.0/8"}, "explicit_max_ttl": int64(0),
	} {
		if diff := cmp.Diff(want, data[key]); diff != "" {
			t.Errorf("%s: -want +got\n%s", key, diff)
		}
	}
	f.pass(30 * time.Minute)
	resp := f.write(e, "renew-self", params{"increment": "10h"})
	if resp.Auth.LeaseDuration != 90*time.Minute {
		t.Errorf("renewed for %v", resp.Auth.LeaseDuration)
	}
	for _, root := range []string{"root", " Root", "ROOT "} {
		_, _, err := f.store.Issue(t.Context(), &engines.Login{Policies: []string{"p", root}}, at)
		if texts(err) != "auth methods cannot create root tokens" {
			t.Errorf("%q: %v", root, err)
		}
	}
}

// A batch token travels: it does not carry what a method keeps to renew others with, a password for one.
func TestBatchLoginKeepsNothingOfTheMethod(t *testing.T) {
	f := newFixture(t)
	at := IssueAt{Mount: "auth/ldap/", Path: "auth/ldap/login/bob", TTLs: fixedTTLs{}, TokenType: engines.BatchToken}
	login := &engines.Login{Policies: []string{"p"}, Internal: map[string]any{"password": "pw"}}
	a, _, err := f.store.Issue(t.Context(), login, at)
	if err != nil {
		t.Fatal(err)
	}
	if e := f.entry(a.Token); e.Internal != nil || !e.Caller.Batch {
		t.Errorf("batch %v, internal %v", e.Caller.Batch, e.Internal)
	}
}

func TestAccessors(t *testing.T) {
	f := newFixture(t)
	e := f.make(f.root, params{"policies": []any{"p"}})
	want := []string{e.Caller.Accessor, f.root.Caller.Accessor}
	slices.Sort(want)
	resp, err := f.call(f.root, engines.List, "accessors/", nil)
	if err != nil || !slices.Equal(resp.Data["keys"].([]string), want) {
		t.Errorf("%v, %v", resp, err)
	}
	m, _ := f.router.Match(t.Context(), engines.List, "accessors/")
	if !m.Sudo() {
		t.Error("accessors asks for no sudo")
	}
}
