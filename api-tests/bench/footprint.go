package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"coffer/api-tests/servers"
)

// errNotReviewed is returned when tokens were issued without the API server having been asked.
var errNotReviewed = errors.New("fewer TokenReviews than logins")

// footprint is what a server takes, in bytes. The memory of Vault's plugin is not Vault's.
type footprint struct{ data, memory int64 }

// takeFootprint gives the server a breath before it looks.
func takeFootprint(ctx context.Context, s *servers.Server) (p footprint, err error) {
	if err := wait(ctx, settle); err != nil {
		return p, err
	}
	if p.data, err = s.DataSize(); err != nil {
		return p, err
	}
	p.memory, err = s.RSS()
	return p, err
}

// addGrowth adds by how many per cent a server grew to the rows "row: data" and "row: memory".
func (r results) addGrowth(row, target string, before, after footprint) {
	fmt.Fprintf(os.Stderr, "bench: %s %-7s data %.2f to %.2f MB, memory %.1f to %.1f MB\n", row, target,
		float64(before.data)/megabyte, float64(after.data)/megabyte,
		float64(before.memory)/megabyte, float64(after.memory)/megabyte)
	r.add(row+": data", target, 100*(float64(after.data)/float64(before.data)-1))
	r.add(row+": memory", target, 100*(float64(after.memory)/float64(before.memory)-1))
}

// measureFlat looks at the data and the memory of a fresh server after 1,000 triples with a Kubernetes login and after
// many more: External Secrets Operator makes one at every reconcile, for ever. Vault gets a tenth of them.
func measureFlat(ctx context.Context, o options, f *field, found results) error {
	const first = 1000
	return withPods(ctx, f, shortLife, func(t *target, s *servers.Server, logins *podLogins) (count int, err error) {
		more := max(0, o.triples-first)
		if s.Kind == servers.Vault {
			more /= 10
		}
		var prints [2]footprint
		for i, count := range [...]int{first, more} {
			err := repeat(ctx, s.HostPort(), count, func(c *conn) error { return triple(c, logins.next()) })
			if err != nil {
				return 0, err
			}
			if prints[i], err = takeFootprint(ctx, s); err != nil {
				return 0, err
			}
		}
		found.addGrowth("flat", t.name, prints[0], prints[1])
		return first + more, nil
	})
}

const (
	// waves is in how many parts the row "expiry" logs in. Each is left to expire before the next begins, so that all have
	// as many tokens alive at a time: what is compared is not two speeds.
	waves = 10
	// expiryLife is how long each of its tokens lives: longer than it takes to make a wave.
	expiryLife = 8 * time.Second
	// expiryDeadline is how long after that the last token may be there.
	expiryDeadline = 2 * time.Minute
)

// measureExpiry looks at the data and the memory of a fresh server after the first wave of Kubernetes logins has expired
// and after the last: clients that go away without a word leave nothing behind. Vault gets a tenth of them.
func measureExpiry(ctx context.Context, o options, f *field, found results) error {
	return withPods(ctx, f, expiryLife.String(), func(t *target, s *servers.Server, logins *podLogins) (int, error) {
		size := o.expiries / waves
		if s.Kind == servers.Vault {
			size /= 10
		}
		var first, last footprint
		for wave := range waves {
			begin := time.Now()
			err := repeat(ctx, s.HostPort(), size, func(c *conn) error {
				_, err := c.expect(logins.next(), http.StatusOK)
				return err
			})
			if err != nil {
				return 0, err
			}
			took := time.Since(begin)
			if err := awaitExpiry(ctx, s, expiryLife); err != nil {
				return 0, err
			}
			over := time.Since(begin)
			if last, err = takeFootprint(ctx, s); err != nil {
				return 0, err
			}
			fmt.Fprintf(os.Stderr, "bench: expiry %-7s wave %d/%d: %d logins in %.1f s, over after %.1f s, then %.1f MB resident\n",
				t.name, wave+1, waves, size, took.Seconds(), over.Seconds(), float64(last.memory)/megabyte)
			if wave == 0 {
				first = last
			}
		}
		found.addGrowth("expiry", t.name, first, last)
		return waves * size, nil
	})
}

// withPods runs f on fresh servers with Kubernetes auth for pods whose logins live for ttl. f returns how many logins it
// has made; each must have cost a TokenReview.
func withPods(ctx context.Context, contestants *field, ttl string,
	f func(*target, *servers.Server, *podLogins) (logins int, err error),
) error {
	r, err := startReviewer()
	if err != nil {
		return err
	}
	err = withFresh(ctx, contestants, func(t *target, s *servers.Server) error {
		logins, err := enableKubernetes(ctx, s, r.cluster, podMount, ttl)
		if err != nil {
			return err
		}
		before := r.reviews.Load()
		count, err := f(t, s, logins)
		if reviews := r.reviews.Load() - before; err == nil && reviews < int64(count) {
			err = fmt.Errorf("%w: %d for %d", errNotReviewed, reviews, count)
		}
		return err
	})
	return errors.Join(err, r.close())
}

// podMount is where pods log in at a fresh server.
const podMount = "kubernetes"

// awaitExpiry waits until nothing is left of the logins at podMount, which live for life: no lease, and no token but the
// root token. The first look is when the last may be over, so that looking does not disturb.
func awaitExpiry(ctx context.Context, s *servers.Server, life time.Duration) error {
	if err := wait(ctx, life); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, expiryDeadline)
	defer cancel()
	for {
		leases, err := listed(ctx, s, "sys/leases/lookup/auth/"+podMount+"/login")
		if err != nil {
			return err
		}
		tokens, err := listed(ctx, s, "auth/token/accessors")
		if err != nil {
			return err
		}
		if leases == 0 && tokens == 1 {
			return nil
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%d leases and %d tokens are left: %w", leases, tokens, err)
		}
	}
}

// listed is how many names a list has; a list that is not there has none.
func listed(ctx context.Context, s *servers.Server, path string) (int, error) {
	a, err := s.Call(ctx, "LIST", path, s.RootToken, nil)
	if err != nil {
		return 0, err
	}
	if a.Status == http.StatusNotFound {
		return 0, nil
	}
	var list struct {
		Data struct{ Keys []string }
	}
	if err := json.Unmarshal(a.Raw, &list); err != nil || a.Status != http.StatusOK {
		return 0, fmt.Errorf("%w: LIST %s says %d: %.300s", errAnswer, path, a.Status, a.Raw)
	}
	return len(list.Data.Keys), nil
}
