package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

// guide is a user who types what the README says.
type guide struct {
	*stage
	dir string   // Where the commands run; it looks like the root of this repository.
	env []string // What the user exported, and the way to the cluster.
}

// TestQuickStart types every command of the README's quick start for a cluster, as it stands there. What needs a
// container engine, a node or a chart is done by instead.
func TestQuickStart(t *testing.T) {
	if kind(t) != servers.Coffer {
		t.Log("the quick start is coffer's own")
		return
	}
	commands := quickStart(t)
	s := bareStage(t)
	g := &guide{stage: s, dir: t.TempDir()}
	bin := filepath.Join(g.dir, "bin")
	g.link(s.vault, filepath.Join(bin, "vault"))
	g.link(s.kubectlPath(), filepath.Join(bin, "kubectl"))
	g.link(filepath.Dir(manifests()), filepath.Join(g.dir, "deploy"))
	g.env = append(s.cluster.Environment(), "VAULT_CLI_NO_COLOR=1", "HOME="+g.dir,
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Cleanup(g.tidy)
	last := ""
	for _, command := range commands {
		t.Log("$ ", command)
		last = g.run(command)
	}
	if last != "supersecret" {
		t.Errorf("the last command printed %q", last)
	}
	g.afterPowerCut()
}

// quickStart is the commands of the README's section for a cluster, without their comments.
func quickStart(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), "\n## On a Kubernetes cluster\n")
	if !found {
		t.Fatal("the README has no section for a cluster")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	comment := regexp.MustCompile(`\s\s+# .*$`)
	var commands []string
	for _, m := range regexp.MustCompile(`(?m)^\s*\$ (.*)$`).FindAllStringSubmatch(section, -1) {
		commands = append(commands, comment.ReplaceAllString(m[1], ""))
	}
	return commands
}

// run does what one command does and returns what it printed. A command that the test must change is changed here, and
// nowhere else.
func (g *guide) run(command string) string {
	g.Helper()
	switch {
	case strings.HasPrefix(command, "docker "), strings.HasPrefix(command, "helm repo "),
		strings.HasPrefix(command, "kubectl -n coffer wait "):
		return "" // No container engine, no charts (the programs are built from source), and no node that runs a pod.
	case strings.HasPrefix(command, "helm install "):
		if !strings.HasSuffix(command, " --wait") {
			g.Error("without --wait the store is refused: the chart's webhook does not run yet")
		}
		g.installOperator()
		return ""
	case strings.Contains(command, " port-forward "):
		g.startPod()
		return ""
	case strings.HasPrefix(command, "export "):
		g.env = append(g.env, strings.Replace(strings.TrimPrefix(command, "export "),
			"http://127.0.0.1:8200", g.server.Addr(), 1))
		return ""
	case command == "vault login":
		return g.shell(command + " " + g.server.RootToken)
	case strings.HasPrefix(command, "vault write auth/kubernetes/config "):
		// Without a node the server has no ServiceAccount's files, and the cluster no name.
		command = strings.Replace(command, "https://kubernetes.default.svc", g.cluster.Host(), 1)
		return g.shell(command + " kubernetes_ca_cert=@" + g.cluster.CAFile() + " token_reviewer_jwt=" + g.podToken())
	}
	out := g.shell(command)
	if m := regexp.MustCompile(`Initial Root Token: (\S+)`).FindStringSubmatch(out); m != nil {
		g.server.RootToken = m[1]
	}
	return out
}

func (g *guide) shell(command string) string {
	g.Helper()
	cmd := exec.CommandContext(g.Context(), "bash", "-euo", "pipefail", "-c", command)
	cmd.Env, cmd.Dir = g.env, g.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		g.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// startPod starts the server with what the kubelet would mount into the pod, and makes the Service lead to it.
func (g *guide) startPod() {
	g.Helper()
	raw, err := g.cluster.Call(g.Context(), http.MethodGet, "/apis/apps/v1/namespaces/coffer/statefulsets/coffer", nil)
	if err != nil {
		g.Fatal(err)
	}
	var set struct {
		Spec struct {
			Template struct {
				Spec struct {
					Volumes []struct {
						ConfigMap struct{ Name string }
						Secret    struct{ SecretName string }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		g.Fatal(err)
	}
	var config, seal string
	for _, volume := range set.Spec.Template.Spec.Volumes {
		if name := volume.ConfigMap.Name; name != "" {
			config = g.configMap(name)["coffer.hcl"]
		}
		if name := volume.Secret.SecretName; name != "" {
			secret, err := g.cluster.Secret(g.Context(), "coffer", name)
			if err != nil {
				g.Fatal(err)
			}
			seal = g.mount(secret)
		}
	}
	config = strings.NewReplacer("0.0.0.0:8200", "$ADDRESS", "/vault/data", "$DATA", "/vault/seal", seal).
		Replace(config)
	g.server = servers.ForTest(g.T, servers.Coffer, servers.Options{Whole: config})
	g.cluster.Services.Set("coffer.coffer.svc:8200", g.server.HostPort())
}

// mount is a folder with the files of a volume, each a link through "..data" as the kubelet makes them, so that all
// change at once.
func (g *guide) mount(files map[string]string) string {
	g.Helper()
	dir := g.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "..2026_11_24"), 0o755); err != nil {
		g.Fatal(err)
	}
	if err := os.Symlink("..2026_11_24", filepath.Join(dir, "..data")); err != nil {
		g.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, "..data", name), []byte(content), 0o440); err != nil {
			g.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			g.Fatal(err)
		}
	}
	return dir
}

func (g *guide) configMap(name string) map[string]string {
	g.Helper()
	raw, err := g.cluster.Call(g.Context(), http.MethodGet, "/api/v1/namespaces/coffer/configmaps/"+name, nil)
	if err != nil {
		g.Fatal(err)
	}
	var configMap struct{ Data map[string]string }
	if err := json.Unmarshal(raw, &configMap); err != nil {
		g.Fatal(err)
	}
	return configMap.Data
}

// podToken is what the kubelet would mount as the pod's token.
func (g *guide) podToken() string {
	g.Helper()
	token, err := g.cluster.Token(g.Context(), "coffer", "coffer")
	if err != nil {
		g.Fatal(err)
	}
	return token
}

// installOperator makes what the chart makes beside the operator, which runs already.
func (g *guide) installOperator() {
	g.Helper()
	g.apply(`
apiVersion: v1
kind: Namespace
metadata: {name: external-secrets}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: external-secrets, namespace: external-secrets}
`)
}

// afterPowerCut kills the server and starts it again: it unseals itself, and the operator goes on.
func (g *guide) afterPowerCut() {
	g.Helper()
	if err := g.server.Kill(); err != nil {
		g.Fatal(err)
	}
	if err := g.server.Launch(g.Context()); err != nil {
		g.Fatal(err)
	}
	g.eventually("unsealed after the power cut", func(ctx context.Context) error {
		a, err := g.server.Call(ctx, http.MethodGet, "sys/health", "", nil)
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("sys/health says %d", a.Status)
		}
		return err
	})
	g.shell("vault kv put secret/myapp/config username=admin password=changed")
	g.shell("kubectl annotate externalsecret myapp-config force-sync=now")
	g.eventually("the new password", func(ctx context.Context) error {
		got, err := g.cluster.Secret(ctx, "default", "myapp-config")
		if err == nil && got["password"] != "changed" {
			err = fmt.Errorf("the Secret holds %q", got)
		}
		return err
	})
}

// tidy takes back what stands in namespaces that are not the test's own, for the next run with the same cluster.
func (g *guide) tidy() {
	for _, object := range []string{
		"externalsecret/myapp-config", "clustersecretstore/coffer", "secret/myapp-config", "secret/coffer-seal",
	} {
		namespace := "default"
		if object == "secret/coffer-seal" {
			namespace = "coffer"
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // The test's own has ended.
		out, err := g.cluster.Kubectl(ctx, "", "delete", "--ignore-not-found", "-n", namespace, object)
		cancel()
		if err != nil {
			g.Errorf("%v\n%s", err, out)
		}
	}
}

func (g *guide) link(target, name string) {
	g.Helper()
	target, err := filepath.Abs(target)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(name), 0o755)
	}
	if err == nil {
		err = os.Symlink(target, name)
	}
	if err != nil {
		g.Fatal(err)
	}
}

func (s *stage) kubectlPath() string {
	s.Helper()
	path, err := servers.Binary(s.Context(), servers.Kubectl)
	if err != nil {
		s.Fatal(err)
	}
	return path
}
