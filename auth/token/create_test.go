package token

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
)

func TestCreate(t *testing.T) {
	num := json.Number("7")
	list := func(names ...any) []any { return names }
	custom := warnCustomID
	tests := []struct {
		name string
		by   string // root, p (default and p), bare (p without default), su, batch, limited
		path string // "create" unless set
		p    params
		// what follows: an error, or the rest
		err      string
		policies string
		ttl      time.Duration
		warnings []string
	}{
		{name: "root makes root", by: "root", policies: "root"},
		{name: "root with a life", by: "root", p: params{"ttl": "1h"}, policies: "root", ttl: time.Hour},
		{name: "root with only an explicit max", by: "root", p: params{"explicit_max_ttl": "1h"},
			policies: "root", ttl: time.Hour},
		{name: "default is added", by: "root", p: params{"policies": list("p")}, policies: "default p", ttl: 768 * time.Hour},
		{name: "default is left out", by: "root", p: params{"policies": list("p", "default"), "no_default_policy": true},
			policies: "p", ttl: 768 * time.Hour},
		{name: "nothing is left", by: "root", p: params{"policies": list("default"), "no_default_policy": true},
			ttl: 768 * time.Hour},
		{name: "names are made canonical", by: "root", p: params{"policies": list(" P", "q", "q", "")},
			policies: "default p q", ttl: 768 * time.Hour},
		{name: "a text is one name", by: "root", p: params{"policies": "default,p"}, policies: "default default,p",
			ttl: 768 * time.Hour, warnings: []string{`Policy "default,p" does not exist`}},
		{name: "a number is a name", by: "root", p: params{"policies": num}, policies: "7 default",
			ttl: 768 * time.Hour, warnings: []string{`Policy "7" does not exist`}},
		{name: "root swallows others", by: "root", p: params{"policies": list("p", "ROOT")}, policies: "root"},
		{name: "reserved", by: "root", p: params{"policies": list("response-wrapping")},
			err: `cannot assign policy "response-wrapping"`},
		{name: "too long a life", by: "root", p: params{"policies": list("p"), "ttl": "2000h"}, policies: "default p",
			ttl:      768 * time.Hour,
			warnings: []string{`TTL of "2000h" exceeded the effective max_ttl of "768h"; TTL value is capped accordingly`}},
		{name: "default over explicit max", by: "root", p: params{"policies": list("p"), "explicit_max_ttl": "2h"},
			policies: "default p", ttl: 2 * time.Hour,
			warnings: []string{`TTL of "768h" exceeded the effective max_ttl of "2h"; TTL value is capped accordingly`}},
		{name: "too long a period", by: "root", p: params{"policies": list("p"), "period": "90m", "explicit_max_ttl": "1h"},
			policies: "default p", ttl: time.Hour,
			warnings: []string{`period of "1h30m" exceeded the effective max_ttl of "1h"; period value is capped accordingly`}},
		{name: "period beats ttl", by: "root", p: params{"policies": list("p"), "period": "2h", "ttl": "5h"},
			policies: "default p", ttl: 2 * time.Hour},
		{name: "ttl beats lease", by: "root", p: params{"policies": list("p"), "lease": "1h", "ttl": "2h"},
			policies: "default p", ttl: 2 * time.Hour},
		{name: "bad ttl", by: "root", p: params{"ttl": "soon"}, err: `time: invalid duration "soon"`},
		{name: "negative ttl", by: "root", p: params{"ttl": "-1h"}, err: "ttl must be positive"},
		{name: "negative period", by: "root", p: params{"period": "-1h"}, err: "period must be positive"},
		{name: "huge ttl", by: "root", p: params{"ttl": "2000000h"}, err: "duration is out of range"},
		{name: "negative uses", by: "root", p: params{"num_uses": json.Number("-1")}, err: "number of uses cannot be negative"},
		{name: "custom id", by: "root", p: params{"policies": list("p"), "id": "mine"}, policies: "default p",
			ttl: 768 * time.Hour, warnings: []string{custom}},
		{name: "id with our prefix", by: "root", p: params{"id": "hvs.x"}, err: "custom token ID cannot have the 'hvs.' prefix"},
		{name: "id with the old prefix", by: "root", p: params{"id": "s.x"}, err: "custom token ID cannot have the 's.' prefix"},
		{name: "id with a dot", by: "root", p: params{"id": "a.b"}, err: "custom token ID cannot have a '.' in the value"},
		{name: "unknown type", by: "root", p: params{"type": "foo"}, err: "invalid 'token_type' value"},
		{name: "batch root", by: "root", p: params{"type": "batch"}, err: "batch tokens cannot be root tokens"},
		{name: "batch period", by: "root", p: params{"type": "batch", "period": "1h"}, err: `batch tokens cannot have "period" set`},
		{name: "batch uses", by: "root", p: params{"type": "batch", "num_uses": json.Number("2")},
			err: `batch tokens cannot have "num_uses" set`},
		{name: "alias without role", by: "root", p: params{"entity_alias": "a"},
			err: "'entity_alias' is only allowed in combination with token role"},
		{name: "unknown role", by: "root", path: "create/none", err: "unknown role none"},

		{name: "inherits", by: "p", policies: "default p", ttl: 768 * time.Hour},
		{name: "subset", by: "p", p: params{"policies": list("default")}, policies: "default", ttl: 768 * time.Hour},
		{name: "inherits without default", by: "p", p: params{"no_default_policy": true}, policies: "p", ttl: 768 * time.Hour},
		{name: "no subset", by: "p", p: params{"policies": list("p", "q")}, err: "child policies must be subset of parent"},
		{name: "no root", by: "p", p: params{"policies": list("root")}, err: "child policies must be subset of parent"},
		{name: "no ROOT", by: "p", p: params{"policies": list(" RooT ")}, err: "child policies must be subset of parent"},
		{name: "orphan asks sudo", by: "p", p: params{"no_parent": true},
			err: "root or sudo privileges required to create orphan token"},
		{name: "create-orphan asks none", by: "p", path: "create-orphan", policies: "default p", ttl: 768 * time.Hour},
		{name: "id asks sudo", by: "p", p: params{"id": "x"}, err: "root or sudo privileges required to specify token id"},
		{name: "period asks sudo", by: "p", p: params{"period": "1h"},
			err: "root or sudo privileges required to create periodic token"},
		{name: "default is not for who lacks it", by: "bare", p: params{"policies": list("p")}, policies: "p",
			ttl: 768 * time.Hour},
		{name: "default may not be asked", by: "bare", p: params{"policies": list("default")},
			err: "child policies must be subset of parent"},

		{name: "sudo gives any", by: "su", p: params{"policies": list("q")}, policies: "default q", ttl: 768 * time.Hour},
		{name: "sudo gives no root", by: "su", p: params{"policies": list("root")},
			err: "root tokens may not be created without parent token being root"},
		{name: "sudo gives periods", by: "su", p: params{"period": "1h"}, policies: "default su", ttl: time.Hour},
		{name: "batch parent", by: "batch", err: "batch tokens cannot create more tokens"},
		{name: "limited parent", by: "limited", err: "restricted use token cannot generate child tokens"},
		{name: "mortal root", by: "mortal root", p: params{"policies": list("root")},
			err: "expiring root tokens cannot create non-expiring root tokens"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			by := map[string]params{
				"p": {"policies": list("p")}, "bare": {"policies": list("p"), "no_default_policy": true},
				"su": {"policies": list("su")}, "batch": {"policies": list("su"), "type": "batch"},
				"limited": {"policies": list("p"), "num_uses": json.Number("5")}, "mortal root": {"ttl": "1h"},
			}
			caller := f.root
			if p, ok := by[tt.by]; ok {
				caller = f.make(f.root, p)
			}
			path := "create"
			if tt.path != "" {
				path = tt.path
			}
			resp, err := f.call(caller, engines.Update, path, tt.p)
			if texts(err) != tt.err {
				t.Fatalf("error %q, want %q", texts(err), tt.err)
			}
			if err != nil {
				if !errors.Is(err, engines.ErrInvalid) {
					t.Errorf("the error is no ErrInvalid")
				}
				return
			}
			a := resp.Auth
			if got := strings.Join(a.Policies, " "); got != tt.policies {
				t.Errorf("policies %q, want %q", got, tt.policies)
			}
			if a.LeaseDuration != tt.ttl {
				t.Errorf("life %v, want %v", a.LeaseDuration, tt.ttl)
			}
			if diff := cmp.Diff(tt.warnings, resp.Warnings); diff != "" {
				t.Errorf("warnings: -want +got\n%s", diff)
			}
		})
	}
}

func TestCreateTwiceWithOneID(t *testing.T) {
	f := newFixture(t)
	f.make(f.root, params{"id": "mine"})
	if _, err := f.call(f.root, engines.Update, "create", params{"id": "mine"}); !errors.Is(err, errDuplicate) {
		t.Fatalf("error %v", err)
	}
}

func TestDisplayName(t *testing.T) {
	f := newFixture(t)
	for given, want := range map[string]string{
		"": "token", "my app!": "token-my-app", "!!!": "token---", "a--b__c": "token-a--b--c", "-a-": "token--a",
		"é x": "token---x",
	} {
		if got := f.make(f.root, params{"display_name": given}).Caller.DisplayName; got != want {
			t.Errorf("%q becomes %q, want %q", given, got, want)
		}
	}
}

func TestCreateWithRole(t *testing.T) {
	list := func(names ...any) []any { return names }
	tests := []struct {
		name     string
		role     params
		by       string // root or p
		p        params
		err      string
		policies string
	}{
		{name: "no lists, root", by: "root", policies: "root"},
		{name: "no lists, others", by: "p", p: params{"policies": list("q")}, err: "child policies must be subset of parent"},
		{name: "allowed by default", role: params{"allowed_policies": "p,q"}, by: "p", policies: "default p q"},
		{name: "allowed, not the parent's", role: params{"allowed_policies": "q"}, by: "p",
			p: params{"policies": list("q")}, policies: "default q"},
		{name: "not allowed", role: params{"allowed_policies": "p", "allowed_policies_glob": "g*"}, by: "root",
			p: params{"policies": list("zz")}, err: `token policies (["default" "zz"]) must be subset of the role's ` +
				`allowed policies (["default" "p"]) or glob policies (["g*"])`},
		{name: "by glob", role: params{"allowed_policies_glob": "g*"}, by: "p", p: params{"policies": list("gee")},
			policies: "default gee"},
		{name: "glob, none asked", role: params{"allowed_policies_glob": "g*"}, by: "p", policies: "default"},
		{name: "no default", role: params{"allowed_policies": "p", "token_no_default_policy": true}, by: "p", policies: "p"},
		{name: "no default, asked", role: params{"allowed_policies": "p", "token_no_default_policy": true}, by: "root",
			p: params{"policies": list("default")}, err: `token policies (["default"]) must be subset of the role's ` +
				`allowed policies (["p"]) or glob policies ([])`},
		{name: "forbidden", role: params{"disallowed_policies": "zz"}, by: "root", p: params{"policies": list("zz")},
			err: `token policy "zz" is disallowed by this role`},
		{name: "forbidden by glob", role: params{"disallowed_policies_glob": "z*"}, by: "root",
			p: params{"policies": list("zz")}, err: `token policy "zz" is disallowed by this role`},
		{name: "only forbidding, root", role: params{"disallowed_policies": "zz"}, by: "root", policies: "root"},
		{name: "only forbidding, others", role: params{"disallowed_policies": "zz"}, by: "p",
			p: params{"policies": list("q")}, policies: "default q"},
		{name: "root forbidden", role: params{"disallowed_policies": "root,default"}, by: "root",
			err: `token policy "root" is disallowed by this role`},
		{name: "default forbidden", role: params{"disallowed_policies": "root,default"}, by: "root",
			p: params{"policies": list("p")}, policies: "p"},
		{name: "root through a role", role: params{"allowed_policies": "root"}, by: "p",
			err: "root tokens may not be created without parent token being root"},
		{name: "root past a forbidding role", role: params{"disallowed_policies": "zz"}, by: "p",
			p: params{"policies": list("Root")}, err: "root tokens may not be created without parent token being root"},
		{name: "root in any spelling through a role", role: params{"allowed_policies_glob": "r*"}, by: "p",
			p: params{"policies": list(" ROOT ")}, err: "root tokens may not be created without parent token being root"},
		{name: "batch role", role: params{"token_type": "batch", "orphan": true, "renewable": false}, by: "p",
			policies: "default p"},
		{name: "batch with the role's uses", role: params{"token_num_uses": json.Number("2")}, by: "p",
			p: params{"type": "batch"}, err: `batch tokens cannot have "num_uses" set`},
		{name: "alias not allowed", role: params{"allowed_entity_aliases": "A,b*"}, by: "p",
			p: params{"entity_alias": "c"}, err: "invalid 'entity_alias' value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.write(f.root, "roles/r", tt.role)
			caller := f.root
			if tt.by == "p" {
				caller = f.make(f.root, params{"policies": list("p")})
			}
			resp, err := f.call(caller, engines.Update, "create/r", tt.p)
			if texts(err) != tt.err {
				t.Fatalf("error %q\nwant  %q", texts(err), tt.err)
			}
			if err == nil {
				if got := strings.Join(resp.Auth.Policies, " "); got != tt.policies {
					t.Errorf("policies %q, want %q", got, tt.policies)
				}
			}
		})
	}
}

func TestRoleSettings(t *testing.T) {
	f := newFixture(t)
	f.write(f.root, "roles/r", params{
		"orphan": true, "renewable": false, "path_suffix": "abc", "token_bound_cidrs": "127.0.0.1/32,10.1.2.3/8",
		"token_explicit_max_ttl": "10h", "token_num_uses": json.Number("3"), "token_period": "2h",
	})
	resp := f.write(f.root, "create/r", params{"policies": []any{"p"}, "num_uses": json.Number("9"), "period": "1h",
		"explicit_max_ttl": "11h"})
	want := []string{
		"Explicit max TTL specified both during creation call and in role; using the lesser value of 36000 seconds",
		"Period specified both during creation call and in role; using the lesser value of 3600 seconds",
	}
	if diff := cmp.Diff(want, resp.Warnings); diff != "" {
		t.Errorf("warnings: -want +got\n%s", diff)
	}
	got := f.lookup(f.entry(resp.Auth.Token))
	for key, want := range map[string]any{
		"bound_cidrs": []string{"127.0.0.1", "10.1.2.3/8"}, "num_uses": 3, "orphan": true, "period": int64(3600),
		"path": "auth/token/create/r/abc", "renewable": false, "role": "r", "ttl": int64(3600),
		"explicit_max_ttl": int64(36000), "policies": []string{"default", "p"},
	} {
		if diff := cmp.Diff(want, got[key]); diff != "" {
			t.Errorf("%s: -want +got\n%s", key, diff)
		}
	}
}

func TestBatchTokenOfAPeriodicRole(t *testing.T) {
	f := newFixture(t)
	f.write(f.root, "roles/r", params{"token_type": "default-batch", "token_period": "1h", "token_explicit_max_ttl": "5h"})
	resp := f.write(f.root, "create/r", params{"policies": []any{"p"}})
	if resp.Auth.TokenType != "batch" || resp.Auth.LeaseDuration != 5*time.Hour {
		t.Errorf("%s for %v", resp.Auth.TokenType, resp.Auth.LeaseDuration)
	}
}

func TestRoleRefusals(t *testing.T) {
	tests := []struct {
		p   params
		err string
	}{
		{params{"token_type": "foo"}, `invalid 'token_type' value "foo"`},
		{params{"token_type": "batch"}, "'token_type' cannot be 'batch' when role is set to generate non-orphan tokens"},
		{params{"token_type": "batch", "orphan": true}, "'token_type' cannot be 'batch' when role is set to generate renewable tokens"},
		{params{"token_type": "batch", "orphan": true, "renewable": false, "token_period": "1h"},
			"'token_type' cannot be 'batch' when role is set to generate periodic tokens"},
		{params{"token_type": "batch", "orphan": true, "renewable": false, "token_explicit_max_ttl": "1h"},
			"'token_type' cannot be 'batch' when role is set to generate tokens with an explicit max TTL"},
		{params{"path_suffix": "a/b"}, `given role path suffix contains invalid characters; must match \w[\w-.]+\w`},
		{params{"token_num_uses": json.Number("-1")}, "error parsing role fields: 'token_num_uses' cannot be negative"},
		{params{"token_bound_cidrs": "foo"}, "error parsing role fields: error parsing address \"foo\": Unable to convert " +
			"\"foo\" to an IPv4 or IPv6 address, or a UNIX Socket"},
	}
	f := newFixture(t)
	for _, tt := range tests {
		if _, err := f.call(f.root, engines.Update, "roles/r", tt.p); texts(err) != tt.err {
			t.Errorf("%v: %q\nwant %q", tt.p, texts(err), tt.err)
		}
	}
	if _, err := f.call(f.root, engines.Read, "roles/r", nil); !errors.Is(err, engines.ErrNotFound) {
		t.Errorf("a refused role was kept: %v", err)
	}
	for _, name := range []string{"-a", "a-", "a b", "..", "a\x00"} {
		if _, err := f.call(f.root, engines.Update, "roles/"+name, nil); !errors.Is(err, engines.ErrUnsupportedPath) {
			t.Errorf("role %q: %v", name, err)
		}
	}
}

func TestRoleReadsBack(t *testing.T) {
	f := newFixture(t)
	read := func() map[string]any {
		t.Helper()
		resp, err := f.call(f.root, engines.Read, "roles/r", nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Data
	}
	f.write(f.root, "roles/r", nil)
	want := map[string]any{
		"name": "r", "allowed_policies": []string{}, "allowed_policies_glob": []string{}, "disallowed_policies": []string{},
		"disallowed_policies_glob": []string{}, "allowed_entity_aliases": []string(nil), "explicit_max_ttl": int64(0),
		"orphan": false, "path_suffix": "", "period": int64(0), "renewable": true, "token_explicit_max_ttl": int64(0),
		"token_no_default_policy": false, "token_period": int64(0), "token_type": "default-service",
	}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Fatalf("-want +got\n%s", diff)
	}
	f.write(f.root, "roles/r", params{"period": "1h", "bound_cidrs": "127.0.0.1", "allowed_policies": "B,root,a",
		"disallowed_policies": "X,x,root", "allowed_entity_aliases": "B,a"})
	want["period"], want["token_period"] = int64(3600), int64(3600)
	want["bound_cidrs"], want["token_bound_cidrs"] = []string{"127.0.0.1"}, []string{"127.0.0.1"}
	want["allowed_policies"], want["disallowed_policies"] = []string{"root"}, []string{"root", "x"}
	want["allowed_entity_aliases"] = []string{"a", "b"}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Fatalf("-want +got\n%s", diff)
	}
	resp := f.write(f.root, "roles/r", params{"token_period": "2h", "period": "3h"})
	want["period"], want["token_period"] = int64(0), int64(7200)
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Fatalf("-want +got\n%s", diff)
	}
	if want := []string{"Both 'token_period' and deprecated 'period' value supplied, ignoring the deprecated value"}; !slices.Equal(want, resp.Warnings) {
		t.Errorf("warnings %q", resp.Warnings)
	}
	resp, err := f.call(f.root, engines.List, "roles/", nil)
	if err != nil || !slices.Equal(resp.Data["keys"].([]string), []string{"r"}) {
		t.Errorf("list: %v %v", resp, err)
	}
	if _, err := f.call(f.root, engines.Delete, "roles/r", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.call(f.root, engines.Read, "roles/r", nil); !errors.Is(err, engines.ErrNotFound) {
		t.Errorf("deleted role: %v", err)
	}
}
