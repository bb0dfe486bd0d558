package kube

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// manifests is the folder of what a user applies.
func manifests(elem ...string) string {
	return filepath.Join(append([]string{"..", "..", "deploy", "kubernetes"}, elem...)...)
}

// statefulSet is what the tests look at in the StatefulSet.
type statefulSet struct {
	Spec struct {
		Template struct {
			Metadata json.RawMessage
			Spec     json.RawMessage
		}
	}
}

type container struct {
	Args                                        []string
	StartupProbe, LivenessProbe, ReadinessProbe struct {
		HTTPGet struct{ Path, Port string }
	}
}

// TestManifests applies both variants to the API server, which refuses fields it does not know, and then the pod that
// the StatefulSet asks for, which the namespace's policy "restricted" must admit.
func TestManifests(t *testing.T) {
	for _, variant := range []string{"base", "laptop"} {
		t.Run(variant, func(t *testing.T) {
			s := bareStage(t)
			if variant != "base" {
				s.applyVariant("base") // A user may change his mind: no field differs that can't be changed.
			}
			s.applyVariant(variant)
			template := s.statefulSet().Spec.Template
			pod, err := json.Marshal(map[string]any{
				"apiVersion": "v1", "kind": "Pod", "spec": podWithVolume(t, template.Spec),
				"metadata": map[string]any{"name": "coffer-0", "namespace": s.ns},
			})
			if err != nil {
				t.Fatal(err)
			}
			out, err := s.cluster.Kubectl(t.Context(), string(pod), "create", "--dry-run=server", "--validate=strict", "-f", "-")
			if err != nil || strings.Contains(out, "Warning") {
				t.Errorf("the pod is not admitted as it is: %v\n%s", err, out)
			}
			s.checkProbes(template.Spec)
		})
	}
}

// TestManifestsRefuseMore shows that the validation has teeth: a misspelt field and a privileged pod are refused.
func TestManifestsRefuseMore(t *testing.T) {
	s := bareStage(t)
	s.applyVariant("base")
	misspelt := strings.ReplaceAll(s.render("base"), "readOnlyRootFilesystem", "readOnlyRoot")
	if err := s.cluster.Apply(t.Context(), "", misspelt); err == nil {
		t.Error("a misspelt field is accepted")
	}
	pod := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"` + s.ns + `"},
		"spec":{"serviceAccountName":"coffer","containers":[{"name":"c","image":"i","securityContext":{"privileged":true}}]}}`
	if _, err := s.cluster.Kubectl(t.Context(), pod, "create", "--dry-run=server", "-f", "-"); err == nil {
		t.Error("a privileged pod is accepted")
	}
}

// render is the YAML of a variant, with the test's namespace in place of "coffer", so that tests do not meet.
func (s *stage) render(variant string) string {
	s.Helper()
	dir, err := filepath.Abs(manifests(variant))
	if err != nil {
		s.Fatal(err)
	}
	out, err := s.cluster.Kubectl(s.Context(), "", "kustomize", dir)
	if err != nil {
		s.Fatal(err)
	}
	return strings.NewReplacer("namespace: coffer\n", "namespace: "+s.ns+"\n",
		"name: coffer-auth-delegator\n", "name: "+s.ns+"\n",
		"pod-security.kubernetes.io/warn: restricted\n  name: coffer\n",
		"pod-security.kubernetes.io/warn: restricted\n  name: "+s.ns+"\n").Replace(out)
}

func (s *stage) applyVariant(variant string) {
	s.Helper()
	if err := s.cluster.Apply(s.Context(), "", s.render(variant)); err != nil {
		s.Fatal(err)
	}
}

func (s *stage) statefulSet() statefulSet {
	s.Helper()
	raw, err := s.cluster.Call(s.Context(), http.MethodGet, "/apis/apps/v1/namespaces/"+s.ns+"/statefulsets/coffer", nil)
	if err != nil {
		s.Fatal(err)
	}
	var set statefulSet
	if err := json.Unmarshal(raw, &set); err != nil {
		s.Fatal(err)
	}
	return set
}

// podWithVolume is the pod's spec with the volume that the StatefulSet's controller would add.
func podWithVolume(t *testing.T, spec json.RawMessage) map[string]any {
	t.Helper()
	var pod map[string]any
	if err := json.Unmarshal(spec, &pod); err != nil {
		t.Fatal(err)
	}
	volumes, ok := pod["volumes"].([]any)
	if !ok {
		t.Fatalf("the pod has no volumes: %s", spec)
	}
	pod["volumes"] = append(volumes, map[string]any{
		"name": "data", "persistentVolumeClaim": map[string]any{"claimName": "data-coffer-0"},
	})
	return pod
}

// checkProbes asks the server what the kubelet would: a sealed server is alive and not ready.
func (s *stage) checkProbes(spec json.RawMessage) {
	s.Helper()
	var pod struct{ Containers []container }
	if err := json.Unmarshal(spec, &pod); err != nil || len(pod.Containers) != 1 {
		s.Fatalf("want one container: %v in %s", err, spec)
	}
	c := pod.Containers[0]
	check := func(state string, wantReady bool) {
		s.Helper()
		for name, path := range map[string]string{
			"startup": c.StartupProbe.HTTPGet.Path, "liveness": c.LivenessProbe.HTTPGet.Path,
			"readiness": c.ReadinessProbe.HTTPGet.Path,
		} {
			a, err := s.server.Call(s.Context(), http.MethodGet, strings.TrimPrefix(path, "/v1/"), "", nil)
			if err != nil {
				s.Fatal(err)
			}
			// The kubelet takes 200 to 399 for well.
			if well := a.Status < http.StatusBadRequest; well != (wantReady || name != "readiness") {
				s.Errorf("%s: the %s probe gets status %d", state, name, a.Status)
			}
		}
	}
	check("not initialised", false)
	if err := s.server.Ready(s.Context()); err != nil {
		s.Fatal(err)
	}
	check("unsealed", true)
	s.do("sys/seal", nil)
	check("sealed", false)
}
