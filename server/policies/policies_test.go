package policies_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
	"coffer/policy"
	"coffer/server/policies"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

const readX = `path "x" { capabilities = ["read"] }`

func open(t *testing.T, base storage.Storage) *policies.Store {
	t.Helper()
	s, err := policies.New(t.Context(), base, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(t *testing.T, s *policies.Store, name, text string) {
	t.Helper()
	if err := s.Set(t.Context(), name, text); err != nil {
		t.Fatalf("Set(%q): %v", name, err)
	}
}

func may(t *testing.T, s *policies.Store, path string, names ...string) string {
	t.Helper()
	acl, err := s.ACL(t.Context(), names)
	if err != nil {
		t.Fatalf("ACL(%q): %v", names, err)
	}
	return strings.Join(acl.Capabilities(path, policy.Spellings{}, time.Now()), ",")
}

func TestListingHasVaultsOrder(t *testing.T) {
	s := open(t, memory.New())
	for _, name := range []string{"zeta", "a/b", "a", "UPPER", "a/b/c", " spaced "} {
		set(t, s, name, readX)
	}
	got, err := s.List(t.Context())
	want := []string{"a", "default", "spaced", "upper", "zeta", "a/b", "a/b/c", "root"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v: -want +got\n%s", err, diff)
	}
}

func TestOneNameOnePolicy(t *testing.T) {
	base := memory.New()
	s := open(t, base)
	set(t, s, "  CI-Deploy ", readX)
	for _, spelling := range []string{"ci-deploy", "CI-DEPLOY", " ci-deploy"} {
		p, err := s.Get(t.Context(), spelling)
		if err != nil || p.Name != "ci-deploy" || p.Text != readX {
			t.Errorf("Get(%q): %+v, %v", spelling, p, err)
		}
	}
	if err := s.Delete(t.Context(), "Ci-Deploy"); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Exists(t.Context(), "ci-deploy"); ok || err != nil {
		t.Errorf("Exists after deletion: %v, %v", ok, err)
	}
	for _, op := range base.Contents() {
		if op.Key != "sys/policy/default" {
			t.Errorf("a key is left: %q", op.Key)
		}
	}
}

func TestNamesThatAreRefused(t *testing.T) {
	base := memory.New()
	s := open(t, base)
	for _, name := range []string{"", " ", "../default", "a/../b", "a//b", "/a", "a/", "a\x00b", "a\nb", strings.Repeat("x", 600)} {
		if err := s.Set(t.Context(), name, readX); !errors.Is(err, policy.ErrName) {
			t.Errorf("Set(%q): %v; want policy.ErrName", name, err)
		}
		if err := s.Delete(t.Context(), name); !errors.Is(err, policy.ErrName) {
			t.Errorf("Delete(%q): %v; want policy.ErrName", name, err)
		}
		if ok, err := s.Exists(t.Context(), name); ok || err != nil {
			t.Errorf("Exists(%q): %v, %v", name, ok, err)
		}
	}
	if n := len(base.Contents()); n != 1 {
		t.Errorf("%d keys are stored; want the default policy alone", n)
	}
}

func TestBuiltInPolicies(t *testing.T) {
	s := open(t, memory.New())
	for _, tc := range []struct {
		name             string
		changes, deletes bool
	}{
		{"root", false, false}, {"ROOT", false, false}, {"response-wrapping", false, false},
		{"control-group", false, false}, {"default", true, false}, {"Default", true, false}, {"mine", true, true},
	} {
		if err := s.Set(t.Context(), tc.name, readX); (err == nil) != tc.changes || (err != nil && !errors.Is(err, policies.ErrReserved)) {
			t.Errorf("Set(%q): %v", tc.name, err)
		}
		if err := s.Delete(t.Context(), tc.name); (err == nil) != tc.deletes || (err != nil && !errors.Is(err, policies.ErrReserved)) {
			t.Errorf("Delete(%q): %v", tc.name, err)
		}
	}
	if got := may(t, s, "anything", "root"); got != "root" {
		t.Errorf("root may %s", got)
	}
	if p, err := s.Get(t.Context(), "Root"); err != nil || p.Text != "" {
		t.Errorf("Get(root): %+v, %v", p, err)
	}
}

func TestTheDefaultPolicyIsMadeOnceAndKept(t *testing.T) {
	base := memory.New()
	s := open(t, base)
	if got := may(t, s, "auth/token/lookup-self", "default"); got != "read" {
		t.Errorf("default may %s on lookup-self; want read", got)
	}
	set(t, s, "default", readX)
	again := open(t, base)
	if p, err := again.Get(t.Context(), "default"); err != nil || p.Text != readX {
		t.Errorf("after opening again: %+v, %v", p, err)
	}
}

func TestATextThatIsNoPolicyChangesNothing(t *testing.T) {
	s := open(t, memory.New())
	set(t, s, "p", readX)
	err := s.Set(t.Context(), "p", `path "x" { foo = 1 }`)
	want := "failed to parse policy: 1 error occurred:\n\t* path \"x\": invalid key \"foo\" on line 1\n\n"
	if !errors.Is(err, engines.ErrInvalid) || err.Error() != want {
		t.Errorf("Set: %q; want %q", err, want)
	}
	if p, err := s.Get(t.Context(), "p"); err != nil || p.Text != readX {
		t.Errorf("the policy is %+v, %v", p, err)
	}
}

func TestUnionOfPolicies(t *testing.T) {
	s := open(t, memory.New())
	set(t, s, "r", readX)
	set(t, s, "u", `path "x" { capabilities = ["update"] }`)
	set(t, s, "d", `path "x" { capabilities = ["deny"] }`)
	for _, tc := range []struct {
		names string
		want  string
	}{
		{"", "deny"}, {"r", "read"}, {"r u", "read,update"}, {"u r r", "read,update"}, {"r u d", "deny"},
		{"nobody", "deny"}, {"r nobody", "read"}, {"R", "read"},
	} {
		if got := may(t, s, "x", strings.Fields(tc.names)...); got != tc.want {
			t.Errorf("%q may %s; want %s", tc.names, got, tc.want)
		}
	}
}

func TestChangesAreSeenAtOnce(t *testing.T) {
	s := open(t, memory.New())
	if got := may(t, s, "x", "p"); got != "deny" {
		t.Errorf("before the policy exists: %s", got)
	}
	set(t, s, "p", readX)
	if got := may(t, s, "x", "p"); got != "read" {
		t.Errorf("after it was made: %s", got)
	}
	set(t, s, "p", `path "x" { capabilities = ["list"] }`)
	if got := may(t, s, "x", "p"); got != "list" {
		t.Errorf("after it was changed: %s", got)
	}
	if err := s.Delete(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	if got := may(t, s, "x", "p"); got != "deny" {
		t.Errorf("after it was deleted: %s", got)
	}
}

// A change that was written though storage reported a fault must not leave the old ACL in use.
func TestAFailedChangeForgetsCompiledACLs(t *testing.T) {
	for _, form := range []struct {
		name string
		form storagetest.Form
		want string
	}{{"written", storagetest.WrittenButFailed, "deny"}, {"not written", storagetest.NotWritten, "read"}} {
		t.Run(form.name, func(t *testing.T) {
			faulty := storagetest.NewFaulty(memory.New())
			s := open(t, faulty)
			set(t, s, "p", readX)
			if got := may(t, s, "x", "p"); got != "read" {
				t.Fatalf("at first: %s", got)
			}
			faulty.Fail(storagetest.Apply, 1, form.form)
			if err := s.Delete(t.Context(), "p"); !errors.Is(err, storagetest.ErrInjected) {
				t.Fatalf("Delete: %v", err)
			}
			if got := may(t, s, "x", "p"); got != form.want {
				t.Errorf("after the fault: %s; want %s", got, form.want)
			}
		})
	}
}

// changing calls change once, after the next Get has read the old value.
type changing struct {
	storage.Storage
	change func()
}

func (c *changing) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := c.Storage.Get(ctx, key)
	if change := c.change; change != nil {
		c.change = nil
		change()
	}
	return value, err
}

func TestAnACLCompiledDuringAChangeIsNotKept(t *testing.T) {
	base := &changing{Storage: memory.New()}
	s := open(t, base)
	set(t, s, "p", readX)
	base.change = func() { set(t, s, "p", `path "x" { capabilities = ["list"] }`) }
	if got := may(t, s, "x", "p"); got != "read" {
		t.Fatalf("during the change: %s", got)
	}
	if got := may(t, s, "x", "p"); got != "list" {
		t.Errorf("after the change: %s; want list", got)
	}
}

func TestAPolicyThatCannotBeReadGrantsNothing(t *testing.T) {
	base := memory.New()
	s := open(t, base)
	if err := base.Apply(t.Context(), storage.Put("sys/policy/p", []byte("{{{"))); err != nil {
		t.Fatal(err)
	}
	if acl, err := s.ACL(t.Context(), []string{"p", "root"}); err == nil {
		t.Errorf("an ACL was made of a corrupt policy: %v", acl)
	}
}

func TestTheACLOfKnownNamesCostsNothing(t *testing.T) {
	s := open(t, memory.New())
	set(t, s, "ci", readX)
	names := []string{"ci", "default"}
	first, err := s.ACL(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	allocations := testing.AllocsPerRun(100, func() {
		if again, err := s.ACL(ctx, names); err != nil || again != first {
			t.Fatalf("compiled again: %v", err)
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

// Names come from tokens; one that holds the separator of a key must not fetch the ACL of two others.
func TestNamesCannotForgeAKey(t *testing.T) {
	s := open(t, memory.New())
	set(t, s, "a", readX)
	set(t, s, "b", readX)
	if got := may(t, s, "x", "a", "b"); got != "read" {
		t.Fatalf("a and b may %s", got)
	}
	for _, forged := range []string{"a\x00b", "a\x01b", "a,b", "\x01a\x01b"} {
		if got := may(t, s, "x", forged); got != "deny" {
			t.Errorf("%q may %s", forged, got)
		}
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	s := open(t, memory.New())
	set(t, s, "p", readX)
	for i := range 3000 {
		if got := may(t, s, "x", "p", fmt.Sprintf("no-%d", i)); got != "read" {
			t.Fatalf("set %d may %s", i, got)
		}
	}
	if n := s.Cached(); n > 1024 {
		t.Errorf("%d ACLs are kept", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := open(t, memory.New())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprintf("p%d", i%4)
			for range 50 {
				if err := s.Set(t.Context(), name, readX); err != nil {
					t.Error(err)
				}
				if _, err := s.ACL(t.Context(), []string{name, "default"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := may(t, s, "x", "p0"); got != "read" {
		t.Errorf("p0 may %s", got)
	}
}

func BenchmarkACL(b *testing.B) {
	s, err := policies.New(b.Context(), memory.New(), time.Now)
	if err != nil {
		b.Fatal(err)
	}
	names := []string{"ci", "default"}
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.ACL(ctx, names); err != nil {
			b.Fatal(err)
		}
	}
}
