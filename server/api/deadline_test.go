package api

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A request's context ends when context.WithDeadline's would, whether somebody waits for it or only asks.
func TestDeadline(t *testing.T) {
	for name, wait := range map[string]bool{"asked": false, "waited for": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, cancel := context.WithCancel(t.Context())
				check := func(d *deadline, end func(), want error) {
					t.Helper()
					if err := d.Err(); err != nil {
						t.Fatalf("before its end: %v", err)
					}
					var done <-chan struct{}
					if wait {
						done = d.Done()
					}
					end()
					synctest.Wait()
					if err := d.Err(); !errors.Is(err, want) {
						t.Errorf("Err = %v, want %v", err, want)
					}
					if wait {
						<-done
					}
					// Who comes too late still learns that it is over.
					<-d.Done()
				}
				inAMinute := time.Now().Add(time.Minute)
				if at, ok := withDeadline(parent, inAMinute).Deadline(); !ok || !at.Equal(inAMinute) {
					t.Errorf("Deadline = %v, %v", at, ok)
				}
				check(withDeadline(parent, inAMinute), func() { time.Sleep(time.Minute) }, context.DeadlineExceeded)
				d := withDeadline(parent, time.Now().Add(time.Minute))
				check(d, d.close, context.Canceled)
				child, stop := context.WithCancel(withDeadline(parent, time.Now().Add(time.Minute)))
				defer stop()
				check(withDeadline(parent, time.Now().Add(time.Minute)), cancel, context.Canceled)
				<-child.Done()
			})
		})
	}
}
