package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"coffer/api-tests/servers"
)

const (
	// loginPath is where a user logs in. At it the bare handler compares a password, and does nothing else.
	loginPath = "auth/userpass/login/bench"
	password  = "correct horse battery staple"
	// loggers is how many log in with a password at a time.
	loggers = 4
)

// addUser makes the user who logs in.
func addUser(ctx context.Context, s *servers.Server) error {
	_, err := s.Must(ctx, http.MethodPost, "sys/auth/userpass", map[string]any{"type": "userpass"})
	if err != nil {
		return err
	}
	_, err = s.Must(ctx, http.MethodPost, "auth/userpass/users/bench", map[string]any{"password": password})
	return err
}

func userpassSteps(*target) func(int) step {
	return expecting(request(http.MethodPost, loginPath, "", fmt.Sprintf(`{"password":%q}`, password)))
}

func expecting(req []byte) func(int) step {
	return func(int) step {
		return func(c *conn, _ int) error {
			_, err := c.expect(req, http.StatusOK)
			return err
		}
	}
}

// bareLogin compares the password at loginPath.
func bareLogin(next http.Handler) (http.Handler, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/"+loginPath && bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}

// measureFlood reads one secret after the other, alone and while users log in, and tells how many times longer the
// slowest of a hundred takes then.
func measureFlood(ctx context.Context, o options, f *field, found results) error {
	for _, t := range f.servers() {
		idle, err := slowest(ctx, o, t)
		if err != nil {
			return err
		}
		flooding, stop := context.WithCancel(ctx)
		var flood sync.WaitGroup
		flood.Go(func() {
			// It ends with an error, because its connections are closed under it.
			_, _ = drive(flooding, overTCP(t.address), loggers, time.Hour, userpassSteps(t))
		})
		busy, err := slowest(ctx, o, t)
		stop()
		flood.Wait()
		if err != nil {
			return err
		}
		found.add("flood", t.name, float64(busy)/float64(idle))
		fmt.Fprintf(os.Stderr, "bench: flood %s: a read's p99 is %s alone and %s while users log in\n", t.name, idle, busy)
	}
	return nil
}

// slowest is the 99th percentile of the time of a read on one connection.
func slowest(ctx context.Context, o options, t *target) (time.Duration, error) {
	var times []time.Duration
	read := readSteps(t)(0)
	_, err := drive(ctx, overTCP(t.address), 1, o.duration, func(int) step {
		return func(c *conn, i int) error {
			start := time.Now()
			err := read(c, i)
			times = append(times, time.Since(start))
			return err
		}
	})
	if err != nil {
		return 0, err
	}
	slices.Sort(times)
	return times[len(times)*99/100], nil
}
