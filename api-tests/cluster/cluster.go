// Package cluster runs a Kubernetes for tests: stock etcd and kube-apiserver on loopback, kubectl for what a user would
// type, and the stock External Secrets Operator.
//
// There is no controller-manager, scheduler or kubelet: nothing collects garbage, namespaces have no ServiceAccount of
// their own, and pods never run. All processes end with the test process.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"coffer/api-tests/servers"
)

// Deadlines; generous, because test machines are slow and shared.
const (
	startDeadline = 3 * time.Minute
	callTimeout   = 30 * time.Second
	pollEvery     = 20 * time.Millisecond
)

// ErrNotServing is returned when a part of the cluster ended, or was not ready within the deadline.
var ErrNotServing = errors.New("cluster does not serve")

// Cluster is one control plane and the folder it keeps its data in. Its methods are safe for concurrent use, but for
// Close, StopAPI and StartAPI.
type Cluster struct {
	Services *Services

	dir     string
	client  *http.Client
	kubectl string
	ports   struct{ etcd, api *servers.Ports }
	parts   struct{ etcd, api *servers.Process }
}

// Start builds what is needed, starts etcd and kube-apiserver and waits until the API server is ready. The caller must
// Close the cluster.
func Start(ctx context.Context) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "coffer-test-cluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	if c.Services, err = newServices(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	var err error
	if c.kubectl, err = servers.Binary(ctx, servers.Kubectl); err != nil {
		return err
	}
	if c.ports.etcd, err = servers.ReservePorts(); err != nil {
		return err
	}
	if c.ports.api, err = servers.ReservePorts(); err != nil {
		return err
	}
	if err := writeKeys(c.dir); err != nil {
		return err
	}
	tls, err := adminTLS(c.dir)
	if err != nil {
		return err
	}
	c.client = &http.Client{
		Transport: &http.Transport{TLSClientConfig: tls, ForceAttemptHTTP2: true}, Timeout: callTimeout,
	}
	if err := c.writeKubeconfig(); err != nil {
		return err
	}
	if err := c.startEtcd(ctx); err != nil {
		return err
	}
	return c.StartAPI(ctx)
}

func (c *Cluster) startEtcd(ctx context.Context) error {
	client, peer := "http://"+c.ports.etcd.First(), "http://"+c.ports.etcd.Second()
	var err error
	c.parts.etcd, err = c.launch(ctx, servers.Etcd,
		"--name=test", "--data-dir="+filepath.Join(c.dir, "etcd"), "--log-level=warn",
		"--unsafe-no-fsync", // A test's cluster need not survive a power cut.
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=test="+peer)
	return err
}

// StartAPI starts the API server, for the first time or after StopAPI, and waits until it is ready.
func (c *Cluster) StartAPI(ctx context.Context) error {
	file := func(name string) string { return filepath.Join(c.dir, name) }
	_, port, err := net.SplitHostPort(c.ports.api.First())
	if err != nil {
		return err
	}
	c.parts.api, err = c.launch(ctx, servers.KubeAPIServer,
		"--etcd-servers=http://"+c.ports.etcd.First(),
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+port,
		"--endpoint-reconciler-type=none", // It refuses to advertise a loopback address.
		"--service-cluster-ip-range=10.96.0.0/24",
		"--authorization-mode=RBAC",
		"--client-ca-file="+file(caFile), "--tls-cert-file="+file(serverCertFile),
		"--tls-private-key-file="+file(serverKeyFile),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+file(signingKeyFile), "--service-account-signing-key-file="+file(signingKeyFile),
		"--cert-dir="+file("apiserver"), "--profiling=false")
	if err != nil {
		return err
	}
	return c.await(ctx, c.parts.api, "kube-apiserver", func(ctx context.Context) error {
		_, err := c.Call(ctx, http.MethodGet, "/readyz", nil)
		return err
	})
}

// StopAPI ends the API server; its data stays, and StartAPI brings it back at the same address.
func (c *Cluster) StopAPI() {
	c.parts.api.Kill()
	c.client.CloseIdleConnections()
}

// SuspendAPI makes the API server hang: it takes connections and answers none, until ResumeAPI.
func (c *Cluster) SuspendAPI() error { return c.parts.api.Suspend() }

// ResumeAPI lets a suspended API server go on.
func (c *Cluster) ResumeAPI() error { return c.parts.api.Resume() }

// launch starts a stock program with its output in a log of its own.
func (c *Cluster) launch(ctx context.Context, kind servers.Kind, args ...string) (*servers.Process, error) {
	binary, err := servers.Binary(ctx, kind)
	if err != nil {
		return nil, err
	}
	return servers.StartProcess(binary, args, c.Environment(), c.logFile(kind))
}

// Environment is what the programs of this cluster see: its administrator, a home of its own, the way to its services,
// and none of the VAULT_ variables.
func (c *Cluster) Environment() []string {
	return append(servers.CleanEnv(), "KUBECONFIG="+c.Kubeconfig(), "HOME="+c.dir,
		"HTTP_PROXY="+c.Services.url(), "http_proxy=", "NO_PROXY=127.0.0.1", "no_proxy=")
}

func (c *Cluster) logFile(kind servers.Kind) string { return filepath.Join(c.dir, string(kind)+".log") }

// await polls ready until it returns nil. The error that it gives up with holds ready's and the end of the log.
func (c *Cluster) await(ctx context.Context, part *servers.Process, name string,
	ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		last := ready(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-part.Done():
			return fmt.Errorf("%w: %s ended: %w\n%s", ErrNotServing, name, part.Err(), c.LogTail(servers.Kind(name), 4096))
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: %w\n%s", ErrNotServing, name, last, c.LogTail(servers.Kind(name), 4096))
		case <-tick.C:
		}
	}
}

// LogTail is the end of the log of one part, at most limit bytes.
func (c *Cluster) LogTail(kind servers.Kind, limit int64) string {
	return servers.Tail(c.logFile(kind), limit)
}

// Host is the URL of the API server.
func (c *Cluster) Host() string { return "https://" + c.ports.api.First() }

// CAFile holds the certificate of the cluster's CA.
func (c *Cluster) CAFile() string { return filepath.Join(c.dir, caFile) }

// ServerCert is a file with a certificate for the loopback address that the cluster's CA has signed.
func (c *Cluster) ServerCert() string { return filepath.Join(c.dir, serverCertFile) }

// ServerKey is the key of ServerCert.
func (c *Cluster) ServerKey() string { return filepath.Join(c.dir, serverKeyFile) }

// AdminCert and AdminKey are the files of a client certificate of the cluster's CA, in the name of "admin".
func (c *Cluster) AdminCert() string { return filepath.Join(c.dir, adminCertFile) }

// AdminKey is described at AdminCert.
func (c *Cluster) AdminKey() string { return filepath.Join(c.dir, adminKeyFile) }

// SigningKey is the file of the key that signs the tokens of ServiceAccounts.
func (c *Cluster) SigningKey() string { return filepath.Join(c.dir, signingKeyFile) }

// Kubeconfig is the administrator's.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "admin.kubeconfig") }

// Close ends all processes and removes the folder.
func (c *Cluster) Close() error {
	for _, part := range []*servers.Process{c.parts.api, c.parts.etcd} {
		if part != nil {
			part.Kill()
		}
	}
	err := c.Services.close()
	for _, ports := range []*servers.Ports{c.ports.etcd, c.ports.api} {
		if ports != nil {
			err = errors.Join(err, ports.Release())
		}
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}
