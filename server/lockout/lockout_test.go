package lockout_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coffer/server/lockout"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

var policy = lockout.Policy{Threshold: 3, Duration: 10 * time.Minute, CounterReset: 5 * time.Minute}

// bench is a keeper with a clock that the test sets.
type bench struct {
	*lockout.Keeper
	store *memory.Store
	now   time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{store: memory.New(), now: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}
	b.reopen(t)
	return b
}

func (b *bench) reopen(t *testing.T) {
	t.Helper()
	var err error
	if b.Keeper, err = lockout.New(t.Context(), b.store, func() time.Time { return b.now }); err != nil {
		t.Fatal(err)
	}
}

var me = lockout.NewUser("acc", "me")

// fail lets logins of u fail n times.
func (b *bench) fail(t *testing.T, u lockout.User, n int, how lockout.Outcome) {
	t.Helper()
	for range n {
		if _, err := b.Settle(t.Context(), u, policy, how); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLockFromLaterLastsItsTime locks a user while the clock is years ahead.
func TestLockFromLaterLastsItsTime(t *testing.T) {
	b := newBench(t)
	right := b.now
	b.now = b.now.Add(30 * 365 * 24 * time.Hour)
	b.fail(t, me, 3, lockout.Failed)
	b.now = right
	b.reopen(t)
	if !b.Locked(me, policy) {
		t.Error("the lock is lost")
	}
	b.now = right.Add(policy.Duration)
	if b.Locked(me, policy) || len(b.Users("")) > 0 {
		t.Error("the lock lasts longer than its time")
	}
}

func TestThresholdLocksForItsTime(t *testing.T) {
	for name, how := range map[string]lockout.Outcome{"known": lockout.Failed, "unknown": lockout.FailedUnknown} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.fail(t, me, 2, how)
			if b.Locked(me, policy) {
				t.Error("locked too early")
			}
			b.fail(t, me, 1, how)
			if !b.Locked(me, policy) {
				t.Error("not locked")
			}
			b.now = b.now.Add(policy.Duration - time.Second)
			if !b.Locked(me, policy) {
				t.Error("unlocked too early")
			}
			b.now = b.now.Add(time.Second)
			if b.Locked(me, policy) {
				t.Error("locked for too long")
			}
		})
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	b := newBench(t)
	b.fail(t, me, 2, lockout.Failed)
	b.now = b.now.Add(policy.CounterReset + time.Second)
	b.fail(t, me, 2, lockout.Failed)
	if b.Locked(me, policy) {
		t.Error("failures of long ago count")
	}
	b.fail(t, me, 1, lockout.Succeeded)
	b.fail(t, me, 2, lockout.Failed)
	if b.Locked(me, policy) {
		t.Error("failures before a success count")
	}
}

func TestSpellingsShareOneCounter(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"User", " user", "USER\t"} {
		b.fail(t, lockout.NewUser("acc", name), 1, lockout.Failed)
	}
	if !b.Locked(lockout.NewUser("acc", "user"), policy) {
		t.Error("each spelling has a counter")
	}
	if b.Locked(lockout.NewUser("other", "user"), policy) {
		t.Error("two mounts share a counter")
	}
}

func TestLockOutlivesARestartAndAnUnlockEndsIt(t *testing.T) {
	b := newBench(t)
	long := lockout.NewUser("acc", strings.Repeat("x/", 5000))
	b.fail(t, me, 3, lockout.Failed)
	b.fail(t, long, 3, lockout.Failed)
	b.fail(t, lockout.NewUser("acc", "nobody"), 3, lockout.FailedUnknown)
	b.reopen(t)
	if !b.Locked(me, policy) || !b.Locked(long, policy) {
		t.Error("forgotten")
	}
	if users := b.Users(""); len(users) != 2 {
		t.Errorf("users: %v", users)
	}
	if users := b.Users("other"); len(users) != 0 {
		t.Errorf("users of another mount: %v", users)
	}
	for _, u := range []lockout.User{me, long, lockout.NewUser("nope", "nobody")} {
		if err := b.Unlock(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	if b.Locked(me, policy) || len(b.Users("")) != 0 {
		t.Error("still locked")
	}
	if n := len(b.store.Contents()); n != 0 {
		t.Errorf("%d records were left", n)
	}
}

func TestOldLocksLeaveTheStorage(t *testing.T) {
	b := newBench(t)
	for i := range 50 {
		b.fail(t, lockout.NewUser("acc", fmt.Sprint(i)), 3, lockout.Failed)
	}
	b.now = b.now.Add(policy.Duration)
	b.fail(t, me, 3, lockout.Failed)
	if n := len(b.store.Contents()); n != 1 {
		t.Errorf("%d records, want the new one alone", n)
	}
	b.now = b.now.Add(policy.Duration)
	b.reopen(t)
	if n := len(b.store.Contents()); n != 0 {
		t.Errorf("%d records after a restart", n)
	}
}

func TestMadeUpNamesDoNotDriveOutCounters(t *testing.T) {
	b := newBench(t)
	b.fail(t, me, 2, lockout.Failed)
	for i := range 30_000 {
		b.fail(t, lockout.NewUser("acc", fmt.Sprint("made up ", i)), 1, lockout.FailedUnknown)
	}
	b.fail(t, me, 1, lockout.Failed)
	if !b.Locked(me, policy) {
		t.Error("a flood of made-up names reset the counter")
	}
	if n := len(b.store.Contents()); n != 1 {
		t.Errorf("%d records, want the lock alone", n)
	}
}

// Of guesses that are under way at once no more count than one after the other would, and the right one is not
// told from the wrong ones.
func TestGuessesAtOnceAreNoMoreThanOneByOne(t *testing.T) {
	b := newBench(t)
	var counted atomic.Int32
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			locked, err := b.Settle(t.Context(), me, policy, lockout.Failed)
			if err != nil {
				t.Error(err)
			}
			if !locked {
				counted.Add(1)
			}
		})
	}
	all.Wait()
	if n := counted.Load(); n != 3 {
		t.Errorf("%d guesses counted", n)
	}
	if locked, err := b.Settle(t.Context(), me, policy, lockout.Succeeded); err != nil || !locked {
		t.Errorf("the right guess came through: %v", err)
	}
}

func TestLockCountsThoughItCannotBeStored(t *testing.T) {
	faulty := storagetest.NewFaulty(memory.New())
	k, err := lockout.New(t.Context(), faulty, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	faulty.FailEvery(storagetest.Apply, storagetest.NotWritten)
	for range 3 {
		if _, err = k.Settle(t.Context(), me, policy, lockout.Failed); err != nil && !errors.Is(err, storagetest.ErrInjected) {
			t.Fatal(err)
		}
	}
	if err == nil {
		t.Error("the failure was not reported")
	}
	if !k.Locked(me, policy) {
		t.Error("not locked")
	}
}

// TestStoredLocksAreBounded: a directory may not tell who exists, and takes every name that is tried for a known one.
func TestStoredLocksAreBounded(t *testing.T) {
	b := newBench(t)
	for i := range 10_100 {
		b.fail(t, lockout.NewUser("acc", fmt.Sprint(i)), 3, lockout.Failed)
	}
	if n := len(b.store.Contents()); n != 10_000 {
		t.Errorf("%d locks are stored", n)
	}
	if !b.Locked(lockout.NewUser("acc", "10099"), policy) {
		t.Error("the last one is not locked out")
	}
	b.now = b.now.Add(policy.Duration)
	for range 50 {
		b.fail(t, me, 3, lockout.Failed)
		b.now = b.now.Add(policy.Duration)
	}
	if n := len(b.store.Contents()); n > 1 {
		t.Errorf("%d locks that are over are left", n)
	}
}
