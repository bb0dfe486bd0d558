package kube

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"coffer/api-tests/servers"
)

// mode is a way in which the operator logs in.
type mode struct {
	name string
	// furnish sets the server up and returns the store's "auth", and documents that it needs in the namespace.
	furnish func(s *stage) (auth, documents string)
	// refuse makes the server refuse what the store presents.
	refuse func(s *stage)
}

func modes(k servers.Kind) []mode {
	list := []mode{
		{"userpass", furnishUserpass, func(s *stage) {
			s.do("auth/userpass/users/app/password", map[string]any{"password": "another"})
		}},
		{"jwt of a ServiceAccount", furnishServiceAccountJWT, func(s *stage) {
			s.do("auth/jwt/role/app", jwtRole(s, "somebody-else"))
		}},
		{"jwt from a Secret", furnishSecretJWT, func(s *stage) {
			s.do("auth/jwt/role/app", jwtRole(s, "somebody-else"))
		}},
		{"cert", furnishCert, func(s *stage) {
			s.do("auth/cert/certs/app", map[string]any{"allowed_common_names": "somebody-else"})
		}},
	}
	if k == servers.Coffer { // A minimal build of Vault has no LDAP.
		list = append(list, mode{"ldap", furnishLDAP, func(s *stage) {
			s.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {password: wrong}\n")
		}})
	}
	return list
}

// TestModes reads in every mode that the operator offers beside those with tests of their own (kubernetes, tokens,
// AppRole): the store becomes ready, a rotation is followed, and a refusal shows and leaves nothing behind.
func TestModes(t *testing.T) {
	for _, m := range modes(kind(t)) {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			w := theWorld(t)
			// Only certificates need TLS, but it does the others no harm.
			s := stageOn(t, w, servers.Options{TLSCert: w.cluster.ServerCert(), TLSKey: w.cluster.ServerKey()})
			s.furnish()
			s.put("db", map[string]any{"password": "first"})
			auth, documents := m.furnish(s)
			ca, err := os.ReadFile(w.cluster.CAFile())
			if err != nil {
				t.Fatal(err)
			}
			s.apply(documents + `
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: mode}
spec:
  provider:
    vault:
      server: $SERVER
      caBundle: ` + base64.StdEncoding.EncodeToString(ca) + `
      path: secret
      version: v2
      auth:
        ` + auth + `
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db}
spec:
  refreshInterval: 1s
  secretStoreRef: {kind: SecretStore, name: mode}
  dataFrom: [{extract: {key: db}}]
`)
			s.wantReady("secretstores/mode", "True", "store validated")
			s.wantSecret("db", map[string]string{"password": "first"})
			s.put("db", map[string]any{"password": "second"})
			s.wantSecret("db", map[string]string{"password": "second"})

			m.refuse(s)
			s.wantReady("secretstores/mode", "False", "unable to create client")
			entities := s.entities()
			s.wantTokens(1) // The root token.
			s.wantReady("externalsecrets/db", "False", "")
			if after := s.entities(); after != entities {
				t.Errorf("refused logins left %d entities", after-entities)
			}
			s.wantTokens(1)
			s.wantSecret("db", map[string]string{"password": "second"})
		})
	}
}

// entities is how many there are.
func (s *stage) entities() int {
	s.Helper()
	return len(s.list("identity/entity/id"))
}

func furnishUserpass(s *stage) (auth, documents string) {
	s.do("sys/auth/userpass", map[string]any{"type": "userpass"})
	s.do("auth/userpass/users/app", map[string]any{"password": "pw", "token_policies": "app"})
	// Rightly, a password that is wrong again and again locks the user.
	s.do("sys/auth/userpass/tune", map[string]any{"user_lockout_config": map[string]any{"lockout_disable": true}})
	return `userPass: {path: userpass, username: app, secretRef: {name: login, key: password}}`,
		"apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {password: pw}\n"
}

func furnishLDAP(s *stage) (auth, documents string) {
	s.do("sys/auth/ldap", map[string]any{"type": "ldap"})
	s.do("sys/auth/ldap/tune", map[string]any{"user_lockout_config": map[string]any{"lockout_disable": true}})
	s.do("auth/ldap/config", map[string]any{
		"url": "ldap://" + servers.Directory(s), "userdn": "ou=people,dc=example,dc=org", "userattr": "uid",
		"groupdn": "ou=groups,dc=example,dc=org",
	})
	s.do("auth/ldap/groups/engineers", map[string]any{"policies": "app"})
	return `ldap: {path: ldap, username: alice, secretRef: {name: login, key: password}}`, fmt.Sprintf(
		"apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {password: %q}\n", servers.AlicesPassword)
}

// jwtRole is bound to one ServiceAccount of the test's namespace.
func jwtRole(s *stage, account string) map[string]any {
	return map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "token_policies": "app",
		"bound_subject": "system:serviceaccount:" + s.ns + ":" + account,
	}
}

// trustCluster lets auth/jwt check the tokens of ServiceAccounts by the cluster's public key.
func trustCluster(s *stage) {
	raw, err := os.ReadFile(s.cluster.SigningKey())
	if err != nil {
		s.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		s.Fatal(err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		s.Fatalf("the cluster signs with a %T", parsed)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		s.Fatal(err)
	}
	s.do("sys/auth/jwt", map[string]any{"type": "jwt"})
	s.do("auth/jwt/config", map[string]any{
		"jwt_validation_pubkeys": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	})
	s.do("auth/jwt/role/app", jwtRole(s, "app"))
}

func furnishServiceAccountJWT(s *stage) (auth, documents string) {
	trustCluster(s)
	return `jwt: {path: jwt, role: app, kubernetesServiceAccountToken: {serviceAccountRef: {name: app}, audiences: [vault]}}`, ""
}

func furnishSecretJWT(s *stage) (auth, documents string) {
	trustCluster(s)
	return `jwt: {path: jwt, role: app, secretRef: {name: jwt, key: token}}`, fmt.Sprintf(
		"apiVersion: v1\nkind: Secret\nmetadata: {name: jwt}\nstringData: {token: %q}\n", s.token("app", "vault"))
}

func furnishCert(s *stage) (auth, documents string) {
	ca, err := os.ReadFile(s.cluster.CAFile())
	if err != nil {
		s.Fatal(err)
	}
	s.do("sys/auth/cert", map[string]any{"type": "cert"})
	if _, err := s.server.Must(s.Context(), http.MethodPost, "auth/cert/certs/app", map[string]any{
		"certificate": string(ca), "allowed_common_names": "admin", "token_policies": "app",
	}); err != nil {
		s.Fatal(err)
	}
	s.kubectl("create", "secret", "generic", "client", "--from-file=tls.crt="+s.cluster.AdminCert(),
		"--from-file=tls.key="+s.cluster.AdminKey())
	return `cert: {path: cert, clientCert: {name: client, key: tls.crt}, secretRef: {name: client, key: tls.key}}`, ""
}
