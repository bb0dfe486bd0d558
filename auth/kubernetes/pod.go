package kubernetes

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"coffer/engines"
)

// podFolder is where Kubernetes puts a pod's own token and the cluster's CA.
const podFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

// maxPodFile bounds what is read of such a file, in bytes.
const maxPodFile = 1 << 20

// pod reads what Kubernetes tells the pod that the server runs in. The kubelet exchanges the files while the
// pod runs, so they are read whenever they are needed: two small files in memory, cheaper than to be wrong.
type pod struct{ folder string }

func (p pod) token() (engines.Token, error) {
	text, err := p.read("token")
	return engines.NewToken(strings.TrimSpace(text)), err
}

func (p pod) ca() (string, error) { return p.read("ca.crt") }

func (p pod) read(name string) (string, error) {
	f, err := os.Open(filepath.Join(p.folder, name))
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxPodFile))
	if err != nil {
		return "", fmt.Errorf("kubernetes: reading the pod's %s: %w", name, err)
	}
	return string(text), nil
}

// caOf is the PEM of the CA that a configuration means; "" for the system's.
func (m *method) caOf(c *config) (string, error) {
	if c.CACert != "" || c.DisableLocal {
		return c.CACert, nil
	}
	return m.pod.ca()
}

// reviewerOf is the token that a configuration has the API server asked with; zero where there is none.
func (m *method) reviewerOf(c *config) engines.Token {
	if !c.reviewer.IsZero() || c.DisableLocal {
		return c.reviewer
	}
	t, err := m.pod.token()
	if err != nil {
		m.log.Debug("the pod's own token cannot be read; the client's is used", "error", err)
	}
	return t
}
