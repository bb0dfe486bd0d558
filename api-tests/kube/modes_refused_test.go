package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

// refused is a login of the operator that must fail.
type refused struct {
	name, auth string
	says       string // What the server answers.
}

// TestModesRefused has a store in each mode that presents something wrong from the start, as somebody whom the server
// has never let in: none becomes ready, the events say why, and the server keeps no token, lease or entity.
func TestModesRefused(t *testing.T) {
	w := theWorld(t)
	s := stageOn(t, w, servers.Options{TLSCert: w.cluster.ServerCert(), TLSKey: w.cluster.ServerKey()})
	s.ready()
	s.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: app}\n")
	list := []refused{s.refusedToken(), s.refusedAppRole(), s.refusedUserpass(), s.refusedCert()}
	list = append(list, s.refusedJWTs()...)
	if kind(t) == servers.Coffer { // A minimal build of Vault has no LDAP.
		list = append(list, s.refusedLDAP())
	}
	ca, err := os.ReadFile(w.cluster.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		s.apply(`
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: ` + r.name + `}
spec:
  provider:
    vault:
      server: $SERVER
      caBundle: ` + base64.StdEncoding.EncodeToString(ca) + `
      path: secret
      version: v2
      auth:
        ` + r.auth + `
`)
	}
	for _, r := range list {
		fragment := "unable to create client"
		if r.name == "token" { // There is no login to fail.
			fragment = "unable to validate store"
		}
		s.wantReady("secretstores/"+r.name, "False", fragment)
		s.wantEventOf(r.name, r.says)
	}
	s.wantLeft(1, 0, 0) // The root token.

	// The counters count: a good login leaves one of each.
	a, err := s.server.Call(t.Context(), http.MethodPut, "auth/userpass/login/good", "", map[string]any{"password": "pw"})
	if err != nil || a.Status != http.StatusOK {
		t.Fatalf("a good login: %v, %d: %s", err, a.Status, a.Raw)
	}
	s.wantLeft(2, 1, 1)
}

// wantLeft counts what logins leave behind.
func (s *stage) wantLeft(tokens, leases, entities int) {
	s.Helper()
	got := [3]int{len(s.accessors()), s.leases("sys/leases/lookup/auth/"), s.entities()}
	if want := [3]int{tokens, leases, entities}; got != want {
		s.Errorf("there are %d (tokens, leases, entities), want %d", got, want)
	}
}

// leases is how many there are below path, which ends in a slash.
func (s *stage) leases(path string) int {
	s.Helper()
	n := 0
	for _, key := range s.list(path) {
		if strings.HasSuffix(key, "/") {
			n += s.leases(path + key)
		} else {
			n++
		}
	}
	return n
}

func (s *stage) refusedToken() refused {
	s.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: token}\nstringData: {token: hvs.nobodys}\n")
	return refused{"token", `tokenSecretRef: {name: token, key: token}`, "invalid vault credentials"}
}

func (s *stage) refusedAppRole() refused {
	s.do("sys/auth/approle", map[string]any{"type": "approle"})
	s.do("auth/approle/role/app", map[string]any{"token_policies": "app", "role_id": "of-app"})
	s.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: approle}\nstringData: {secret-id: wrong}\n")
	return refused{"approle", `appRole: {path: approle, roleId: of-app, secretRef: {name: approle, key: secret-id}}`,
		"invalid role or secret ID"}
}

func (s *stage) refusedUserpass() refused {
	auth, _ := furnishUserpass(s)
	s.do("auth/userpass/users/good", map[string]any{"password": "pw"})
	s.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {password: wrong}\n")
	return refused{"userpass", auth, "invalid username or password"}
}

func (s *stage) refusedLDAP() refused {
	auth, _ := furnishLDAP(s) // It uses the Secret with userpass's wrong password.
	return refused{"ldap", auth, "invalid credentials"}
}

// refusedJWTs are a token for another audience, and one with the signature of another.
func (s *stage) refusedJWTs() []refused {
	trustCluster(s)
	parts, other := strings.Split(s.token("app", "vault"), "."), strings.Split(s.token("app", "other"), ".")
	s.apply(fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: jwt}\nstringData: {token: %q}\n",
		parts[0]+"."+parts[1]+"."+other[2]))
	return []refused{
		{"audience", `jwt: {path: jwt, role: app, kubernetesServiceAccountToken: {serviceAccountRef: {name: app}, audiences: [other]}}`,
			"audience claim does not match any expected audience"},
		{"signature", `jwt: {path: jwt, role: app, secretRef: {name: jwt, key: token}}`, "no known key successfully validated the token signature"},
	}
}

// refusedCert presents a certificate that has the right name, but not from the role's CA.
func (s *stage) refusedCert() refused {
	ca, err := os.ReadFile(s.cluster.CAFile())
	if err != nil {
		s.Fatal(err)
	}
	s.do("sys/auth/cert", map[string]any{"type": "cert"})
	s.do("auth/cert/certs/app", map[string]any{"certificate": string(ca), "allowed_common_names": "admin"})
	cert, key := selfSigned(s.T, "admin")
	s.kubectl("create", "secret", "generic", "client", "--from-literal=tls.crt="+cert, "--from-literal=tls.key="+key)
	return refused{"cert", `cert: {path: cert, clientCert: {name: client, key: tls.crt}, secretRef: {name: client, key: tls.key}}`,
		"failed to match all constraints"}
}

// selfSigned is a client certificate that nobody vouches for, and its key, as PEM.
func selfSigned(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}
