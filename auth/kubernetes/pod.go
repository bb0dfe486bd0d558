package kubernetes

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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

// isOwn reports whether the API server of a configuration has to prove that it is the one of the pod's own cluster: by
// a certificate of the pod's CA.
func (m *method) isOwn(c *config) bool {
	u, err := apiURL(c.Host)
	if err != nil || u.Scheme != "https" {
		return false
	}
	if c.CACert == "" {
		return true // it is the pod's: see caOf
	}
	text, err := m.pod.ca()
	if err != nil {
		return false
	}
	own := certificates(text)
	return !slices.ContainsFunc(certificates(c.CACert), func(der []byte) bool {
		return !slices.ContainsFunc(own, func(o []byte) bool { return bytes.Equal(o, der) })
	})
}

// certificates are what the blocks of a PEM text hold.
func certificates(text string) [][]byte {
	var all [][]byte
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		all = append(all, block.Bytes)
	}
	return all
}

// reviewerOf is the token that an API server is asked with; zero where there is none. The pod's own token is for the
// cluster that the pod is in, and goes to no other server, whatever a configuration says.
func (m *method) reviewerOf(server *cluster) engines.Token {
	c := server.config
	if !c.reviewer.IsZero() || c.DisableLocal {
		return c.reviewer
	}
	if !m.isOwn(c) {
		m.log.Debug("the pod's own token is not for this API server; the client's is used")
		return engines.Token{}
	}
	t, err := m.pod.token()
	if err != nil {
		m.log.Debug("the pod's own token cannot be read; the client's is used", "error", err)
	}
	return t
}
