package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// StatusError is an answer of the API server with a status of 400 or more.
type StatusError struct {
	Status int
	Body   string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("API server: status %d: %s", e.Status, e.Body)
}

// ErrNotFound is matched by the error of Call when the object does not exist.
var ErrNotFound = errors.New("not found")

// Is makes a 404 match ErrNotFound.
func (e *StatusError) Is(target error) bool {
	return target == ErrNotFound && e.Status == http.StatusNotFound
}

// Call sends one request to path as the administrator, with body (nil: none) as JSON, and returns the answer.
func (c *Cluster) Call(ctx context.Context, method, path string, body any) ([]byte, error) {
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Host()+path, reader)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return nil, &StatusError{Status: resp.StatusCode, Body: string(raw)}
	}
	return raw, nil
}

// Secret returns the data of a Secret. The error matches ErrNotFound when there is none.
func (c *Cluster) Secret(ctx context.Context, namespace, name string) (map[string]string, error) {
	raw, err := c.Call(ctx, http.MethodGet, "/api/v1/namespaces/"+namespace+"/secrets/"+name, nil)
	if err != nil {
		return nil, err
	}
	var secret struct{ Data map[string][]byte }
	if err := json.Unmarshal(raw, &secret); err != nil {
		return nil, err
	}
	data := make(map[string]string, len(secret.Data))
	for key, value := range secret.Data {
		data[key] = string(value)
	}
	return data, nil
}

// Condition is one entry of an object's status.conditions.
type Condition struct {
	Type, Status, Reason, Message string
}

func (c Condition) String() string {
	return fmt.Sprintf("%s=%s, %s: %s", c.Type, c.Status, c.Reason, c.Message)
}

// Ready returns the condition Ready of an object of External Secrets, such as "secretstores/store"; an empty namespace
// means an object of the cluster. A condition that is not there yet is empty.
func (c *Cluster) Ready(ctx context.Context, namespace, object string) (Condition, error) {
	group := "/apis/external-secrets.io/v1"
	if strings.HasPrefix(object, "pushsecrets/") {
		group = "/apis/external-secrets.io/v1alpha1"
	}
	if namespace != "" {
		group += "/namespaces/" + namespace
	}
	raw, err := c.Call(ctx, http.MethodGet, group+"/"+object, nil)
	if err != nil {
		return Condition{}, err
	}
	var answer struct {
		Status struct{ Conditions []Condition }
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return Condition{}, err
	}
	for _, condition := range answer.Status.Conditions {
		if condition.Type == "Ready" {
			return condition, nil
		}
	}
	return Condition{}, nil
}

// Token asks for a token of a ServiceAccount that is good for ten minutes, as External Secrets does. Without audiences
// it is meant for the API server.
func (c *Cluster) Token(ctx context.Context, namespace, account string, audiences ...string) (string, error) {
	type spec struct {
		Audiences         []string `json:"audiences,omitempty"`
		ExpirationSeconds int      `json:"expirationSeconds"`
	}
	raw, err := c.Call(ctx, http.MethodPost, "/api/v1/namespaces/"+namespace+"/serviceaccounts/"+account+"/token",
		map[string]any{
			"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
			"spec": spec{Audiences: audiences, ExpirationSeconds: 600},
		})
	if err != nil {
		return "", err
	}
	var answer struct{ Status struct{ Token string } }
	if err := json.Unmarshal(raw, &answer); err != nil {
		return "", err
	}
	return answer.Status.Token, nil
}

// Kubectl runs kubectl as the administrator and returns what it printed; the error holds that too.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.kubectl, args...)
	cmd.Env, cmd.Dir, cmd.Stdin = c.Environment(), c.dir, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Apply applies YAML documents as `kubectl apply --server-side` does; namespace is for those that name none. A field
// that the API server does not know is an error.
func (c *Cluster) Apply(ctx context.Context, namespace, documents string) error {
	_, err := c.Kubectl(ctx, documents,
		"apply", "--namespace="+namespace, "--server-side", "--validate=strict", "--force-conflicts", "-f", "-")
	return err
}

func (c *Cluster) writeKubeconfig() error {
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: admin, user: {client-certificate: %q, client-key: %q}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
`, c.Host(), c.CAFile(), filepath.Join(c.dir, adminCertFile), filepath.Join(c.dir, adminKeyFile))
	return os.WriteFile(c.Kubeconfig(), []byte(text), 0o600)
}
