package cluster

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestLifeCycle(t *testing.T) {
	ctx := t.Context()
	c, err := Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dir := c.dir
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Close left the folder behind: %v", err)
		}
	})
	if err := c.Apply(ctx, "", `
apiVersion: v1
kind: Namespace
metadata: {name: a}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: app, namespace: a}
---
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: a}
stringData: {k: v}
`); err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(ctx, "a", "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, dat: {}}"); err == nil {
		t.Error("a misspelt field is accepted")
	}
	jwt, err := c.Token(ctx, "a", "app", "coffer")
	if err != nil {
		t.Fatal(err)
	}
	if got := review(t, c, jwt, "coffer"); got != "system:serviceaccount:a:app" {
		t.Errorf("the review says %q", got)
	}
	if got := review(t, c, jwt, "vault"); got != "" {
		t.Errorf("the review for another audience says %q", got)
	}

	c.StopAPI()
	if _, err := c.Secret(ctx, "a", "s"); err == nil {
		t.Error("the stopped API server answers")
	}
	if err := c.StartAPI(ctx); err != nil {
		t.Fatal(err)
	}
	secret, err := c.Secret(ctx, "a", "s")
	if err != nil || secret["k"] != "v" {
		t.Errorf("after a restart the Secret is %q, %v", secret, err)
	}
	if _, err := c.Secret(ctx, "a", "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("reading what is not there: %v, want ErrNotFound", err)
	}
}

// review asks the API server who jwt belongs to; "" when it is not good for the audience.
func review(t *testing.T, c *Cluster, jwt, audience string) string {
	t.Helper()
	raw, err := c.Call(t.Context(), http.MethodPost, "/apis/authentication.k8s.io/v1/tokenreviews", map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
		"spec": map[string]any{"token": jwt, "audiences": []string{audience}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Status struct{ User struct{ Username string } }
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(answer.Status.User.Username)
}
