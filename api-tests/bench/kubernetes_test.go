package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

func reviewerForTest(t *testing.T) *reviewer {
	t.Helper()
	r, err := startReviewer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// forged is a token like the reviewer's that somebody else has signed.
func forged(t *testing.T) string {
	t.Helper()
	tokens, err := signTokens(1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return tokens[0]
}

func TestReviewer(t *testing.T) {
	r := reviewerForTest(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(r.cluster.ca))
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}
	defer transport.CloseIdleConnections()
	for _, test := range []struct {
		name, path, bearer, token string
		status                    int
		vouches                   bool
	}{
		{"a pod's token", reviewPath, r.cluster.reviewer, r.cluster.tokens[0], 201, true},
		{"another of its tokens", reviewPath, r.cluster.reviewer, r.cluster.tokens[podTokens-1], 201, true},
		{"a forged token", reviewPath, r.cluster.reviewer, forged(t), 201, false},
		{"not the reviewer", reviewPath, r.cluster.tokens[0], r.cluster.tokens[0], 401, false},
		{"not a review", "/version", r.cluster.reviewer, r.cluster.tokens[0], 400, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := r.reviews.Load()
			question, err := json.Marshal(tokenReview{Spec: reviewSpec{Token: test.token, Audiences: []string{"a"}}})
			if err != nil {
				t.Fatal(err)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.cluster.host+test.path, bytes.NewReader(question))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+test.bearer)
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != test.status || resp.ProtoMajor != 2 {
				t.Fatalf("status %d over %s, want %d over HTTP/2", resp.StatusCode, resp.Proto, test.status)
			}
			var answer tokenReview
			if test.status == http.StatusCreated {
				if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
					t.Fatal(err)
				}
			}
			vouches := answer.Status.Authenticated && answer.Status.User.Username == "system:serviceaccount:bench:app"
			if vouches != test.vouches || (r.reviews.Load() == before+1) != test.vouches {
				t.Errorf("the answer is %+v, and %d reviews count", answer.Status, r.reviews.Load()-before)
			}
		})
	}
}

// TestKubernetesLogin shows that what is measured is a login that depends on the API server, on both servers.
func TestKubernetesLogin(t *testing.T) {
	r := reviewerForTest(t)
	for _, kind := range []servers.Kind{servers.Coffer, servers.Vault} {
		t.Run(string(kind), func(t *testing.T) {
			s := serverForTest(t, kind)
			pods := r.cluster
			pods.tokens = append([]string{forged(t)}, pods.tokens[:2]...)
			logins, err := enableKubernetes(t.Context(), s, pods, podMount, shortLife)
			if err != nil {
				t.Fatal(err)
			}
			c, err := overTCP(s.HostPort())(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			before := r.reviews.Load()
			for _, login := range logins.requests[1:] {
				if err := triple(c, login); err != nil {
					t.Error(err)
				}
			}
			if got := r.reviews.Load() - before; got != 2 {
				t.Errorf("2 logins cost %d reviews", got)
			}
			if _, err := c.expect(logins.requests[0], http.StatusForbidden); err != nil {
				t.Errorf("a forged token: %v", err)
			}
			if tokens, err := listed(t.Context(), s, "auth/token/accessors"); tokens != 1 || err != nil {
				t.Errorf("%d tokens are left, %v; want the root token alone", tokens, err)
			}
		})
	}
}

// serverForTest is readyServer that is closed when t ends.
func serverForTest(t *testing.T, kind servers.Kind) *servers.Server {
	t.Helper()
	s, err := readyServer(t.Context(), kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestPodLoginsTakeTurns(t *testing.T) {
	l := &podLogins{requests: [][]byte{[]byte("a"), []byte("b"), []byte("c")}}
	seen := ""
	for range 6 {
		seen += string(l.next())
	}
	if seen != "bcabca" {
		t.Errorf("the requests come as %q", seen)
	}
}

func TestReviewSteps(t *testing.T) {
	r := reviewerForTest(t)
	to, err := overTLS(r.cluster)
	if err != nil {
		t.Fatal(err)
	}
	c, err := to(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := reviewSteps(r.cluster)(0)(c, 0); err != nil {
		t.Error(err)
	}
	strangers := r.cluster
	strangers.tokens = []string{forged(t)}
	if err := reviewSteps(strangers)(0)(c, 0); !errors.Is(err, errAnswer) {
		t.Errorf("a review of a forged token: %v, want errAnswer", err)
	}
	strangers.ca = "none"
	if _, err := overTLS(strangers); err == nil {
		t.Error("no CA is no error")
	}
}

func TestAwaitExpiry(t *testing.T) {
	r := reviewerForTest(t)
	for _, kind := range []servers.Kind{servers.Coffer, servers.Vault} {
		t.Run(string(kind), func(t *testing.T) {
			s := serverForTest(t, kind)
			const life = time.Second
			logins, err := enableKubernetes(t.Context(), s, r.cluster, podMount, life.String())
			if err != nil {
				t.Fatal(err)
			}
			login := func(c *conn) error { _, err := c.expect(logins.next(), http.StatusOK); return err }
			if err := repeat(t.Context(), s.HostPort(), 3, login); err != nil {
				t.Fatal(err)
			}
			if err := awaitExpiry(t.Context(), s, life); err != nil {
				t.Error(err)
			}
			if _, err := s.Must(t.Context(), http.MethodPost, "auth/"+podMount+"/role/eso",
				map[string]any{"token_ttl": "1h"}); err != nil {
				t.Fatal(err)
			}
			if err := repeat(t.Context(), s.HostPort(), 3, login); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), life)
			defer cancel()
			err = awaitExpiry(ctx, s, 0)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "3 leases and 4 tokens are left") {
				t.Errorf("waiting for what does not expire: %v", err)
			}
		})
	}
}

func TestEachLoginCostsAReview(t *testing.T) {
	contestants := &field{targets: []*target{{name: "coffer", server: &servers.Server{Kind: servers.Coffer}}}}
	for claimed, want := range map[int]error{1: nil, 2: errNotReviewed} {
		err := withPods(t.Context(), contestants, shortLife, func(_ *target, s *servers.Server, l *podLogins) (int, error) {
			err := repeat(t.Context(), s.HostPort(), 1, func(c *conn) error { return triple(c, l.next()) })
			return claimed, err
		})
		if !errors.Is(err, want) {
			t.Errorf("one login that counts as %d: %v, want %v", claimed, err, want)
		}
	}
}

func TestGrowth(t *testing.T) {
	found := results{}
	found.addGrowth("expiry", "coffer", footprint{data: 1000, memory: 400}, footprint{data: 1100, memory: 300})
	data, _ := found.median("expiry: data", "coffer")
	memory, _ := found.median("expiry: memory", "coffer")
	if data < 9.99 || data > 10.01 || memory < -25.01 || memory > -24.99 {
		t.Errorf("growth of %v %% and %v %%, want 10 and -25", data, memory)
	}
}
