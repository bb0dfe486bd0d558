package servers

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestLifeCycle(t *testing.T) {
	t.Setenv("VAULT_LOG_LEVEL", "nonsense") // Must not reach the server.
	ctx := t.Context()
	s := ForTest(t, Vault, Options{})
	if got := s.health(ctx); got != http.StatusNotImplemented {
		t.Errorf("sys/health before init says %d, want 501", got)
	}
	if err := s.Init(ctx, 3, 2); err != nil {
		t.Fatal(err)
	}
	if len(s.Keys) != 3 || s.RootToken == "" {
		t.Errorf("init kept %d keys, root token set: %t", len(s.Keys), s.RootToken != "")
	}
	if err := s.Unseal(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Must(ctx, http.MethodPost, "cubbyhole/a", map[string]string{"k": "v"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Crash(ctx); err != nil {
		t.Fatal(err)
	}
	a, err := s.Must(ctx, http.MethodGet, "cubbyhole/a", nil)
	if err != nil || a.Data()["k"] != "v" {
		t.Errorf("after a crash cubbyhole/a is %s, %v", a.Raw, err)
	}
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if got := s.health(ctx); got != http.StatusServiceUnavailable {
		t.Errorf("sys/health after a restart says %d, want 503", got)
	}
	if _, err := s.Must(ctx, http.MethodGet, "cubbyhole/a", nil); !errors.Is(err, ErrStatus) {
		t.Errorf("reading from the sealed server: %v, want ErrStatus", err)
	}
}

func TestMeasures(t *testing.T) {
	s := ForTest(t, Vault, Options{Storage: InMemory})
	rss, err := s.RSS()
	if err != nil || rss < 1<<20 {
		t.Errorf("RSS = %d, %v", rss, err)
	}
	peak, err := s.PeakRSS()
	if err != nil || peak < 1<<20 {
		t.Errorf("PeakRSS = %d, %v", peak, err)
	}
	if s.LogTail(1<<16) == "" {
		t.Error("the log is empty")
	}
	folder := s.dir
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RSS(); !errors.Is(err, ErrNoMeasure) {
		t.Errorf("RSS without a process: %v, want ErrNoMeasure", err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Close left the folder behind: %v", err)
	}
}

func TestStartReportsExit(t *testing.T) {
	_, err := Start(t.Context(), Vault, Options{Config: "this is no configuration"})
	if !errors.Is(err, ErrExited) {
		t.Fatalf("Start with a broken configuration: %v, want ErrExited", err)
	}
	if !strings.Contains(err.Error(), "config.hcl") {
		t.Errorf("the error does not show the log: %v", err)
	}
}

func TestReservationsDiffer(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		r, err := ReservePorts()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Release(); err != nil {
				t.Error(err)
			}
		})
		if seen[r.base] {
			t.Fatalf("port %d was handed out twice", r.base)
		}
		seen[r.base] = true
	}
}

// TestStockNames finds every program's version in its nested module, without building any.
func TestStockNames(t *testing.T) {
	for kind, want := range map[Kind]string{
		Vault:           "vault-1.21.2-",
		KubernetesAuth:  "vault-plugin-auth-kubernetes-0.23.1-",
		LDAPAuth:        "vault-plugin-auth-ldap-1.21.2-",
		Etcd:            "etcd-3.6.5-",
		KubeAPIServer:   "kube-apiserver-1.34.4-",
		Kubectl:         "kubectl-1.34.4-",
		ExternalSecrets: "external-secrets-0.20.4-",
		OpenIDProvider:  "openid-provider-3.51.17-",
	} {
		p, err := findStock(kind)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := p.dir()
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.fileName(dir)
		if err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s is kept as %q, %v; want %s…", kind, got, err, want)
		}
	}
	if _, err := Binary(t.Context(), "no such program"); err == nil {
		t.Error("a program that is not in the table is built")
	}
}
