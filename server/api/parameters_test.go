package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestNoSpellingOfAValuePasses sends values that a rule on parameters denies, or does not allow, as the handler would
// read them all the same.
func TestNoSpellingOfAValuePasses(t *testing.T) {
	h := newFullHouse(t)
	token := h.token(t, deny("x"))
	for _, tc := range []struct {
		path, rule string
		refused    []string
		served     []string
	}{
		{"auth/token/roles/r", `denied_parameters = { "allowed_policies" = ["admins"], "orphan" = [true], "token_num_uses" = [5],
			"token_explicit_max_ttl" = ["1h"], "token_bound_cidrs" = ["10.0.0.0/8"] }`, []string{
			`{"allowed_policies":"admins"}`, `{"allowed_policies":"ADMINS"}`, `{"allowed_policies":[" admins"]}`,
			`{"allowed_policies":["x","Admins\t"]}`, `{"allowed_policies":"x, ADMINS"}`,
			`{"orphan":true}`, `{"orphan":"true"}`, `{"orphan":1}`, `{"orphan":"T"}`,
			`{"token_num_uses":5}`, `{"token_num_uses":"5"}`, `{"token_num_uses":"05"}`, `{"token_num_uses":"0x5"}`,
			`{"token_explicit_max_ttl":"1h"}`, `{"token_explicit_max_ttl":3600}`, `{"token_explicit_max_ttl":"60m"}`,
			`{"explicit_max_ttl":"3600s"}`, `{"token_bound_cidrs":"10.1.2.3/8"}`, `{"bound_cidrs":["10.0.0.0/8"]}`,
		}, []string{
			`{"allowed_policies":"adminsx"}`, `{"orphan":false}`, `{"token_num_uses":6}`, `{"explicit_max_ttl":"2h"}`,
			`{"token_bound_cidrs":"10.0.0.0/9"}`,
		}},
		{"auth/token/roles/r", `denied_parameters = { "orphan" = ["true"], "token_num_uses" = ["5"] }`, []string{
			`{"orphan":true}`, `{"orphan":"1"}`, `{"token_num_uses":5}`, `{"token_num_uses":"0b101"}`,
		}, []string{`{"orphan":"false"}`, `{"token_num_uses":"50"}`}},
		{"auth/token/roles/r", `allowed_parameters = { "allowed_policies" = ["dev*"], "orphan" = ["false"], "token_num_uses" = [5],
			"token_period" = ["1h"] }`, []string{
			`{"allowed_policies":"admins"}`, `{"allowed_policies":["dev","admins"]}`, `{"allowed_policies":"dev,admins"}`,
			`{"orphan":true}`, `{"orphan":"1"}`, `{"token_num_uses":50}`, `{"token_period":"2h"}`,
		}, []string{
			`{"allowed_policies":" DEV-1"}`, `{"allowed_policies":[]}`, `{"orphan":0}`, `{"orphan":"False"}`, `{"token_num_uses":"5"}`,
			`{"token_period":3600}`,
		}},
		{"auth/token/roles/r", `allowed_parameters = { "token_period" = ["1h"], "*" = [] }`,
			[]string{`{"period":"2h"}`, `{"token_period":"2h"}`}, []string{`{"period":"60m"}`, `{"orphan":true}`}},
		{"auth/token/create", `denied_parameters = { "policies" = ["admins"], "ttl" = ["1h"] }`, []string{
			`{"policies":["ADMINS"]}`, `{"policies":"\u00a0admins"}`, `{"ttl":"60m"}`, `{"lease":3600}`,
		}, []string{`{"ttl":"2h"}`}},
		{"auth/userpass/users/task/policies", `denied_parameters = { "token_policies" = ["admins"] }`, []string{
			`{"policies":"admins"}`, `{"token_policies":"x,ADMINS"}`,
		}, []string{`{"policies":"x"}`}},
		{"auth/approle/role/task/policies", `denied_parameters = { "token_policies" = ["admins"] }`, []string{
			`{"token_policies":["Admins"]}`,
		}, []string{`{"token_policies":"x"}`}},
		{"identity/entity", `denied_parameters = { "name" = ["boss"], "policies" = ["admins"], "disabled" = [false] }`, []string{
			`{"name":"BOSS"}`, `{"policies":["Admins "]}`, `{"disabled":"f"}`, `{"disabled":0}`,
		}, []string{`{"name":"boss2","disabled":"t"}`}},
		{"secret/data/x", `allowed_parameters = { "data" = [{ "k" = "v" }], "options" = [{ "cas" = 0 }] }`, []string{
			`{"data":{"k":"w"}}`, `{"data":{"k":"v","l":"w"}}`, `{"data":[{"k":"w"}]}`, `{"data":{"k":"v"},"options":{"cas":1}}`, `{"x":1}`,
		}, []string{`{"data":{"k":"v"},"options":{"cas":0}}`, `{"data":[{"k":"v"}]}`}},
		{"secret/data/y", `denied_parameters = { "data" = [{ "k" = "v" }] }`, []string{`{"data":{"k":"v"}}`, `{"data":[{"k":"v"}]}`},
			[]string{`{"data":{"k":"w"}}`}},
		{"sys/remount", `denied_parameters = { "from" = ["plain"], "to" = ["prod"] }`, []string{
			`{"from":"plain"}`, `{"from":"plain/"}`, `{"from":"/plain"}`, `{"from":"/plain//"}`, `{"from":"x","to":"prod/"}`,
		}, nil},
		{"sys/policies/acl/zz", `denied_parameters = { "policy" = ["*sudo*"] }`, []string{
			`{"policy":"path \"x\" { capabilities = [\"sudo\"] }"}`,
			`{"policy":"cGF0aCAieCIgeyBjYXBhYmlsaXRpZXMgPSBbInN1ZG8iXSB9"}`,
		}, []string{`{"policy":"path \"x\" { capabilities = [\"read\"] }"}`}},
		{"auth/approle/role/task/secret-id", `denied_parameters = { "metadata" = ["{\"role\":\"admin\"}"] }`, []string{
			`{"metadata":"{\"role\":\"admin\"}"}`, `{"metadata":"{\"role\": \"admin\"}"}`, `{"metadata":"role=admin"}`,
			`{"metadata":"{\"role\":\"\\u0061dmin\"}"}`, `{"metadata":" role = admin ,,"}`, `{"metadata":"cm9sZT1hZG1pbg=="}`,
			`{"metadata":"eyJyb2xlIjoiYWRtaW4ifQ=="}`,
		}, []string{`{"metadata":"role=user"}`}},
		{"auth/approle/role/task/secret-id", `denied_parameters = { "metadata" = ["*admin*"] }`, []string{
			`{"metadata":"role=admin"}`, `{"metadata":"cm9sZT1hZG1pbg=="}`, `{"metadata":"{\"role\":\"\\u0061dmin\"}"}`,
		}, []string{`{"metadata":"role=user"}`}},
		{"auth/approle/role/task", `denied_parameters = { "token_type" = ["batch"] }`, []string{
			`{"token_type":"batch"}`, `{"token_type":"default-batch"}`,
		}, []string{`{"token_type":"default-service"}`, `{"token_type":"default"}`}},
		{"auth/ldap/config", `denied_parameters = { "url" = ["ldap://evil"], "userattr" = ["cn"] }`, []string{
			`{"url":"ldap://evil"}`, `{"url":"LDAP://Evil"}`, `{"url":"ldap://evil:389"}`, `{"url":"ldap://evil:"}`, `{"url":"ldap://evil/"}`,
			`{"url":"ldap://evil?x"}`, `{"url":"ldap://good,, LDAP://evil"}`, `{"userattr":"CN"}`,
		}, []string{`{"url":"ldap://good"}`, `{"url":"ldaps://evil"}`, `{"url":"ldap://evil:390"}`, `{"userattr":"uid"}`}},
		{"auth/ldap/config", `allowed_parameters = { "url" = ["ldaps://dc*", "*.corp.example", "ldap://one:389"] }`, []string{
			`{"url":"ldap://evil"}`, `{"url":"ldap://evil,ldaps://dc1"}`, `{"url":"ldap://evil/x.corp.example"}`,
			`{"url":"ldap://evil?.corp.example"}`, `{"url":"ldaps://dc1,ldap://evil"}`, `{"url":"ldap://dc1@evil"}`,
			`{"url":"ldaps://dc@evil"}`, `{"url":","}`,
		}, []string{`{"url":"ldaps://DC1"}`, `{"url":"ldap://x.corp.example:389/,ldap://one"}`}},
		{"identity/oidc/role/task", `denied_parameters = { "template" = ["*groups*"] }`, []string{
			`{"template":"{\"g\":{{identity.entity.groups.names}}}"}`,
			`{"template":"eyJnIjp7e2lkZW50aXR5LmVudGl0eS5ncm91cHMubmFtZXN9fX0="}`,
		}, []string{`{"key":"task","template":"{\"i\":{{identity.entity.id}}}"}`}},
		{"sys/mounts/another", `denied_parameters = { "type" = ["kv"] }`, []string{
			`{"type":"kv"}`, `{"type":"plugin","plugin_name":"kv"}`,
		}, nil},
		{"auth/ldap/users/task", `denied_parameters = { "groups" = ["ÄRZTE"] }`, []string{
			`{"groups":"ÄRZTE"}`, `{"groups":"ärzte"}`, `{"groups":["x"," Ärzte"]}`,
		}, []string{`{"groups":"arzte"}`}},
		{"auth/ldap/users/task", `allowed_parameters = { "groups" = ["ops", "dev*"] }`, []string{
			`{"groups":"OPS"}`, `{"groups":["ops","Dev"]}`, // other groups with case_sensitive_names
		}, []string{`{"groups":"ops"}`, `{"groups":"dev-1,ops"}`, `{"groups":[]}`}},
		{"secret/config", `denied_parameters = { "cas_required" = [false], "max_versions" = [0] }`, []string{
			`{"cas_required":false}`, `{"cas_required":0}`, `{"cas_required":null}`, `{"max_versions":null}`,
		}, []string{`{"cas_required":true}`, `{"max_versions":3}`}},
		{"secret/metadata/task", `denied_parameters = { "custom_metadata" = [{}] }`, []string{
			`{"custom_metadata":{}}`, `{"custom_metadata":null}`,
		}, []string{`{"custom_metadata":{"a":"b"}}`}},
		{"auth/userpass/users/task", `denied_parameters = { "token_bound_cidrs" = ["0.0.0.0/0"] }`, []string{
			`{"token_bound_cidrs":"1.2.3.4/0"}`, `{"token_bound_cidrs":["","1.2.3.4/0"]}`,
		}, []string{`{"token_bound_cidrs":"1.2.3.4/8"}`}},
		{"auth/userpass/users/task", `allowed_parameters = { "token_bound_cidrs" = ["10.0.0.0/8"] }`, []string{
			`{"token_bound_cidrs":","}`, `{"token_bound_cidrs":" "}`,
		}, []string{`{"token_bound_cidrs":"10.0.0.0/8"}`, `{"token_bound_cidrs":[]}`}},
		{"sys/mounts/plain/tune", `denied_parameters = { "max_lease_ttl" = ["0"] }`, []string{
			`{"max_lease_ttl":"0"}`, `{"max_lease_ttl":"system"}`, `{"max_lease_ttl":"500ms"}`, `{"max_lease_ttl":""}`,
		}, []string{`{"max_lease_ttl":"1h"}`}},
		{"auth/token/create", `denied_parameters = { "policies" = ["1"] }`, []string{
			`{"policies":[true]}`, `{"policies":true}`, `{"policies":1}`,
		}, nil},
		{"plain/x", `denied_parameters = { "k" = ["a", true, 5] }`, []string{`{"k":"a"}`, `{"k":true}`, `{"k":5}`},
			[]string{`{"k":"A"}`, `{"k":"true"}`, `{"k":"5"}`}}, // kept as they are sent
	} {
		h.policy(t, fmt.Sprintf("path %q {\n capabilities = [\"create\", \"update\"]\n %s\n}", tc.path, tc.rule))
		for _, body := range tc.refused {
			if w := h.send(t, "PUT", "/v1/"+tc.path, token, body); w.Code != http.StatusForbidden {
				t.Errorf("%s with %s: %s is answered %d %s", tc.path, tc.rule, body, w.Code, w.Body)
			}
		}
		for _, body := range tc.served {
			if w := h.send(t, "PUT", "/v1/"+tc.path, token, body); w.Code >= http.StatusMultipleChoices {
				t.Errorf("%s with %s: %s is answered %d %s", tc.path, tc.rule, body, w.Code, w.Body)
			}
		}
	}
}

// TestThePathGoesBeforeTheBody names one thing in the path and another in the body: what is allowed in the path is what
// is done.
func TestThePathGoesBeforeTheBody(t *testing.T) {
	h := newFullHouse(t)
	before := h.everyName(t)
	for _, path := range []string{
		"auth/userpass/users/other", "auth/approle/role/other", "auth/approle/role/other/policies", "auth/jwt/role/other",
		"auth/kubernetes/role/other", "auth/ldap/users/other", "auth/ldap/groups/other", "auth/token/roles/other",
		"sys/policies/acl/other", "sys/policy/other", "sys/mounts/other", "sys/mounts/other/tune", "sys/auth/other",
		"identity/entity/name/other", "identity/group/name/other", "identity/oidc/key/other", "identity/oidc/role/other",
		"identity/mfa/login-enforcement/other", "sys/config/auditing/request-headers/other", "sys/config/ui/headers/other",
		"plain/other", "secret/data/other", "secret/metadata/other", "sys/leases/renew/other", "sys/leases/revoke/other",
		"sys/leases/revoke-prefix/other", "sys/renew/other", "sys/revoke/other",
	} {
		body := strings.TrimSuffix(eager, "}") + `,"name":"task","path":"task","username":"task","role_name":"task","role":"task",
			"header":"task","lease_id":"task","url_lease_id":"task","prefix":"task","mount":"task","id":"task"}`
		h.send(t, "PUT", "/v1/"+path, h.root, body)
	}
	after := h.everyName(t)
	delete(before, "sys/audit") // shows the same, in another order
	for path, was := range before {
		if after[path] != was {
			t.Errorf("%s was\n%s and is\n%s", path, was, after[path])
		}
	}
}
