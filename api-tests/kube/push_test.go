package kube

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"testing"
)

// pushSecret is a PushSecret named name to a SecretStore; body is what differs: lines of its spec, indented by two.
func pushSecret(name, store, body string) string {
	return fmt.Sprintf(`
apiVersion: external-secrets.io/v1alpha1
kind: PushSecret
metadata: {name: %s}
spec:
  refreshInterval: 1s
  secretStoreRefs: [{kind: SecretStore, name: %s}]
%s`, name, store, body)
}

// pushed and pushedAgain are the Secret that is pushed, before and after a change.
const pushed = `
apiVersion: v1
kind: Secret
metadata: {name: source}
stringData: {user: ann, password: first}
`

const pushedAgain = `
apiVersion: v1
kind: Secret
metadata: {name: source}
stringData: {user: ann, password: second}
`

func TestPush(t *testing.T) {
	s := newStage(t)
	s.apply(pushed)
	s.apply(pushSecret("whole", "store", `
  deletionPolicy: Delete
  selector: {secret: {name: source}}
  data: [{match: {remoteRef: {remoteKey: pushed/whole}}}]
`))
	s.apply(pushSecret("one", "store", `
  selector: {secret: {name: source}}
  data: [{match: {secretKey: password, remoteRef: {remoteKey: pushed/one, property: pw}}}]
`))
	s.wantReady("pushsecrets/whole", "True", "PushSecret synced successfully")
	s.wantStored("pushed/whole", map[string]any{"user": "ann", "password": "first"})
	s.wantStored("pushed/one", map[string]any{"pw": "first"})
	s.wantVersion("pushed/whole", 1) // What has not changed is not written again.

	s.apply(pushedAgain)
	s.wantStored("pushed/whole", map[string]any{"user": "ann", "password": "second"})
	s.wantStored("pushed/one", map[string]any{"pw": "second"})
	s.wantVersion("pushed/whole", 2)

	s.kubectl("delete", "pushsecret", "whole", "one")
	s.wantStored("pushed/whole", nil) // Deleted with its PushSecret.
	s.wantStored("pushed/one", map[string]any{"pw": "second"})
}

// TestPushSparesForeign does not overwrite a secret that someone else wrote.
func TestPushSparesForeign(t *testing.T) {
	s := newStage(t)
	s.put("pushed/mine", map[string]any{"by": "hand"})
	s.apply(pushed)
	s.apply(pushSecret("mine", "store", `
  selector: {secret: {name: source}}
  data: [{match: {remoteRef: {remoteKey: pushed/mine}}}]
`))
	s.wantReady("pushsecrets/mine", "False", "secret not managed by external-secrets")
	s.wantStored("pushed/mine", map[string]any{"by": "hand"})
}

// TestPushCheckAndSet pushes to a mount that wants a version with every write: once with a store that sends one, once
// with a store that doesn't.
func TestPushCheckAndSet(t *testing.T) {
	s := newStage(t)
	s.do("secret/config", map[string]any{"cas_required": true})
	s.apply(pushed)
	s.apply(`
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: cas}
spec:
  provider:
    vault:
      server: $SERVER
      path: secret
      version: v2
      checkAndSet: {required: true}
      auth:
        kubernetes: {mountPath: kubernetes, role: app, serviceAccountRef: {name: app}}
`)
	for name, store := range map[string]string{"with": "cas", "without": "store"} {
		s.apply(pushSecret(name, store, `
  selector: {secret: {name: source}}
  data: [{match: {remoteRef: {remoteKey: pushed/`+name+`}}}]
`))
	}
	s.wantReady("pushsecrets/without", "False", "check-and-set parameter required for this call")
	s.wantStored("pushed/with", map[string]any{"user": "ann", "password": "first"})
	s.apply(pushedAgain)
	s.wantStored("pushed/with", map[string]any{"user": "ann", "password": "second"})
	s.wantVersion("pushed/with", 2)
	s.wantStored("pushed/without", nil)
}

// wantStored waits until the server holds exactly want at name; nil means nothing.
func (s *stage) wantStored(name string, want map[string]any) {
	s.Helper()
	s.eventually("stored "+name, func(context.Context) error {
		if got := s.get(name); !reflect.DeepEqual(got, want) {
			return fmt.Errorf("%s holds %v, want %v", name, got, want)
		}
		return nil
	})
}

func (s *stage) wantVersion(name string, want float64) {
	s.Helper()
	a, err := s.server.Must(s.Context(), http.MethodGet, "secret/metadata/"+name, nil)
	if err != nil {
		s.Fatal(err)
	}
	if got := a.Data()["current_version"]; got != want {
		s.Errorf("%s is at version %v, want %v", name, got, want)
	}
}
