package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"

	"coffer/api-tests/servers"
)

// token is one that the server acknowledged; child is one made with it, which must die with it.
type token struct {
	id, accessor string
	child        string
}

// tokens makes and revokes tokens.
type tokens struct {
	live    []token
	revoked []token
	unsure  []token // Their revocation got no answer.
}

func newTokens() *tokens { return &tokens{} }

func (w *tokens) work(ctx context.Context, s *servers.Server, random *rand.Rand) error {
	if len(w.live) > 0 && random.IntN(3) > 0 {
		return w.revoke(ctx, s, random.IntN(len(w.live)))
	}
	made, err := create(ctx, s, s.RootToken)
	if err != nil {
		return err
	}
	// From here on it is acknowledged, also if its child is not.
	w.live = append(w.live, made)
	if random.IntN(4) > 0 {
		return nil
	}
	child, err := create(ctx, s, made.id)
	if err != nil {
		return err
	}
	w.live[len(w.live)-1].child = child.id
	return nil
}

func create(ctx context.Context, s *servers.Server, parent string) (token, error) {
	body := map[string]any{"ttl": "1h", "policies": []string{"default"}}
	if parent == s.RootToken {
		body["policies"] = []string{"root"} // A parent must be allowed to make children.
	}
	a, err := call(ctx, s, http.MethodPost, "auth/token/create", parent, body, http.StatusOK)
	if err != nil {
		return token{}, err
	}
	id, _ := a.Auth()["client_token"].(string)
	accessor, _ := a.Auth()["accessor"].(string)
	if id == "" || accessor == "" {
		return token{}, fmt.Errorf("%w: a token without id or accessor: %s", errBroken, a.Raw)
	}
	return token{id: id, accessor: accessor}, nil
}

func (w *tokens) revoke(ctx context.Context, s *servers.Server, i int) error {
	chosen := w.live[i]
	w.live = append(w.live[:i], w.live[i+1:]...)
	_, err := call(ctx, s, http.MethodPost, "auth/token/revoke-self", chosen.id, nil, http.StatusNoContent)
	if err != nil {
		w.unsure = append(w.unsure, chosen)
		return err
	}
	w.revoked = append(w.revoked, chosen)
	return nil
}

func (w *tokens) check(ctx context.Context, s *servers.Server) error {
	for _, t := range w.live {
		works, err := probe(ctx, s, t)
		if err != nil {
			return err
		}
		if !works {
			return fmt.Errorf("%w: an acknowledged token does not work", errBroken)
		}
		if t.child == "" {
			continue
		}
		if _, err := call(ctx, s, http.MethodGet, "auth/token/lookup-self", t.child, nil, http.StatusOK); err != nil {
			return fmt.Errorf("%w: an acknowledged child: %w", errBroken, err)
		}
	}
	for _, t := range w.revoked {
		if err := dead(ctx, s, t); err != nil {
			return err
		}
	}
	// They were seen dead and cannot come back, other than through a crash: sweep looks at that.
	w.revoked = nil
	for _, t := range w.unsure {
		works, err := probe(ctx, s, t)
		if err != nil {
			return err
		}
		if works {
			w.live = append(w.live, t)
		} else if err := dead(ctx, s, t); err != nil {
			return err
		}
	}
	w.unsure = nil
	return w.thin(ctx, s)
}

// thin keeps the number of live tokens, and with it the time of a check, small.
func (w *tokens) thin(ctx context.Context, s *servers.Server) error {
	const keep = 10
	for len(w.live) > keep {
		if err := w.revoke(ctx, s, 0); err != nil {
			return err
		}
	}
	return nil
}

// probe reports whether a token works. It is an error when the token and its accessor tell different stories.
func probe(ctx context.Context, s *servers.Server, t token) (bool, error) {
	self, err := call(ctx, s, http.MethodGet, "auth/token/lookup-self", t.id, nil, http.StatusOK, http.StatusForbidden)
	if err != nil {
		return false, err
	}
	byAccessor, err := call(ctx, s, http.MethodPost, "auth/token/lookup-accessor", s.RootToken,
		map[string]string{"accessor": t.accessor}, http.StatusOK, http.StatusBadRequest, http.StatusForbidden)
	if err != nil {
		return false, err
	}
	works, known := self.Status == http.StatusOK, byAccessor.Status == http.StatusOK
	if works != known {
		return works, fmt.Errorf("%w: a token works: %t; its accessor is known: %t", errBroken, works, known)
	}
	return works, nil
}

// dead checks that a revoked token and its child do not work.
func dead(ctx context.Context, s *servers.Server, t token) error {
	works, err := probe(ctx, s, t)
	if err != nil {
		return err
	}
	if works {
		return fmt.Errorf("%w: a revoked token works", errBroken)
	}
	if t.child == "" {
		return nil
	}
	_, err = call(ctx, s, http.MethodGet, "auth/token/lookup-self", t.child, nil, http.StatusForbidden)
	if err != nil {
		return fmt.Errorf("%w: the child of a revoked token: %w", errBroken, err)
	}
	return nil
}

// sweep looks at every accessor there is: each must lead to a token. It finds halves of tokens that nobody knows of,
// because their creation was never acknowledged.
func sweep(ctx context.Context, s *servers.Server, known []*tokens) error {
	a, err := call(ctx, s, "LIST", "auth/token/accessors/", s.RootToken, nil, http.StatusOK)
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	keys, _ := a.Data()["keys"].([]any)
	for _, key := range keys {
		accessor, _ := key.(string)
		listed[accessor] = true
		if _, err := call(ctx, s, http.MethodPost, "auth/token/lookup-accessor", s.RootToken,
			map[string]string{"accessor": accessor}, http.StatusOK); err != nil {
			return fmt.Errorf("%w: a listed accessor: %w", errBroken, err)
		}
	}
	for _, w := range known {
		for _, t := range w.live {
			if !listed[t.accessor] {
				return fmt.Errorf("%w: the accessor of a live token is not listed", errBroken)
			}
		}
	}
	return nil
}
