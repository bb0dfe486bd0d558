// Package crash kills a writing server with SIGKILL at random moments, again and again, and checks after each restart
// that whatever it acknowledged is there and whole, and that nothing is half there.
//
// With -against=vault it finds what coffer's single commit for each request avoids: a token of Vault's that is revoked
// while the server dies is gone while its accessor is still there, until the server has repaired it.
//
// What a kill cannot show (what the disk does when the power goes) is the business of the storage's fault tests.
package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

var (
	against = flag.String("against", "coffer", "the `server` to kill: coffer or vault")
	rounds  = flag.Int("rounds", 50, "how many times the server is killed while it writes")
	seed    = flag.Uint64("seed", 0, "seed of the random moments and operations; 0: a new one")
)

// Writers of each kind, and the longest life of a round's process under load.
const (
	secretWriters = 4
	tokenWriters  = 2
	longestLife   = 300 * time.Millisecond
	// In every unsealEvery-th round the server is killed once more, while it unseals.
	unsealEvery = 5
	// In every sweepEvery-th round all tokens are looked at instead of those that changed.
	sweepEvery = 10
)

// writer makes changes until the server does not answer any more, and can tell whether the server kept its word.
type writer interface {
	// work makes one change. It returns errGone when there was no answer; any other error is a failure of the test.
	work(ctx context.Context, s *servers.Server, random *rand.Rand) error
	// check compares what the server has with what it acknowledged, and settles what was under way when it died.
	check(ctx context.Context, s *servers.Server) error
}

// errGone is returned when a request got no answer, so that nobody knows whether it was carried out.
var errGone = errors.New("no answer")

// errBroken is wrapped by what a check finds.
var errBroken = errors.New("promise broken")

func TestKill(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed=%d", *seed)
	random := rand.New(rand.NewPCG(*seed, 0))
	ctx := t.Context()
	s := servers.ReadyForTest(t, servers.Kind(*against), servers.Options{})
	if _, err := s.Must(ctx, http.MethodPost, "sys/mounts/secret",
		map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}); err != nil {
		t.Fatal(err)
	}
	var writers []writer
	for i := range secretWriters {
		writers = append(writers, newSecrets(i))
	}
	tokens := make([]*tokens, tokenWriters)
	for i := range tokens {
		tokens[i] = newTokens()
		writers = append(writers, tokens[i])
	}
	done := 0
	for round := range *rounds {
		n, err := writeUntilKilled(ctx, s, writers, random)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		done += n
		if round%unsealEvery == 0 {
			if err := killWhileUnsealing(ctx, s, random); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if err := revive(ctx, s); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for _, w := range writers {
			if err := w.check(ctx, s); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if round%sweepEvery == 0 || round == *rounds-1 {
			if err := sweep(ctx, s, tokens); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
	}
	t.Logf("%d acknowledged changes over %d kills", done, *rounds)
	if done < *rounds {
		t.Errorf("only %d changes were acknowledged: the test shows nothing", done)
	}
}

// writeUntilKilled lets all writers work, kills the server at a random moment, waits for them and returns how many
// changes were acknowledged.
func writeUntilKilled(ctx context.Context, s *servers.Server, writers []writer, random *rand.Rand) (int, error) {
	counts, errs := make([]int, len(writers)), make([]error, len(writers))
	var wg sync.WaitGroup
	for i, w := range writers {
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		wg.Go(func() {
			for errs[i] == nil {
				if errs[i] = w.work(ctx, s, own); errs[i] == nil {
					counts[i]++
				}
			}
		})
	}
	<-time.After(time.Duration(random.Int64N(int64(longestLife))))
	err := s.Kill()
	wg.Wait()
	total := 0
	for i, n := range counts {
		total += n
		if !errors.Is(errs[i], errGone) {
			err = errors.Join(err, errs[i])
		}
	}
	return total, err
}

// killWhileUnsealing starts the dead server and kills it a few milliseconds after it was given the key.
func killWhileUnsealing(ctx context.Context, s *servers.Server, random *rand.Rand) error {
	if err := s.Launch(ctx); err != nil {
		return err
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		// Whether it answers is a matter of luck, and both are fine.
		_, _ = s.Call(ctx, http.MethodPut, "sys/unseal", "", map[string]string{"key": s.Keys[0]})
	}()
	<-time.After(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
	err := s.Kill()
	<-answered
	return err
}

func revive(ctx context.Context, s *servers.Server) error {
	if err := s.Launch(ctx); err != nil {
		return err
	}
	return s.Unseal(ctx)
}

// call sends a request of a writer. Without an answer it returns errGone; a status other than want is a failure.
func call(ctx context.Context, s *servers.Server, method, path, token string, body any, want ...int) (
	servers.Answer, error,
) {
	a, err := s.Call(ctx, method, path, token, body)
	if err != nil {
		if ctx.Err() != nil {
			return a, ctx.Err()
		}
		return a, errGone
	}
	for _, status := range want {
		if a.Status == status {
			return a, nil
		}
	}
	return a, fmt.Errorf("%s %s: %w %d, want %v: %s", method, path, servers.ErrStatus, a.Status, want, a.Raw)
}
