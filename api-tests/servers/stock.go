package servers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// The programs that the tests run beside the two servers. None is changed: each is built from its published module.
const (
	// KubernetesAuth is the official plugin that gives the stock Vault its Kubernetes auth method; a minimal build of
	// Vault has none.
	KubernetesAuth Kind = "vault-plugin-auth-kubernetes"
	// LDAPAuth is Vault's own LDAP auth method as a plugin, and its command "vault login -method=ldap"; a minimal build of
	// Vault has neither.
	LDAPAuth Kind = "vault-plugin-auth-ldap"
	// Etcd keeps the data of KubeAPIServer.
	Etcd Kind = "etcd"
	// KubeAPIServer is the API server of a real Kubernetes.
	KubeAPIServer Kind = "kube-apiserver"
	// Kubectl is the command line of the same Kubernetes.
	Kubectl Kind = "kubectl"
	// ExternalSecrets is the External Secrets Operator.
	ExternalSecrets Kind = "external-secrets"
	// OpenIDProvider is zitadel's example of an OpenID provider; OIDCProvider runs it.
	OpenIDProvider Kind = "openid-provider"
)

// stock says how a program is built.
type stock struct {
	kind    Kind
	source  string // Folder under api-tests/stock with the nested module.
	module  string // Module of the program; its version in the go.mod of source names the file in the cache.
	pkg     string // Package to build, as seen from source.
	tags    string
	ldflags string
}

// Kubernetes takes its version from the linker; without one kubectl and the operator meet a nameless server.
const kubernetesVersion = " -X k8s.io/component-base/version.gitVersion=v1.34.4"

// stockPrograms is the table of all programs but coffer.
func stockPrograms() []stock {
	return []stock{
		// The tag leaves out what does not compile from published modules. It keeps raft and inmem storage, kv, transit,
		// pki, ssh, approle, userpass, jwt and cert.
		{kind: Vault, source: "vault", module: "github.com/hashicorp/vault", pkg: ".", tags: "minimal"},
		{kind: KubernetesAuth, source: "kubeauth", module: "github.com/hashicorp/vault-plugin-auth-kubernetes",
			pkg: "github.com/hashicorp/vault-plugin-auth-kubernetes/cmd/vault-plugin-auth-kubernetes"},
		{kind: LDAPAuth, source: "ldap", module: "github.com/hashicorp/vault", pkg: ".", tags: "minimal"},
		{kind: Etcd, source: "etcd", module: "go.etcd.io/etcd/server/v3", pkg: "go.etcd.io/etcd/server/v3"},
		{kind: KubeAPIServer, source: "kubernetes", module: "k8s.io/kubernetes",
			pkg: "k8s.io/kubernetes/cmd/kube-apiserver", ldflags: kubernetesVersion},
		{kind: Kubectl, source: "kubernetes", module: "k8s.io/kubernetes", pkg: "k8s.io/kubernetes/cmd/kubectl",
			ldflags: kubernetesVersion + " -X k8s.io/client-go/pkg/version.gitVersion=v1.34.4"},
		{kind: ExternalSecrets, source: "eso", module: "github.com/external-secrets/external-secrets",
			pkg: "github.com/external-secrets/external-secrets"},
		{kind: OpenIDProvider, source: "oidc", module: "github.com/zitadel/oidc/v3", pkg: "."},
	}
}

func findStock(kind Kind) (stock, error) {
	for _, p := range stockPrograms() {
		if p.kind == kind {
			return p, nil
		}
	}
	return stock{}, fmt.Errorf("no program is called %q", kind)
}

// dir is the folder of the nested module.
func (p stock) dir() (string, error) {
	root, err := moduleRoot()
	return filepath.Join(root, "api-tests", "stock", p.source), err
}

// build returns the path of the program in the cache folder, building it when it is not there yet.
func (p stock) build() (string, error) {
	source, err := p.dir()
	if err != nil {
		return "", err
	}
	name, err := p.fileName(source)
	if err != nil {
		return "", err
	}
	target, unlock, err := lockCache(name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	// One build at a time: each alone takes all cores, and the largest up to 2 GB of memory.
	_, release, err := lockCache("build")
	if err != nil {
		return "", err
	}
	defer release()
	// A build that is cut short must not leave something that looks finished.
	partial := target + ".partial"
	if err := goBuild(source, partial, p.ldflags, "-tags", p.tags, p.pkg); err != nil {
		return "", err
	}
	return target, os.Rename(partial, target)
}

// fileName is the file name of the binary: its version and a hash of all that decides what is built.
func (p stock) fileName(source string) (string, error) {
	hash := sha256.New()
	version := ""
	// The module's path stands alone, or in a block of requirements; in a replacement an arrow comes before it.
	require := regexp.MustCompile(`(?m)^(?:require)?\s*` + regexp.QuoteMeta(p.module) + ` v(\S+)`)
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		content, err := os.ReadFile(filepath.Join(source, name))
		if errors.Is(err, fs.ErrNotExist) && name == "main.go" {
			continue // The module's own main package is built.
		}
		if err != nil {
			return "", err
		}
		if m := require.FindSubmatch(content); name == "go.mod" && m != nil {
			version = string(m[1])
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(content), content)
	}
	if version == "" {
		return "", fmt.Errorf("%s does not require %s", filepath.Join(source, "go.mod"), p.module)
	}
	fmt.Fprintf(hash, "%s %q %s %s", p.tags, p.ldflags, runtime.GOOS, runtime.GOARCH)
	return string(p.kind) + "-" + version + "-" + hex.EncodeToString(hash.Sum(nil)[:6]), nil
}

// Source is the folder in the module cache with the sources of a stock program, for what is published beside them.
func Source(ctx context.Context, kind Kind) (string, error) {
	p, err := findStock(kind)
	if err != nil {
		return "", err
	}
	dir, err := p.dir()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", p.module)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("finding the sources of %s: %w\n%s", kind, err, strings.TrimSpace(string(out)))
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil || module.Dir == "" {
		return "", fmt.Errorf("finding the sources of %s: no folder in %q: %w", kind, out, err)
	}
	return module.Dir, nil
}
