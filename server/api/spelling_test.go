package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/auth/approle"
	"coffer/auth/cert"
	"coffer/auth/jwt"
	"coffer/auth/kubernetes"
	"coffer/auth/ldap"
	"coffer/auth/userpass"
	"coffer/engines"
	"coffer/engines/kv"
	"coffer/server/mounts"
	"coffer/storage"
	"coffer/storage/memory"
)

// newFullHouse is a house with every type of engine mounted, and something named "task" wherever something can have a
// name.
func newFullHouse(t *testing.T) *house {
	t.Helper()
	store := memory.New()
	h := newFullHouseOver(t, store)
	h.store = store
	return h
}

// newFullHouseOver is newFullHouse over any storage.
func newFullHouseOver(t *testing.T, store storage.Storage) *house {
	t.Helper()
	h := newHouseOver(t, map[mounts.Kind]map[string]engines.Factory{
		mounts.Secret: {"kv": kv.Factory},
		mounts.Auth: {
			"approle": approle.Factory, "jwt": jwt.Factory, "kubernetes": kubernetes.Factory, "cert": cert.Factory,
			"ldap": ldap.Factory, "userpass": userpass.NewFactory(userpass.NewHasher(1)),
		},
	}, store)
	for _, typ := range []string{"approle", "jwt", "kubernetes", "cert", "ldap", "userpass"} {
		h.must(t, "PUT", "/v1/sys/auth/"+typ, `{"type":"`+typ+`"}`)
	}
	authority, list := someCertificate(t)
	h.must(t, "PUT", "/v1/sys/mounts/plain", `{"type":"kv"}`)
	h.must(t, "PUT", "/v1/sys/audit/task", fmt.Sprintf(
		`{"type":"file","options":{"file_path":%q}}`, filepath.Join(t.TempDir(), "audit.log")))
	var method struct {
		Data struct {
			ID string `json:"method_id"`
		} `json:"data"`
	}
	made := h.must(t, "PUT", "/v1/identity/mfa/method/totp", `{"issuer":"task"}`)
	if err := json.Unmarshal(made.Body.Bytes(), &method); err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]string{
		"secret/data/task": `{"data":{"k":"canary"}}`, "plain/task": `{"k":"canary"}`,
		"auth/userpass/users/task":   `{"password":"canary","token_policies":"canary"}`,
		"auth/approle/role/task":     `{"token_policies":"canary"}`,
		"auth/jwt/role/task":         `{"role_type":"jwt","user_claim":"sub","bound_audiences":"canary","token_policies":"canary"}`,
		"auth/kubernetes/role/task":  `{"bound_service_account_names":"canary","bound_service_account_namespaces":"x"}`,
		"auth/cert/certs/task":       fmt.Sprintf(`{"certificate":%q,"token_policies":"canary"}`, authority),
		"auth/cert/crls/task":        fmt.Sprintf(`{"crl":%q,"issuer":%q}`, list, authority),
		"auth/ldap/users/task":       `{"policies":"canary"}`,
		"auth/ldap/groups/task":      `{"policies":"canary"}`,
		"auth/token/roles/task":      `{"allowed_policies":"canary"}`,
		"sys/policies/acl/task":      `{"policy":"path \"canary\" {}"}`,
		"sys/mounts/task":            `{"type":"kv","description":"canary"}`,
		"sys/auth/task":              `{"type":"userpass","description":"canary"}`,
		"identity/entity/name/task":  `{"policies":"canary"}`,
		"identity/group/name/task":   `{"policies":"canary"}`,
		"identity/oidc/key/task":     `{"allowed_client_ids":"canary"}`,
		"sys/config/ui/headers/task": `{"values":["canary"]}`,
		"identity/mfa/login-enforcement/task": fmt.Sprintf(
			`{"mfa_method_ids":[%q],"auth_method_types":["approle"]}`, method.Data.ID),
		"sys/config/auditing/request-headers/task": `{"hmac":true}`,
	} {
		h.must(t, "PUT", "/v1/"+path, body)
	}
	h.must(t, "PUT", "/v1/identity/oidc/role/task", `{"key":"task","client_id":"canary"}`)
	return h
}

// someCertificate is an authority in PEM and an empty list of revocations that it signed.
func someCertificate(t *testing.T) (authority, list string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "canary"}, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1),
		ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: revoked}))
}

// variable is a variable of a route's pattern.
var variable = regexp.MustCompile(`\{\w+(\.\.\.|\+)?\}`)

// patterns are the patterns with variables of every mount, from the root, as their help shows them.
func (h *house) patterns(t *testing.T) []string {
	t.Helper()
	all := slices.DeleteFunc(h.routes(t), func(pattern string) bool { return !variable.MatchString(pattern) })
	if len(all) < 60 {
		t.Fatalf("only %d patterns with variables", len(all))
	}
	return all
}

// routes are the patterns of every mount, from the root, as their help shows them.
func (h *house) routes(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, mount := range []string{"sys/", "identity/", "cubbyhole/", "secret/", "plain/", "auth/token/", "auth/approle/",
		"auth/jwt/", "auth/kubernetes/", "auth/cert/", "auth/ldap/", "auth/userpass/"} {
		var answer struct {
			Help string `json:"help"`
		}
		if err := json.Unmarshal(h.must(t, "GET", "/v1/"+mount+"?help=1", "").Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(answer.Help) {
			pattern := strings.TrimSpace(line)
			if strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "     ") && !strings.Contains(pattern, " ") {
				all = append(all, mount+pattern)
			}
		}
	}
	return all
}

// spellings are ways of writing "task", all of which somebody could take for it.
var spellings = []string{"TASK", "Task", "tasK", "tas\u212a", "ta\u017fk", "TA\u017fK", " task", "task ", "task\u00a0", "\u3000task", "task/",
	"task /", " TASK/", "task\u200b", "ｔask"}

// everyName reads what every name in newFullHouse stands for.
func (h *house) everyName(t *testing.T) map[string]string {
	t.Helper()
	answers := make(map[string]string)
	for _, path := range []string{"secret/data/task", "secret/metadata/task", "plain/task", "auth/userpass/users/task",
		"auth/approle/role/task", "auth/approle/role/task/role-id", "auth/jwt/role/task", "auth/kubernetes/role/task",
		"auth/cert/certs/task", "auth/cert/crls/task", "auth/ldap/users/task", "auth/ldap/groups/task", "auth/token/roles/task",
		"sys/policies/acl/task", "sys/mounts/task", "sys/mounts/task/tune", "sys/auth/task", "sys/auth/task/tune",
		"identity/entity/name/task", "identity/group/name/task", "identity/oidc/key/task", "identity/oidc/role/task",
		"identity/mfa/login-enforcement/task", "sys/config/auditing/request-headers/task", "sys/config/ui/headers/task",
		"sys/audit"} {
		body := h.must(t, "GET", "/v1/"+path, "").Body.String()
		answers[path] = regexp.MustCompile(`"request_id":"[^"]*"`).ReplaceAllString(body, "")
	}
	return answers
}

// plain are the paths that somebody could write into a rule.
var plain = regexp.MustCompile(`^[\w/-]+$`)

// eager is a body out of which every route that writes takes something.
const eager = `{"data":{"k":"changed"},"policy":"path \"*\" {capabilities=[\"sudo\"]}","type":"kv","description":"changed",
	"policies":"changed","token_policies":"changed","allowed_policies":"changed","groups":"changed","values":["changed"],
	"versions":[1],"default_lease_ttl":"1h","key":"task","client_id":"changed","allowed_client_ids":"changed",
	"bound_service_account_names":"changed","bound_service_account_namespaces":"changed","bound_audiences":"changed",
	"user_claim":"changed","role_type":"jwt","role_id":"changed","bind_secret_id":true,"hmac":false,"disabled":true}`

// TestNoSpellingOfAVariablePasses walks every route that has a variable in its path. A token that may do everything but
// touch "task" must not reach it, however it spells the name; nor must one to whom another spelling of it is denied.
func TestNoSpellingOfAVariablePasses(t *testing.T) {
	h := newFullHouse(t)
	// Reads of a name that nobody has, which these answer.
	answersForAll := map[string]bool{
		"sys/loggers/{name}": true, "sys/plugins/catalog/{type}": true, "sys/plugins/catalog/{type}/{name}": true,
		"sys/internal/ui/mounts/{path+}": true,
	}
	before := h.everyName(t)
	all := "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\", \"sudo\"] }\n"
	token := h.token(t, all)
	for _, pattern := range h.patterns(t) {
		path := variable.ReplaceAllString(pattern, "task")
		if pattern == "cubbyhole/{path...}" {
			h.send(t, "PUT", "/v1/"+path, token, `{"k":"canary"}`) // every token has its own
		}
		h.policy(t, all+deny(path))
		same := make(map[string]bool)
		for _, at := range variable.FindAllStringIndex(pattern, -1) {
			for _, name := range spellings {
				spelt := variable.ReplaceAllString(pattern[:at[0]], "task") + name + variable.ReplaceAllString(pattern[at[1]:], "task")
				for _, verb := range []string{"GET", "LIST", "PUT", "PATCH", "DELETE"} {
					w := h.send(t, verb, "/v1/"+(&url.URL{Path: spelt}).EscapedPath(), token, eager)
					same[spelt] = same[spelt] || verb != "LIST" && w.Code == http.StatusForbidden
					if w.Code < 300 && (verb == "GET" || verb == "LIST") && !answersForAll[pattern] {
						t.Errorf("with %q denied, %s %q: %d %s", path, verb, spelt, w.Code, w.Body)
					}
				}
			}
		}
		if diff := cmp.Diff(before, h.everyName(t)); diff != "" {
			t.Fatalf("with %q denied, some spelling of it changed it:\n%s", path, diff)
		}
		for _, spelt := range slices.Sorted(maps.Keys(same)) {
			if !same[spelt] || !plain.MatchString(spelt) {
				continue
			}
			h.policy(t, all+deny(spelt))
			if w := h.send(t, "GET", "/v1/"+path, token, ""); w.Code != http.StatusForbidden && !answersForAll[pattern] {
				t.Errorf("with %q denied, GET %q: %d %s", spelt, path, w.Code, w.Body)
			}
		}
	}
}

func deny(path string) string { return fmt.Sprintf("path %q { capabilities = [\"deny\"] }\n", path) }

// policy changes the policy of the tokens that token made.
func (h *house) policy(t *testing.T, rules string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"policy": rules})
	if err != nil {
		t.Fatal(err)
	}
	h.must(t, "PUT", "/v1/sys/policies/acl/p", string(body))
}

// TestSlashAfterALiteralPath asks with and without a "/" at the end of paths that have no variables.
func TestSlashAfterALiteralPath(t *testing.T) {
	h := newHouse(t)
	all := "path \"*\" { capabilities = [\"read\", \"list\"] }\n"
	token := h.token(t, all)
	for _, path := range []string{"sys/policy", "sys/host-info"} {
		for _, rule := range []string{path, path + "/"} {
			h.policy(t, all+deny(rule))
			for _, asked := range []string{path, path + "/", path + "%2f"} {
				if w := h.send(t, "GET", "/v1/"+asked, token, ""); w.Code != http.StatusForbidden {
					t.Errorf("with %q denied, GET %q: %d", rule, asked, w.Code)
				}
			}
			h.policy(t, deny("x")+"path \""+rule+"\" { capabilities = [\"read\", \"sudo\"] }\n")
			if w := h.send(t, "GET", "/v1/"+path, token, ""); w.Code != http.StatusOK {
				t.Errorf("with %q granted: %d %s", rule, w.Code, w.Body)
			}
		}
	}
}

// TestNamesOfADirectory: a directory does not tell Ö from ö, so a rule on one spelling of a name is about the other.
func TestNamesOfADirectory(t *testing.T) {
	h := newFullHouse(t)
	token := h.token(t, deny("x"))
	for _, folder := range []string{"auth/ldap/users/", "auth/ldap/groups/"} {
		for _, rule := range []string{"jörg", "JÖRG", "Jö*", "JÖ*"} {
			h.policy(t, fmt.Sprintf("path \"%s*\" { capabilities = [\"update\"] }\npath \"%s%s\" { capabilities = [\"deny\"] }",
				folder, folder, rule))
			for name, want := range map[string]int{
				"j%C3%B6rg": http.StatusForbidden, "J%C3%96RG": http.StatusForbidden, "j%C3%96rg": http.StatusForbidden,
				"jorg": http.StatusNoContent,
			} {
				if w := h.send(t, "PUT", "/v1/"+folder+name, token, `{"policies":"p"}`); w.Code != want {
					t.Errorf("%s on %s%s: %d %s", rule, folder, name, w.Code, w.Body)
				}
			}
		}
	}
}
