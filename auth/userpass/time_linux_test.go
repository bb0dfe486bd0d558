package userpass_test

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/engines"
	"coffer/storage/memory"
)

// What counts is the time of the processor: that of the clock depends on what else the machine does.
func TestUnknownUserTakesAsLongAsAWrongPassword(t *testing.T) {
	spent := func() time.Duration {
		var usage unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
			t.Fatal(err)
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	m := open(t, memory.New())
	m.must(t, engines.Update, "users/known", map[string]any{"password": "pw"})
	attempt := func(name string) time.Duration {
		start := spent()
		_, err := m.do(t.Context(), engines.Update, "login/"+name, map[string]any{"password": "no"})
		if !errors.Is(err, engines.ErrCredentials) {
			t.Fatalf("%s: %v", name, err)
		}
		return spent() - start
	}
	known, unknown := time.Hour, time.Hour
	for range 3 {
		known, unknown = min(known, attempt("known")), min(unknown, attempt("unknown"))
	}
	// Without the comparison it would be a thousandth, and a step of the cost would be twice or half.
	if ratio := float64(unknown) / float64(known); ratio < 0.6 || ratio > 1.6 {
		t.Errorf("unknown user %s, wrong password %s", unknown, known)
	}
}
