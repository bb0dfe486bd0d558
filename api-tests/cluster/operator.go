package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"coffer/api-tests/servers"
)

// Operator is a running External Secrets Operator.
type Operator struct {
	cluster *Cluster
	ports   *servers.Ports
	process *servers.Process
}

// StartOperator applies the definitions that are published beside the operator, starts it as the administrator and
// waits until it is alive. It looks at stores every two seconds; flags are more of its flags. The caller must Close it
// before the cluster.
func StartOperator(ctx context.Context, c *Cluster, flags ...string) (*Operator, error) {
	source, err := servers.Source(ctx, servers.ExternalSecrets)
	if err != nil {
		return nil, err
	}
	if _, err := c.Kubectl(ctx, "", "apply", "--server-side", "-k", filepath.Join(source, "config", "crds", "bases")); err != nil {
		return nil, err
	}
	if _, err := c.Kubectl(ctx, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"); err != nil {
		return nil, err
	}
	ports, err := servers.ReservePorts()
	if err != nil {
		return nil, err
	}
	flags = append([]string{
		"--metrics-addr=" + ports.First(), "--live-addr=" + ports.Second(),
		"--concurrent=8", "--store-requeue-interval=2s", "--loglevel=debug",
	}, flags...)
	process, err := c.launch(ctx, servers.ExternalSecrets, flags...)
	if err != nil {
		return nil, errors.Join(err, ports.Release())
	}
	o := &Operator{cluster: c, ports: ports, process: process}
	if err := c.await(ctx, process, string(servers.ExternalSecrets), o.alive); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

func (o *Operator) alive(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.ports.Second()+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%w: /healthz says %d", ErrNotServing, resp.StatusCode)
	}
	return errors.Join(err, resp.Body.Close())
}

// Close ends the operator.
func (o *Operator) Close() error {
	o.process.Kill()
	return o.ports.Release()
}
