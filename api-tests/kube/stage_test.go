package kube

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"coffer/api-tests/cluster"
	"coffer/api-tests/servers"
)

var against = flag.String("against", "coffer", "the `server` that the operator syncs from: coffer or vault")

// Most of a test's time goes by while the operator waits for its next turn, so many tests share the two cores.
const parallel = "8"

// shared is the cluster and the operator that all tests of this package use.
var shared = sync.OnceValues(startWorld)

// started is set when shared was asked for: what it started must be closed then.
var started bool

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err)
	}
	code := m.Run()
	if started {
		w, err := shared()
		if err == nil {
			err = errors.Join(w.operator.Close(), w.cluster.Close())
		}
		if err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, "closing the cluster:", err)
			code = 1
		}
	}
	os.Exit(code)
}

type world struct {
	cluster  *cluster.Cluster
	operator *cluster.Operator
	vault    string // Path of HashiCorp's command line.
	reviewer string // Token that may ask for TokenReviews.
}

// reviewer is the account that the server's own pod would run as.
const reviewer = `
apiVersion: v1
kind: Namespace
metadata: {name: vault}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: vault, namespace: vault}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: vault-auth-delegator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, name: vault, namespace: vault}]
`

func startWorld() (world, error) {
	started = true
	ctx := context.Background() // Of all tests together.
	w := world{}
	var err error
	if w.vault, err = servers.Binary(ctx, servers.Vault); err != nil {
		return w, err
	}
	if w.cluster, err = cluster.Start(ctx); err != nil {
		return w, err
	}
	if w.reviewer, err = makeReviewer(ctx, w.cluster); err == nil {
		w.operator, err = cluster.StartOperator(ctx, w.cluster)
	}
	if err != nil {
		return w, errors.Join(err, w.cluster.Close())
	}
	return w, nil
}

func makeReviewer(ctx context.Context, c *cluster.Cluster) (string, error) {
	if err := c.Apply(ctx, "", reviewer); err != nil {
		return "", err
	}
	return c.Token(ctx, "vault", "vault")
}

// stage is what one test plays on: a namespace of the shared cluster and a server of its own.
type stage struct {
	*testing.T
	world
	server *servers.Server
	ns     string
}

// kind is the server under test.
func kind(t testing.TB) servers.Kind {
	k := servers.Kind(*against)
	if k != servers.Coffer && k != servers.Vault {
		t.Fatalf("-against=%s: want coffer or vault", k)
	}
	return k
}

// theWorld is the shared cluster, for tests that run in parallel.
func theWorld(t *testing.T) world {
	t.Helper()
	t.Parallel()
	w, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// bareStage has a server that is neither initialised nor unsealed, and an empty namespace.
func bareStage(t *testing.T) *stage {
	t.Helper()
	return stageOn(t, theWorld(t), servers.Options{})
}

// stageOn is a bare stage with a server of the given options.
func stageOn(t *testing.T, w world, opts servers.Options) *stage {
	t.Helper()
	// No name twice, although the test may be run again with the same cluster.
	name := strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()) + "-" + rand.Text()[:6]
	s := &stage{T: t, world: w, ns: strings.ToLower(name)}
	if kind(t) == servers.Vault {
		config, err := servers.PluginConfig(t.Context(), servers.KubernetesAuth)
		if err != nil {
			t.Fatal(err)
		}
		opts.Config = config
	}
	s.server = servers.ForTest(t, kind(t), opts)
	s.apply(`
apiVersion: v1
kind: Namespace
metadata: {name: $NS}
`)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the operator's log for %s:\n%s", s.ns, s.operatorLog())
		}
	})
	return s
}

// newStage has an unsealed server with KV version 2 at secret/, Kubernetes auth set up for the cluster, and the role
// "app" for the ServiceAccount "app" of the test's namespace, where the SecretStore "store" uses it.
func newStage(t *testing.T) *stage {
	t.Helper()
	s := bareStage(t)
	s.furnish()
	return s
}

// furnish makes a bare stage what newStage says.
func (s *stage) furnish() {
	s.Helper()
	s.ready()
	s.do("sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	s.do("sys/policies/acl/app", map[string]any{"policy": `path "secret/*" {
		capabilities = ["create", "read", "update", "delete", "list"]
	}`})
	s.do("auth/kubernetes/role/app", map[string]any{
		"bound_service_account_names": "app", "bound_service_account_namespaces": s.ns, "token_policies": "app",
	})
	s.apply(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: app}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: store}
spec:
  provider:
    vault:
      server: $SERVER
      path: secret
      version: v2
      auth:
        kubernetes: {mountPath: kubernetes, role: app, serviceAccountRef: {name: app}}
`)
}

// step runs a part of the test under its own name. When it fails the test ends: what comes next stands on it.
func (s *stage) step(name string, run func(*stage)) {
	s.Helper()
	if !s.Run(name, func(t *testing.T) {
		inner := *s
		inner.T = t
		run(&inner)
	}) {
		s.FailNow()
	}
}

// ready initialises and unseals the server and sets up auth/kubernetes.
func (s *stage) ready() {
	s.Helper()
	if err := s.server.Ready(s.Context()); err != nil {
		s.Fatal(err)
	}
	s.registerPlugin()
	s.do("sys/auth/kubernetes", map[string]any{"type": "kubernetes"})
	s.configure("kubernetes", s.cluster, s.reviewer)
}

// registerPlugin gives the stock Vault its Kubernetes auth method; coffer has its own.
func (s *stage) registerPlugin() {
	s.Helper()
	if s.server.Kind != servers.Vault {
		return
	}
	if err := s.server.RegisterPlugin(s.Context(), servers.KubernetesAuth, "kubernetes"); err != nil {
		s.Fatal(err)
	}
}

// configure points the mount auth/name at a cluster.
func (s *stage) configure(name string, c *cluster.Cluster, reviewer string) {
	s.Helper()
	s.do("auth/"+name+"/config", map[string]any{
		"kubernetes_host": c.Host(), "kubernetes_ca_cert": s.caOf(c), "token_reviewer_jwt": reviewer,
	})
}

// caOf is the certificate of a cluster's authority.
func (s *stage) caOf(c *cluster.Cluster) string {
	s.Helper()
	ca, err := os.ReadFile(c.CAFile())
	if err != nil {
		s.Fatal(err)
	}
	return string(ca)
}

// do writes to path of the server as root.
func (s *stage) do(path string, body any) servers.Answer {
	s.Helper()
	a, err := s.server.Must(s.Context(), http.MethodPut, path, body)
	if err != nil {
		s.Fatal(err)
	}
	return a
}

// put writes a secret of KV version 2.
func (s *stage) put(name string, data map[string]any) {
	s.Helper()
	s.do("secret/data/"+name, map[string]any{"data": data})
}

// get reads the latest version of a secret of KV version 2; nil when there is none.
func (s *stage) get(name string) map[string]any {
	s.Helper()
	a, err := s.server.Call(s.Context(), http.MethodGet, "secret/data/"+name, s.server.RootToken, nil)
	if err != nil {
		s.Fatal(err)
	}
	data, _ := a.Data()["data"].(map[string]any)
	return data
}

// remove deletes path of the server as root.
func (s *stage) remove(path string) {
	s.Helper()
	if _, err := s.server.Must(s.Context(), http.MethodDelete, path, nil); err != nil {
		s.Fatal(err)
	}
}

// apply applies YAML documents in the test's namespace. $NS is its name and $SERVER the server's address.
func (s *stage) apply(documents string) {
	s.Helper()
	text := strings.NewReplacer("$NS", s.ns, "$SERVER", s.server.Addr()).Replace(documents)
	namespace := s.ns
	if strings.Contains(documents, "kind: Namespace\n") {
		namespace = "" // It is not there yet.
	}
	if err := s.cluster.Apply(s.Context(), namespace, text); err != nil {
		s.Fatal(err)
	}
}

// kubectl runs kubectl in the test's namespace.
func (s *stage) kubectl(args ...string) string {
	s.Helper()
	out, err := s.cluster.Kubectl(s.Context(), "", append([]string{"-n", s.ns}, args...)...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// cli runs HashiCorp's command line as root and returns what it printed.
func (s *stage) cli(stdin string, args ...string) string {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), s.vault, args...)
	cmd.Env = append(servers.CleanEnv(), "VAULT_ADDR="+s.server.Addr(), "VAULT_TOKEN="+s.server.RootToken,
		"VAULT_CLI_NO_COLOR=1", "HOME="+s.TempDir())
	cmd.Dir, cmd.Stdin = filepath.Dir(s.cluster.CAFile()), strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.Fatalf("vault %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// token asks the cluster for a token of a ServiceAccount of the test's namespace.
func (s *stage) token(account string, audiences ...string) string {
	s.Helper()
	token, err := s.cluster.Token(s.Context(), s.ns, account, audiences...)
	if err != nil {
		s.Fatal(err)
	}
	return token
}

// operatorLog is what the operator lately said about the test's namespace.
func (s *stage) operatorLog() string {
	var lines []string
	for line := range strings.Lines(s.cluster.LogTail(servers.ExternalSecrets, 1<<20)) {
		if strings.Contains(line, s.ns) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-20):], "")
}
