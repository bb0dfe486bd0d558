package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func compileText(t testing.TB, texts ...string) *ACL {
	t.Helper()
	policies := make([]*Policy, len(texts))
	for i, text := range texts {
		p, err := Parse(fmt.Sprintf("p%d", i), text)
		if err != nil {
			t.Fatal(err)
		}
		policies[i] = p
	}
	return Compile(policies...)
}

// TestDecision looks at what a decision tells beside yes and no.
func TestDecision(t *testing.T) {
	acl := compileText(t, `
path "a" { capabilities = ["read", "sudo"] }
path "d/*" { capabilities = ["deny"] }
path "p" {
  capabilities = ["update"]
  allowed_parameters = { "ok" = ["yes"] }
  denied_parameters = { "bad" = [] }
  required_parameters = ["need"]
}
path "w" {
  capabilities = ["read"]
  min_wrapping_ttl = "10s"
  max_wrapping_ttl = "20s"
}
path "h" {
  capabilities = ["read"]
  hours = ["Mon-Fri 09:00-17:00 Europe/Berlin", "Sat 10:00-12:00 UTC"]
}
path "e" {
  capabilities = ["read"]
  expiration = "2026-01-01T00:00:00Z"
}
path "n" {
  capabilities = ["update"]
  denied_parameters = { "*" = [] }
}`, `path "a" { capabilities = ["read"] }`)
	sunday := time.Date(2026, 1, 11, 12, 0, 0, 0, time.UTC)
	params := func(kv ...any) map[string]any {
		m := make(map[string]any)
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return m
	}
	tests := []struct {
		r    Request
		want Decision
	}{
		{Request{Capability: Read, Path: "a"},
			Decision{Allowed: true, Sudo: true, Rule: "a", Policies: []string{"p0", "p1"}}},
		{Request{Capability: Update, Path: "a"}, Decision{Sudo: true, Rule: "a", Reason: `rule "a" does not grant "update"`}},
		{Request{Path: "a"}, Decision{Sudo: true, Rule: "a", Reason: `rule "a" does not grant ""`}},
		{Request{Capability: Read, Path: "z"}, Decision{Reason: "no rule matches the path"}},
		{Request{Capability: Read, Path: "d/x"}, Decision{Rule: "d/*", Reason: `rule "d/*" denies`}},
		{Request{Capability: Deny, Path: "d/x"}, Decision{Rule: "d/*", Reason: `rule "d/*" denies`}},
		{Request{Capability: Deny, Path: "a"}, Decision{Sudo: true, Rule: "a", Reason: `rule "a" does not grant "deny"`}},
		{Request{Capability: Update, Path: "p"},
			Decision{Rule: "p", Reason: `rule "p": required parameter "need" is missing`}},
		{Request{Capability: Update, Path: "p", Params: params("need", "s3cret")},
			Decision{Rule: "p", Reason: `rule "p": parameter "need" is not allowed`}},
		{Request{Capability: Update, Path: "n", Params: params("need", "s3cret")},
			Decision{Rule: "n", Reason: `rule "n": every parameter is denied`}},
		{Request{Capability: Read, Path: "w"}, Decision{Rule: "w", Reason: `rule "w": response wrapping is required`}},
		{Request{Capability: Read, Path: "w", WrapTTL: 5 * time.Second},
			Decision{Rule: "w", Reason: `rule "w": the wrapping time is too short`}},
		{Request{Capability: Read, Path: "w", WrapTTL: time.Minute},
			Decision{Rule: "w", Reason: `rule "w": the wrapping time is too long`}},
		{Request{Capability: Read, Path: "h", Now: sunday}, Decision{Rule: "h", Reason: `rule "h" of policy "p0" grants ` +
			`nothing outside Mon-Fri 09:00-17:00 Europe/Berlin, Sat 10:00-12:00 UTC`}},
		{Request{Capability: Update, Path: "h", Now: sunday},
			Decision{Rule: "h", Reason: `rule "h" does not grant "update"`}},
		{Request{Capability: Read, Path: "h"},
			Decision{Rule: "h", Reason: `rule "h" of policy "p0" depends on the time, which is not known`}},
		{Request{Capability: Read, Path: "e", Now: sunday},
			Decision{Rule: "e", Reason: `rule "e" of policy "p0" expired at 2026-01-01T00:00:00Z`}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, acl.Decide(tt.r)); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.r.Capability, tt.r.Path, diff)
		}
	}
}

// TestReasonHoldsNoValues: a reason goes to logs, where values of parameters must not.
func TestReasonHoldsNoValues(t *testing.T) {
	acl := compileText(t, `path "p" {
  capabilities = ["update"]
  allowed_parameters = { "a" = ["policy-value"], "b" = [] }
  denied_parameters = { "b" = ["canary"] }
}`)
	for _, key := range []string{"a", "b", "c"} {
		d := acl.Decide(Request{Capability: Update, Path: "p", Params: map[string]any{key: "canary"}})
		if d.Allowed || strings.Contains(d.Reason, "canary") || strings.Contains(d.Reason, "policy-value") {
			t.Errorf("%s: allowed %v, reason %q", key, d.Allowed, d.Reason)
		}
	}
}

// TestSummary holds the answer of Vault 1.21.2's sys/internal/ui/resultant-acl to the same policies.
func TestSummary(t *testing.T) {
	acl := compileText(t, `
path "a" { capabilities = ["read", "list", "create"] }
path "all" { capabilities = ["create","read","update","patch","delete","list","sudo","subscribe","recover"] }
path "b/*" { capabilities = ["update"] }
path "c/+/d" { capabilities = ["read"] }
path "c/+/d/*" { capabilities = ["list"] }
path "*" { capabilities = ["sudo"] }
path "+" { capabilities = ["read"] }
path "f/*" { capabilities = ["deny", "read"] }
path "g" {
  capabilities = ["update", "create"]
  allowed_parameters = { "a" = ["x"] "b" = [1, true] }
  denied_parameters = { "C" = [] }
  required_parameters = ["z", "a"]
  min_wrapping_ttl = "60s"
  max_wrapping_ttl = "90s"
}
path "/h" { capabilities = ["read"] }
path "i" { capabilities = [] }
path "j/" { capabilities = ["list"] }
path "x+y" { capabilities = ["read"] }`, `
path "g" {
  capabilities = ["read"]
  allowed_parameters = { "z" = [] }
  required_parameters = ["c", "a"]
}`)
	const want = `{"chroot_namespace":"","exact_paths":{
"a":{"capabilities":["create","list","read"]},
"all":{"capabilities":["create","delete","list","read","sudo","update","patch","subscribe","recover"]},
"g":{"allowed_parameters":{"a":["x"],"b":[1,true],"z":[]},"capabilities":["create","read","update"],
"denied_parameters":{"c":[]},"max_wrapping_ttl":90,"min_wrapping_ttl":60,"required_parameters":["z","a","c"]},
"h":{"capabilities":["read"]},
"i":{"capabilities":["deny"]},
"j/":{"capabilities":["list"]},
"x+y":{"capabilities":["read"]}},
"glob_paths":{
"":{"capabilities":["sudo"]},
"+":{"capabilities":["read"]},
"b/":{"capabilities":["update"]},
"c/+/d":{"capabilities":["read"]},
"c/+/d/*":{"capabilities":["list"]},
"f/":{"capabilities":["deny"]}},"root":false}`
	got, err := json.Marshal(acl.Summary(time.Time{}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.ReplaceAll(want, "\n", ""), string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	root := map[string]any{"chroot_namespace": "", "root": true}
	if diff := cmp.Diff(root, Compile(Root()).Summary(time.Time{})); diff != "" {
		t.Errorf("root (-want +got):\n%s", diff)
	}
}

func TestSummaryOfTimes(t *testing.T) {
	acl := compileText(t, `path "x" {
  capabilities = ["read"]
  required_parameters = ["a"]
  hours = ["daily 12:00-13:00 UTC"]
}`)
	noon := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	inside := map[string]any{"capabilities": []string{"read"}, "required_parameters": []string{"a"}}
	outside := map[string]any{"capabilities": []string{"deny"}}
	for now, want := range map[time.Time]any{noon: inside, noon.Add(time.Hour): outside} {
		got := acl.Summary(now)["exact_paths"]
		if diff := cmp.Diff(any(map[string]any{"x": want}), got); diff != "" {
			t.Errorf("at %s (-want +got):\n%s", now, diff)
		}
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	acl := benchmarkACL(t, 50)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				path := fmt.Sprintf("secret/data/app%d/config", i%50)
				acl.Decide(Request{Capability: Read, Path: path})
				acl.Capabilities(path, Spellings{}, time.Time{})
				acl.Summary(time.Time{})
				acl.Visible("secret/", time.Time{})
			}
		})
	}
	wg.Wait()
}

func TestDecideAllocates(t *testing.T) {
	acl := benchmarkACL(t, 50)
	timed := compileText(t, `path "x" {
  capabilities = ["read"]
  hours = ["Mon-Fri 09:00-17:00 Europe/Berlin"]
}`)
	tests := []struct {
		name string
		acl  *ACL
		r    Request
	}{
		{"exact", acl, Request{Capability: Read, Path: "secret/data/app7/config"}},
		{"prefix", acl, Request{Capability: Read, Path: "team7/data/x/y"}},
		{"segments", acl, Request{Capability: Read, Path: "any/where/svc7/x"}},
		{"list", acl, Request{Capability: List, Path: "team7/data/x/"}},
		{"root", Compile(Root()), Request{Capability: Read, Path: "x"}},
		{"hours", timed, Request{Capability: Read, Path: "x", Now: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)}},
	}
	for _, tt := range tests {
		if !tt.acl.Decide(tt.r).Allowed {
			t.Errorf("%s: refused", tt.name)
		}
		if n := testing.AllocsPerRun(100, func() { tt.acl.Decide(tt.r) }); n > 0 {
			t.Errorf("%s: %v allocations, want none", tt.name, n)
		}
	}
}

// benchmarkACL has n exact, n prefix and n segment rules.
func benchmarkACL(t testing.TB, n int) *ACL {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "path \"secret/data/app%d/config\" { capabilities = [\"read\"] }\n", i)
		fmt.Fprintf(&b, "path \"team%d/data/*\" { capabilities = [\"read\", \"list\"] }\n", i)
		fmt.Fprintf(&b, "path \"any/+/svc%d/*\" { capabilities = [\"read\"] }\n", i)
	}
	return compileText(t, b.String())
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{1, 50, 1000} {
		acl := benchmarkACL(b, n)
		for name, path := range map[string]string{
			"exact": fmt.Sprintf("secret/data/app%d/config", n-1), "prefix": fmt.Sprintf("team%d/data/some/thing", n-1),
			"segments": fmt.Sprintf("any/where/svc%d/thing", n-1),
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if !acl.Decide(Request{Capability: Read, Path: path}).Allowed {
						b.Fatal("refused")
					}
				}
			})
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	p, err := Parse("p", defaultText)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		Compile(p)
	}
}
