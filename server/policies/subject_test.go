package policies_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"coffer/policy"
	"coffer/server/policies"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// subject is somebody with a name.
type subject struct {
	name     string
	policies []string
	revision uint64
}

func (s subject) Policies() []string { return s.policies }
func (s subject) Revision() uint64   { return s.revision }
func (s subject) Uncertain() bool    { return false }

// uncertain is a subject that may have any policy.
type uncertain struct{ subject }

func (uncertain) Uncertain() bool { return true }

func (s subject) Value(selector string) (string, error) {
	if selector != "identity.entity.name" || s.name == "" {
		return "", policy.ErrNoValue
	}
	return s.name, nil
}

func mayAs(t *testing.T, s *policies.Store, who policies.Subject, path string, names ...string) string {
	t.Helper()
	acl, err := s.ACLOf(t.Context(), names, who)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(acl.Capabilities(path, policy.Spellings{}, time.Now()), ",")
}

func TestIdentityAddsPoliciesAndValues(t *testing.T) {
	s := open(t, memory.New())
	set(t, s, "own", readX)
	set(t, s, "tpl", `path "home/{{identity.entity.name}}" { capabilities = ["read"] }`)
	bob := subject{"bob", []string{"own"}, 1}
	eve := subject{"eve", nil, 2}
	for _, tc := range []struct {
		who        subject
		path, want string
	}{
		{bob, "x", "read"}, {bob, "home/bob", "read"}, {bob, "home/eve", "deny"},
		{eve, "x", "deny"}, {eve, "home/eve", "read"}, {eve, "home/bob", "deny"},
	} {
		for range 2 { // compiled, then from the cache
			if got := mayAs(t, s, tc.who, tc.path, "tpl"); got != tc.want {
				t.Errorf("%s may %s %s, want %s", tc.who.name, got, tc.path, tc.want)
			}
		}
	}
	if got := may(t, s, "home/bob", "tpl"); got != "deny" {
		t.Errorf("nobody may %s", got)
	}
	bob = subject{"bob", nil, 3}
	if got := mayAs(t, s, bob, "x", "tpl"); got != "deny" {
		t.Errorf("after the policy was taken away bob may %s", got)
	}
}

func TestIdentityAddsNoRoot(t *testing.T) {
	s := open(t, memory.New())
	for i, name := range []string{"root", "ROOT", " Root ", "root\t"} {
		who := subject{"bob", []string{name}, uint64(i + 1)}
		if got := mayAs(t, s, who, "x", "default"); got != "deny" {
			t.Errorf("with %q: %s", name, got)
		}
	}
}

func TestValuesOfTheTimeAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, memory.New())
		set(t, s, "now", `path "at/{{time.now}}" { capabilities = ["read"] }`)
		at := func(moment time.Time) string {
			value, err := policy.TimeValue("time.now", moment)
			if err != nil {
				t.Fatal(err)
			}
			return "at/" + value
		}
		for _, ask := range []func(string) string{
			func(path string) string { return may(t, s, path, "now") },
			func(path string) string { return mayAs(t, s, subject{"bob", nil, 1}, path, "now") },
		} {
			first := time.Now()
			if got := ask(at(first)); got != "read" {
				t.Errorf("now: %s", got)
			}
			time.Sleep(time.Second)
			if got := ask(at(first)); got != "deny" {
				t.Errorf("a second later: %s", got)
			}
		}
	})
}

// Asking again costs no allocation and reads nothing.
func TestACLOfIsKept(t *testing.T) {
	base := storagetest.NewFaulty(memory.New())
	s := open(t, base)
	set(t, s, "tpl", `path "home/{{identity.entity.name}}" { capabilities = ["read"] }`)
	var who policies.Subject = &subject{"bob", []string{"tpl"}, 7}
	names := []string{"default"}
	ask := func() {
		if _, err := s.ACLOf(t.Context(), names, who); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	before := base.Calls(storagetest.Get)
	if n := testing.AllocsPerRun(100, ask); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if n := base.Calls(storagetest.Get) - before; n > 0 {
		t.Errorf("%d reads", n)
	}
}

// TestWhoMayHaveAnyPolicyIsHeldToAll asks for somebody of whom nobody knows which policies his groups add.
func TestWhoMayHaveAnyPolicyIsHeldToAll(t *testing.T) {
	s := open(t, memory.New())
	set(t, s, "own", `
		path "x/*" { capabilities = ["read"] }
		path "team/{{identity.groups.names.g.id}}/*" { capabilities = ["deny"] }
		path "team/*" { capabilities = ["read"] }`)
	set(t, s, "other", `path "x/closed" { capabilities = ["deny"] }`)
	bob := subject{"bob", nil, 1}
	for path, want := range map[string][2]string{
		"x/open": {"read", "read"}, "x/closed": {"read", "deny"}, "team/a": {"read", "deny"}, "y": {"deny", "deny"},
	} {
		if got := mayAs(t, s, bob, path, "own"); got != want[0] {
			t.Errorf("bob may %s %s; want %s", got, path, want[0])
		}
		for range 2 { // compiled, then from the cache
			if got := mayAs(t, s, uncertain{subject{"bob", nil, 2}}, path, "own"); got != want[1] {
				t.Errorf("whose groups nobody knows may %s %s; want %s", got, path, want[1])
			}
		}
	}
	if got := mayAs(t, s, uncertain{subject{"bob", nil, 3}}, "x/closed", "root"); got != "root" {
		t.Errorf("root may %s", got)
	}
}
