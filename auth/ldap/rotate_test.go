package ldap_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jimlambrt/gldap"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

const alicesLogin = "alice: everybody; Dev ops posix"

// rotate asks for a new bind password; "" when there is one.
func (m *mount) rotate(t testing.TB) string {
	t.Helper()
	if _, err := m.call(t.Context(), engines.Update, "config/rotate-root", nil); err != nil {
		return err.Error()
	}
	return ""
}

// bindsAs reports whether a mount with that bind password can search.
func (d *directory) bindsAs(t testing.TB, password string) bool {
	t.Helper()
	m := newMount(t, nil)
	m.write(t, "config", searching(d, map[string]any{"bindpass": password}))
	switch got := outcome(m.login(t.Context(), "alice", "wonderland")); got {
	case alicesLogin:
		return true
	case trouble:
		return false
	default:
		t.Fatalf("a login with the bind password: %s", got)
		return false
	}
}

// stored is what a mount keeps of its configuration.
func stored(t testing.TB, s storage.Storage) string {
	t.Helper()
	raw, err := s.Get(t.Context(), "config")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestRotateRoot(t *testing.T) {
	eachDirectory(t, func(t *testing.T, d *directory) {
		testRotation(t, d)
	})
}

func TestRotateRootInActiveDirectory(t *testing.T) {
	testRotation(t, newDirectory(t, func(d *directory) { d.active = true }))
}

func testRotation(t *testing.T, d *directory) {
	s := memory.New()
	m := newMount(t, s)
	m.write(t, "config", searching(d, nil))
	for range 2 {
		before := stored(t, s)
		if got := m.rotate(t); got != "" {
			t.Fatal(got)
		}
		if stored(t, s) == before || strings.Contains(stored(t, s), `"next"`) {
			t.Error("not the new password alone is stored")
		}
		if got := outcome(m.login(t.Context(), "alice", "wonderland")); got != alicesLogin {
			t.Errorf("login afterwards: %s", got)
		}
		if d.bindsAs(t, readerPass) {
			t.Error("the old password is still good")
		}
	}
	if got := outcome(newMount(t, s).login(t.Context(), "alice", "wonderland")); got != alicesLogin {
		t.Errorf("login after a restart: %s", got)
	}
	resp, err := m.call(t.Context(), engines.Read, "config", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, shown := resp.Data["bindpass"]; shown {
		t.Error("the password is shown")
	}
	// A new password from outside counts, and forgets what the rotation left.
	m.write(t, "config", map[string]any{"bindpass": "wrong"})
	if got := m.rotate(t); got != `the LDAP directory refuses it: LDAP Result Code 49 "Invalid Credentials"` {
		t.Errorf("with a wrong password: %q", got)
	}
}

func TestRotateRootByAPasswordPolicy(t *testing.T) {
	eachDirectory(t, testPasswordPolicy)
}

func TestRotateRootByAPasswordPolicyInActiveDirectory(t *testing.T) {
	testPasswordPolicy(t, newDirectory(t, func(d *directory) { d.active = true }))
}

// A policy that is not there changes nothing; one that is makes the password.
func testPasswordPolicy(t *testing.T, d *directory) {
	s := memory.New()
	m := newMount(t, s)
	m.write(t, "config", searching(d, map[string]any{"password_policy": "none"}))
	before := stored(t, s)
	if got := m.rotate(t); got != `there is no password policy "none"` {
		t.Errorf("by a policy that is not there: %q", got)
	}
	if stored(t, s) != before || !d.bindsAs(t, readerPass) {
		t.Error("something was changed")
	}
	m.write(t, "config", map[string]any{"password_policy": "strong"})
	if got := m.rotate(t); got != "" {
		t.Fatal(got)
	}
	if d.bindsAs(t, readerPass) || !d.bindsAs(t, "made-by-policy") {
		t.Error("the password is not the policy's")
	}
	if got := outcome(m.login(t.Context(), "alice", "wonderland")); got != alicesLogin {
		t.Errorf("login afterwards: %s", got)
	}
}

// TestRotationAtAnotherAddress: where passwords are changed need not be where people log in.
func TestRotationAtAnotherAddress(t *testing.T) {
	d := newDirectory(t, nil)
	m := newMount(t, nil)
	m.write(t, "config", searching(d, map[string]any{"url": "ldap://127.0.0.1:1", "rotation_url": "ldap://" + d.plain}))
	if got := m.rotate(t); got != "" {
		t.Fatal(got)
	}
	d = newDirectory(t, nil) // with the password of before
	m = newMount(t, nil)
	m.write(t, "config", searching(d, map[string]any{"rotation_url": "ldap://127.0.0.1:1"}))
	if got := m.rotate(t); got != trouble {
		t.Errorf("got %q, want %q", got, trouble)
	}
	if got := outcome(m.login(t.Context(), "alice", "wonderland")); got != alicesLogin {
		t.Error(got)
	}
}

// TestRotationThatIsCutOff: whatever the directory did, and whether it said so or not, logins go on, and so does the
// next rotation.
func TestRotationThatIsCutOff(t *testing.T) {
	const unknown = "the directory did not say whether it has the new password: both are kept, and logins use the one " +
		"that is right; rotate again when the directory answers"
	for _, tt := range []struct {
		name     string
		onModify func(do func() int) (int, bool)
		want     string
	}{
		{"refused", func(func() int) (int, bool) { return gldap.ResultInsufficientAccessRights, false },
			`the LDAP directory refuses it: LDAP Result Code 50 "Insufficient Access Rights"`},
		{"done in silence", func(do func() int) (int, bool) { return do(), true }, unknown},
		{"silence", func(func() int) (int, bool) { return 0, true }, unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var away atomic.Bool
			d := newDirectory(t, func(d *directory) {
				d.onModify = tt.onModify
				d.onBind = func(*gldap.ResponseWriter, *gldap.Request) bool { return away.Load() }
			})
			s := memory.New()
			m := newMount(t, s)
			m.write(t, "config", searching(d, map[string]any{"request_timeout": "1s"}))
			if got := m.rotate(t); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if kept := strings.Contains(stored(t, s), `"next"`); kept != (tt.want == unknown) {
				t.Errorf("the next password is kept: %v", kept)
			}
			for _, password := range []string{readerPass, "PASSWORD"} {
				if strings.Contains(m.log.String(), password) {
					t.Errorf("the log: %s", m.log)
				}
			}
			m = newMount(t, s)
			if got := outcome(m.login(t.Context(), "alice", "wonderland")); got != alicesLogin {
				t.Errorf("login afterwards: %s", got)
			}
			if tt.want != unknown {
				return
			}
			// A login that found out keeps it: a wrong password is not tried again and again.
			if kept := strings.Contains(stored(t, s), `"next"`); kept != (tt.name == "silence") {
				t.Errorf("after a login the next password is kept: %v", kept)
			}
			d.binds.take()
			if got := outcome(m.login(t.Context(), "alice", "wonderland")); got != alicesLogin {
				t.Errorf("the second login: %s", got)
			}
			if binds := d.binds.take(); len(binds) != 3 {
				t.Errorf("%d binds, want the account's, alice's, and the account's again", len(binds))
			}
			// Without an answer there is no third password.
			before := stored(t, s)
			away.Store(true)
			if got := m.rotate(t); got != `the LDAP directory refuses it: LDAP Result Code 10 "Referral"` {
				t.Errorf("from a directory that is busy: %q", got)
			}
			away.Store(false)
			if stored(t, s) != before {
				t.Error("a rotation that could not begin has changed something")
			}
			if got := m.rotate(t); got != unknown {
				t.Errorf("again: %q", got)
			}
			if got := outcome(m.login(t.Context(), "alice", "wonderland")); got != alicesLogin {
				t.Errorf("login after another one: %s", got)
			}
		})
	}
}

// TestFaultsOfARotation: whichever call to storage fails, the mount is not locked out, and says no success.
func TestFaultsOfARotation(t *testing.T) {
	storagetest.EachFault(t, func(*testing.T) storage.Storage { return memory.New() },
		func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
			d := newDirectory(t, nil)
			newMount(t, base).write(t, "config", searching(d, nil))
			_, err := newMount(t, faulty).call(t.Context(), engines.Update, "config/rotate-root", nil)
			if (err != nil) != faulty.Fired() {
				t.Errorf("a fault: %v, the answer: %v", faulty.Fired(), err)
			}
			after := newMount(t, base)
			if got := outcome(after.login(t.Context(), "alice", "wonderland")); got != alicesLogin {
				t.Errorf("login afterwards: %s", got)
			}
			if got := after.rotate(t); got != "" {
				t.Errorf("the next rotation: %s", got)
			}
			if got := outcome(after.login(t.Context(), "alice", "wonderland")); got != alicesLogin {
				t.Errorf("login after that: %s", got)
			}
		})
}
