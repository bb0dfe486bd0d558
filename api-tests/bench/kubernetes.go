package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	"coffer/api-tests/cluster"
	"coffer/api-tests/servers"
)

// podCluster is whose pods log in.
type podCluster struct {
	host     string   // URL of the API server.
	ca       string   // Certificate that signs the API server's, PEM.
	reviewer string   // Token that may ask for TokenReviews.
	tokens   []string // Of the ServiceAccount that logs in; the API server vouches for them.
}

// podLogins are the requests that log in by Kubernetes auth, a token each; they take turns.
type podLogins struct {
	requests [][]byte
	turn     atomic.Uint64
}

// next is safe for concurrent use.
func (l *podLogins) next() []byte { return l.requests[l.turn.Add(1)%uint64(len(l.requests))] }

// enableKubernetes mounts Kubernetes auth at auth/mount with a role for the pods of c, whose tokens live for ttl. Vault
// has its method from HashiCorp's plugin, a process beside it: the minimal build has none inside.
func enableKubernetes(ctx context.Context, s *servers.Server, c podCluster, mount, ttl string) (*podLogins, error) {
	if s.Kind == servers.Vault {
		if err := s.RegisterPlugin(ctx, servers.KubernetesAuth, "kubernetes"); err != nil {
			return nil, err
		}
	}
	for _, write := range []struct {
		path string
		body map[string]any
	}{
		{"sys/auth/" + mount, map[string]any{"type": "kubernetes"}},
		{"auth/" + mount + "/config", map[string]any{
			"kubernetes_host": c.host, "kubernetes_ca_cert": c.ca, "token_reviewer_jwt": c.reviewer}},
		{"auth/" + mount + "/role/eso", map[string]any{
			"bound_service_account_names": account, "bound_service_account_namespaces": namespace,
			"token_policies": "default", "token_ttl": ttl}},
	} {
		if _, err := s.Must(ctx, http.MethodPost, write.path, write.body); err != nil {
			return nil, err
		}
	}
	logins := &podLogins{}
	for _, token := range c.tokens {
		body, err := json.Marshal(map[string]string{"role": "eso", "jwt": token})
		if err != nil {
			return nil, err
		}
		logins.requests = append(logins.requests, request(http.MethodPost, "auth/"+mount+"/login", "", string(body)))
	}
	return logins, nil
}

// measureKube is the row "triple" with a Kubernetes login, before a reviewer that costs next to nothing.
func measureKube(ctx context.Context, o options, f *field, found results) error {
	r, err := startReviewer()
	if err != nil {
		return err
	}
	return errors.Join(measurePods(ctx, o, f, found, "kube", r.cluster), r.close())
}

// measureAPIServer is the row "kube" before a real kube-apiserver, which takes most of the machine for itself.
func measureAPIServer(ctx context.Context, o options, f *field, found results) error {
	c, err := cluster.Start(ctx)
	if err != nil {
		return err
	}
	pods, err := realPods(ctx, c)
	if err == nil {
		err = measurePods(ctx, o, f, found, "apiserver", pods)
	}
	return errors.Join(err, c.Close())
}

// accounts are the ServiceAccount that logs in, and the one that may ask for TokenReviews.
const accounts = `
apiVersion: v1
kind: Namespace
metadata: {name: ` + namespace + `}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: ` + account + `, namespace: ` + namespace + `}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reviewer, namespace: ` + namespace + `}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reviewer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, name: reviewer, namespace: ` + namespace + `}]
`

// realPods are the pods of a real cluster; their tokens are good for ten minutes.
func realPods(ctx context.Context, c *cluster.Cluster) (pods podCluster, err error) {
	if err := c.Apply(ctx, "", accounts); err != nil {
		return pods, err
	}
	ca, err := os.ReadFile(c.CAFile())
	if err != nil {
		return pods, err
	}
	pods = podCluster{host: c.Host(), ca: string(ca)}
	if pods.reviewer, err = c.Token(ctx, namespace, "reviewer"); err != nil {
		return pods, err
	}
	for range podTokens {
		token, err := c.Token(ctx, namespace, account)
		if err != nil {
			return pods, err
		}
		pods.tokens = append(pods.tokens, token)
	}
	return pods, nil
}

// measurePods lets the servers take turns at the triple with a Kubernetes login. Where the bare handler takes part, its
// place is the API server's: it is asked for the TokenReview and nothing else, which is as fast as any server can be.
func measurePods(ctx context.Context, o options, f *field, found results, row string, c podCluster) error {
	steps := map[*target]func(int) step{}
	for _, t := range f.targets {
		if t.server == nil {
			steps[t] = reviewSteps(c)
			continue
		}
		logins, err := enableKubernetes(ctx, t.server, c, row, shortLife)
		if err != nil {
			return err
		}
		steps[t] = func(int) step { return func(conn *conn, _ int) error { return triple(conn, logins.next()) } }
	}
	api, err := overTLS(c)
	if err != nil {
		return err
	}
	for round := range o.rounds {
		for _, t := range f.targets {
			to := overTCP(t.address)
			if t.server == nil {
				to = api
			}
			perSecond, err := drive(ctx, to, 16, o.duration, steps[t])
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			found.add(row, t.name, perSecond)
			progress(o, round, row, t.name, perSecond)
		}
	}
	return nil
}

// reviewSteps asks the API server what a login asks it.
func reviewSteps(c podCluster) func(int) step {
	requests := make([][]byte, len(c.tokens))
	for i, token := range c.tokens {
		body := fmt.Sprintf(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":%q}}`, token)
		requests[i] = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", reviewPath, c.reviewer, len(body), body)
	}
	return func(worker int) step {
		return func(conn *conn, i int) error {
			body, err := conn.expect(requests[(worker*7+i)%len(requests)], http.StatusCreated)
			if err == nil && !bytes.Contains(body, []byte(`"authenticated":true`)) {
				err = fmt.Errorf("%w: the token is not authenticated", errAnswer)
			}
			return err
		}
	}
}

// overTLS reaches the API server of c.
func overTLS(c podCluster) (dialer, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(c.ca)) {
		return nil, errors.New("the API server's CA is no certificate")
	}
	d := &tls.Dialer{Config: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	return func(ctx context.Context) (*conn, error) {
		c, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(c.host, "https://"))
		if err != nil {
			return nil, err
		}
		return newConn(c), nil
	}, nil
}
