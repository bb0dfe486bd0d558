package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
)

// secrets is how many different secrets are read.
const secrets = 64

// errNoToken is returned when auth/token/create answered without a token.
var errNoToken = errors.New("no client_token in the answer")

func secretName(i int) string { return fmt.Sprintf("bench/app-%d", i) }

// secretJSON is a secret of ordinary size.
const secretJSON = `{"data":{"username":"admin","password":"supersecret","url":"postgres://db.example.net:5432/app"}}`

// scenario is a row about throughput.
type scenario struct {
	name  string
	conns int
	bare  bool // The bare handler takes part.
	steps func(t *target) func(worker int) step
}

// daily are what a server does all day. They come before its memory is looked at.
func daily() []scenario {
	return []scenario{
		{name: "read", conns: 16, bare: true, steps: readSteps},
		{name: "write16", conns: 16, steps: writeSteps},
		{name: "write1", conns: 1, steps: writeSteps},
		{name: "triple", conns: 16, steps: tripleSteps},
	}
}

// measureLogins comes after memory was looked at: the tokens stay alive, the more the faster the server is.
func measureLogins(ctx context.Context, o options, f *field, found results) error {
	return measureThroughput(ctx, o, f, found, []scenario{{name: "login", conns: 16, steps: loginSteps}})
}

func measureUserpass(ctx context.Context, o options, f *field, found results) error {
	users := scenario{name: "userpass", conns: loggers, bare: true, steps: userpassSteps}
	return measureThroughput(ctx, o, f, found, []scenario{users})
}

// readSteps reads KV version 2 secrets, one after the other.
func readSteps(t *target) func(int) step {
	requests := make([][]byte, secrets)
	for i := range requests {
		requests[i] = request(http.MethodGet, "secret/data/"+secretName(i), t.token, "")
	}
	return func(worker int) step {
		return func(c *conn, i int) error {
			_, err := c.expect(requests[(worker*7+i)%secrets], http.StatusOK)
			return err
		}
	}
}

// writeSteps writes KV version 2 secrets; each connection has some of its own.
func writeSteps(t *target) func(int) step {
	return func(worker int) step {
		requests := make([][]byte, secrets)
		for i := range requests {
			path := fmt.Sprintf("secret/data/w%d/app-%d", worker, i)
			requests[i] = request(http.MethodPost, path, t.token, secretJSON)
		}
		return func(c *conn, i int) error {
			_, err := c.expect(requests[i%secrets], http.StatusOK)
			return err
		}
	}
}

// loginSteps logs in by AppRole, again and again.
func loginSteps(t *target) func(int) step {
	return func(int) step {
		return func(c *conn, _ int) error { _, err := c.expect(t.login, http.StatusOK); return err }
	}
}

// tripleSteps lives the life of the token of External Secrets Operator, which it leads anew at every reconcile: it logs
// in, looks itself up and revokes itself.
func tripleSteps(t *target) func(int) step {
	return func(int) step {
		return func(c *conn, _ int) error { return triple(c, t.login) }
	}
}

func triple(c *conn, login []byte) error {
	body, err := c.expect(login, http.StatusOK)
	if err != nil {
		return err
	}
	token, err := clientToken(body)
	if err != nil {
		return err
	}
	lookup := request(http.MethodGet, "auth/token/lookup-self", token, "")
	if _, err := c.expect(lookup, http.StatusOK); err != nil {
		return err
	}
	_, err = c.expect(request(http.MethodPost, "auth/token/revoke-self", token, ""), http.StatusNoContent)
	return err
}

func createToken(token string) []byte {
	return request(http.MethodPost, "auth/token/create", token, `{"policies":["default"],"ttl":"24h"}`)
}

// clientToken finds the token without parsing the answer.
func clientToken(body []byte) (string, error) {
	_, rest, ok := bytes.Cut(body, []byte(`"client_token":"`))
	token, _, end := bytes.Cut(rest, []byte(`"`))
	if !ok || !end {
		return "", errNoToken
	}
	return string(token), nil
}

// measureThroughput lets the contestants take turns, round after round, and keeps every figure.
func measureThroughput(ctx context.Context, o options, f *field, found results, list []scenario) error {
	for round := range o.rounds {
		for _, sc := range list {
			if !slices.Contains(o.rows, sc.name) {
				continue
			}
			for _, t := range f.targets {
				if t.server == nil && !sc.bare {
					continue
				}
				perSecond, err := drive(ctx, overTCP(t.address), sc.conns, o.duration, sc.steps(t))
				if err != nil {
					return fmt.Errorf("%s, %s: %w", sc.name, t.name, err)
				}
				found.add(sc.name, t.name, perSecond)
				progress(o, round, sc.name, t.name, perSecond)
			}
		}
	}
	return nil
}

func progress(o options, round int, row, target string, perSecond float64) {
	fmt.Fprintf(os.Stderr, "bench: round %d/%d %-9s %-7s %8.0f/s\n", round+1, o.rounds, row, target, perSecond)
}
