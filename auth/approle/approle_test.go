package approle_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// inBubble runs f with a mount whose clock the test drives.
func inBubble(t *testing.T, f func(t *testing.T, m *mount, store *memory.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		store := memory.New()
		f(t, open(ctx, t, store), store)
	})
}

func TestSecretIDEndsOnTimeAndIsRemovedLater(t *testing.T) {
	inBubble(t, func(t *testing.T, m *mount, store *memory.Store) {
		m.must(t, engines.Update, "role/r", map[string]any{"role_id": "r"})
		before := len(store.Contents())
		id, accessor := m.secretID(t, "r", map[string]any{"ttl": "90s"})
		time.Sleep(90*time.Second - time.Nanosecond)
		if _, ok := m.login(t, "r", id); !ok {
			t.Error("refused before its end")
		}
		time.Sleep(time.Nanosecond)
		if _, ok := m.login(t, "r", id); ok {
			t.Error("accepted after its end")
		}
		if resp := m.must(t, engines.Update, "role/r/secret-id/lookup", map[string]any{"secret_id": id}); resp.Data != nil {
			t.Errorf("lookup after its end: %v", resp.Data)
		}
		if _, err := m.do(t.Context(), engines.List, "role/r/secret-id", nil); !errors.Is(err, engines.ErrNotFound) {
			t.Errorf("list after its end: %v", err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if after := len(store.Contents()); after != before {
			t.Errorf("%d records were left", after-before)
		}
		if _, err := m.do(t.Context(), engines.Update, "role/r/secret-id-accessor/destroy",
			map[string]any{"secret_id_accessor": accessor}); !errors.Is(err, engines.ErrFailed) {
			t.Errorf("its accessor: %v", err)
		}
	})
}

func TestTidyRemovesWhatExpiredJustNow(t *testing.T) {
	inBubble(t, func(t *testing.T, m *mount, store *memory.Store) {
		m.must(t, engines.Update, "role/r", map[string]any{"role_id": "r"})
		kept, _ := m.secretID(t, "r", map[string]any{"ttl": "10m"})
		before := len(store.Contents())
		for range 600 { // more than a page
			m.secretID(t, "r", map[string]any{"ttl": "1s"})
		}
		time.Sleep(time.Second)
		if resp := m.must(t, engines.Update, "tidy/secret-id", nil); resp.Status != 202 {
			t.Errorf("status %d", resp.Status)
		}
		synctest.Wait()
		if after := len(store.Contents()); after != before {
			t.Errorf("%d records were left", after-before)
		}
		if _, ok := m.login(t, "r", kept); !ok {
			t.Error("one that lives was removed")
		}
	})
}

func TestDeletedRoleTakesItsSecretIDsAlong(t *testing.T) {
	inBubble(t, func(t *testing.T, m *mount, store *memory.Store) {
		before := len(store.Contents())
		m.must(t, engines.Update, "role/r", map[string]any{"role_id": "r"})
		id, _ := m.secretID(t, "r", nil)
		for range 300 {
			m.secretID(t, "r", map[string]any{"ttl": "1h"})
		}
		m.must(t, engines.Delete, "role/R", nil)
		m.must(t, engines.Update, "role/r", map[string]any{"role_id": "r"})
		if _, ok := m.login(t, "r", id); ok {
			t.Error("a secret id of the role's predecessor was accepted")
		}
		m.must(t, engines.Delete, "role/r", nil)
		synctest.Wait()
		if after := len(store.Contents()); after != before {
			t.Errorf("%d records were left", after-before)
		}
	})
}

func TestCustomSecretIDCanBeIssuedAgainAfterItsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, m *mount, store *memory.Store) {
		m.must(t, engines.Update, "role/r", map[string]any{"role_id": "r"})
		custom := map[string]any{"secret_id": "mine", "ttl": "1m"}
		m.must(t, engines.Update, "role/r/custom-secret-id", custom)
		before := len(store.Contents())
		if _, err := m.do(t.Context(), engines.Update, "role/r/custom-secret-id", custom); !errors.Is(err, engines.ErrFailed) {
			t.Errorf("issued twice: %v", err)
		}
		time.Sleep(time.Minute)
		m.must(t, engines.Update, "role/r/custom-secret-id", custom)
		if after := len(store.Contents()); after != before {
			t.Errorf("%d records more", after-before)
		}
		if _, ok := m.login(t, "r", "mine"); !ok {
			t.Error("refused")
		}
	})
}

func TestLimitedSecretIDIsUsedExactlySoOften(t *testing.T) {
	m := open(t.Context(), t, yielding{memory.New()})
	m.must(t, engines.Update, "role/r", map[string]any{"role_id": "r"})
	id, _ := m.secretID(t, "r", map[string]any{"num_uses": "7"})
	var won atomic.Int32
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if _, ok := m.login(t, "r", id); ok {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if n := won.Load(); n != 7 {
		t.Errorf("a secret id for 7 uses was used %d times", n)
	}
}

func TestRoleCannotTouchSecretIDsOfAnother(t *testing.T) {
	m := open(t.Context(), t, memory.New())
	m.must(t, engines.Update, "role/a", map[string]any{"role_id": "a"})
	m.must(t, engines.Update, "role/b", map[string]any{"role_id": "b"})
	id, accessor := m.secretID(t, "b", nil)
	for path, params := range map[string]map[string]any{
		"role/a/secret-id/destroy":          {"secret_id": id},
		"role/a/secret-id-accessor/destroy": {"secret_id_accessor": accessor},
		"role/a/secret-id/lookup":           {"secret_id": id},
		"role/a/secret-id-accessor/lookup":  {"secret_id_accessor": accessor},
	} {
		for _, op := range []engines.Operation{engines.Update, engines.Delete} {
			if resp, err := m.do(t.Context(), op, path, params); err == nil && resp.Data != nil {
				t.Errorf("%s %s: %v", op, path, resp.Data)
			}
		}
	}
	if _, ok := m.login(t, "b", id); !ok {
		t.Error("role a destroyed a secret id of role b")
	}
	if _, ok := m.login(t, "a", id); ok {
		t.Error("role a logged in with a secret id of role b")
	}
}

// A secret id was issued within the networks of its role; when these are made fewer, it does not keep the others.
func TestNetworksOfASecretIDStayWithinTheRoles(t *testing.T) {
	m := open(t.Context(), t, memory.New())
	m.must(t, engines.Update, "role/r", map[string]any{"role_id": "r"})
	for name, params := range map[string]map[string]any{
		"without limit": {"token_bound_cidrs": "10.0.0.0/8,11.0.0.0/8"},
		"limited":       {"token_bound_cidrs": "10.0.0.0/8,11.0.0.0/8", "num_uses": "9"},
	} {
		t.Run(name, func(t *testing.T) {
			m.must(t, engines.Delete, "role/r/token-bound-cidrs", nil)
			id, _ := m.secretID(t, "r", params)
			for role, want := range map[string]string{
				"10.1.0.0/16":         "10.1.0.0/16",
				"0.0.0.0/0":           "10.0.0.0/8 11.0.0.0/8",
				"12.0.0.0/8,11.0.0.1": "11.0.0.1",
			} {
				m.must(t, engines.Update, "role/r", map[string]any{"token_bound_cidrs": role})
				l, ok := m.login(t, "r", id)
				if !ok {
					t.Fatal("not let in")
				}
				if got := strings.Join(auth.CIDRTexts(l.BoundCIDRs), " "); got != want {
					t.Errorf("%s: bound to %q, want %q", role, got, want)
				}
			}
			m.must(t, engines.Update, "role/r", map[string]any{"token_bound_cidrs": "12.0.0.0/8"})
			_, err := m.do(t.Context(), engines.Update, "login", map[string]any{"role_id": "r", "secret_id": id})
			if err == nil || errors.Is(err, engines.ErrCredentials) {
				t.Errorf("no network in common: %v", err)
			}
		})
	}
}

func TestNothingStoredShowsASecretID(t *testing.T) {
	store := memory.New()
	m := open(t.Context(), t, store)
	m.must(t, engines.Update, "role/r", map[string]any{"role_id": "r"})
	id, _ := m.secretID(t, "r", map[string]any{"num_uses": "2", "ttl": "1h"})
	m.login(t, "r", id)
	for _, record := range store.Contents() {
		if strings.Contains(record.Key, id) || strings.Contains(string(record.Value), id) {
			t.Errorf("%s holds the secret id", record.Key)
		}
	}
}

// A fault at any point leaves a role and a secret id that work or are not there at all.
func TestFaultsLeaveNothingHalf(t *testing.T) {
	storagetest.EachFault(t, func(*testing.T) storage.Storage { return memory.New() },
		func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
			setUp := open(t.Context(), t, base)
			setUp.must(t, engines.Update, "role/r", map[string]any{"role_id": "r"})
			id, _ := setUp.secretID(t, "r", map[string]any{"num_uses": "2", "ttl": "1h"})
			m, err := tryOpen(t.Context(), faulty)
			if err != nil {
				return
			}
			spent := 0
			for range 2 {
				if _, err := m.do(t.Context(), engines.Update, "login", map[string]any{"role_id": "r", "secret_id": id}); err == nil {
					spent++
				}
			}
			_, err = m.do(t.Context(), engines.Update, "role/r/role-id", map[string]any{"role_id": "new"})
			roleID := "r"
			if _, ok := setUp.login(t, "new", "x"); !ok && err == nil {
				roleID = "new"
			}
			more := 0
			for range 3 {
				if _, ok := setUp.login(t, roleID, id); ok {
					more++
				}
			}
			if spent+more > 2 {
				t.Errorf("a secret id for 2 uses was used %d times", spent+more)
			}
		})
}

func TestRoleIDIsUnique(t *testing.T) {
	m := open(t.Context(), t, yielding{memory.New()})
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			_, err := m.do(t.Context(), engines.Update, fmt.Sprintf("role/r%d", i), map[string]any{"role_id": "same"})
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, engines.ErrFailed) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d roles have the same role id", n)
	}
}

func TestChangedRoleIDEndsTheOldOne(t *testing.T) {
	m := open(t.Context(), t, memory.New())
	m.must(t, engines.Update, "role/r", map[string]any{"role_id": "old"})
	id, _ := m.secretID(t, "r", nil)
	m.must(t, engines.Update, "role/r/role-id", map[string]any{"role_id": "new"})
	if _, ok := m.login(t, "old", id); ok {
		t.Error("the old role id is still good")
	}
	l, ok := m.login(t, "new", id)
	if !ok || l.Alias != "new" || l.Metadata["role_name"] != "r" {
		t.Errorf("login with the new role id: %+v, %v", l, ok)
	}
}
