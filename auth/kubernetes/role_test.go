package kubernetes

import (
	"crypto/rsa"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
)

// step is a request and its answer, as the stock plugin gave it.
type step struct {
	op   engines.Operation
	path string
	body object
	want string
}

func (m *mount) play(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		if got := m.do(t, s.op, s.path, s.body); got != s.want {
			t.Errorf("%v %s %v\n got %s\nwant %s", s.op, s.path, s.body, got, s.want)
		}
	}
}

const (
	write = engines.Update
	read  = engines.Read
)

const noAudience = `200 warnings ["Role x does not have an audience configured. While audiences are not required, ` +
	`consider specifying one if your use case would benefit from additional JWT claim verification."]`

// bound is a role's body that binds one ServiceAccount, with more of it.
func bound(more object) object {
	body := object{"bound_service_account_names": "eso", "bound_service_account_namespaces": "prod", "audience": "vault"}
	for name, value := range more {
		if body[name] = value; value == nil {
			delete(body, name)
		}
	}
	return body
}

const noTokens = `"token_bound_cidrs":[],"token_explicit_max_ttl":0,"token_max_ttl":0,"token_no_default_policy":false,` +
	`"token_num_uses":0,"token_period":0,"token_policies":[],"token_ttl":0,"token_type":"default"}`

func TestRoles(t *testing.T) {
	for name, steps := range map[string][]step{
		"absent": {
			{engines.List, "role/", nil, "404"},
			{read, "role/x", nil, "404"},
			{engines.Delete, "role/x", nil, "204"},
			{read, "role", nil, "405 unsupported operation"},
			{write, "role/bad!", bound(nil), "404 unsupported path"},
			{write, "role/a/b", bound(nil), "404 unsupported path"},
		},
		"defaults": {
			{write, "role/X", bound(nil), "204"},
			{engines.List, "role/", nil, `200 {"keys":["x"]}`},
			{read, "role/x", nil, `200 {"alias_name_source":"serviceaccount_uid","audience":"vault",` +
				`"bound_service_account_names":["eso"],"bound_service_account_namespace_selector":"",` +
				`"bound_service_account_namespaces":["prod"],` + noTokens},
			{engines.Delete, "role/X", nil, "204"},
			{read, "role/x", nil, "404"},
		},
		"audience": {
			{write, "role/x", bound(object{"audience": nil}), noAudience},
			{write, "role/x", object{"audience": " "}, noAudience},
			{write, "role/x", object{"audience": "a"}, "204"},
			{write, "role/x", object{"audience": ""}, noAudience},
			{read, "role/x", nil, `200 {"alias_name_source":"serviceaccount_uid",` +
				`"bound_service_account_names":["eso"],"bound_service_account_namespace_selector":"",` +
				`"bound_service_account_namespaces":["prod"],` + noTokens},
		},
		"bindings": {
			{write, "role/x", object{}, `400 "bound_service_account_names" can not be empty`},
			{write, "role/x", bound(object{"bound_service_account_namespaces": nil}),
				`400 "bound_service_account_namespaces" can not be empty if "bound_service_account_namespace_selector" is not set`},
			{write, "role/x", bound(object{"bound_service_account_names": "*,a"}), `400 can not mix "*" with values`},
			{write, "role/x", bound(object{"bound_service_account_namespaces": []any{"a", "*"}}), `400 can not mix "*" with values`},
			{write, "role/x", bound(object{"alias_name_source": "nope"}),
				"400 invalid alias_name_source, must be one of: serviceaccount_uid, serviceaccount_name"},
			{read, "role/x", nil, "404"},
		},
		"alias": {
			{write, "role/x", bound(object{"alias_name_source": ""}), "204"},
			{write, "role/x", object{"alias_name_source": ""},
				"400 invalid alias_name_source, must be one of: serviceaccount_uid, serviceaccount_name"},
			{write, "role/x", object{"alias_name_source": "serviceaccount_name"}, "204"},
		},
		"selector": {
			{write, "role/x", bound(object{"bound_service_account_namespaces": nil,
				"bound_service_account_namespace_selector": `{"matchLabels":{"team":"a"}}`}), "204"},
			{read, "role/x", nil, `200 {"alias_name_source":"serviceaccount_uid","audience":"vault",` +
				`"bound_service_account_names":["eso"],"bound_service_account_namespace_selector":"{\"matchLabels\":{\"team\":\"a\"}}",` +
				`"bound_service_account_namespaces":null,` + noTokens},
			// It is not kept when it is not sent again.
			{write, "role/x", object{"token_ttl": "5m"},
				`400 "bound_service_account_namespaces" can not be empty if "bound_service_account_namespace_selector" is not set`},
		},
		"token settings": {
			{write, "role/x", bound(object{"token_period": "9000h"}),
				`400 token period of '"9000h0m0s"' is greater than the backend's maximum lease TTL of '"768h0m0s"'`},
			{write, "role/x", bound(object{"token_max_ttl": "9000h"}), `200 warnings ["max_ttl is greater than the system or ` +
				`backend mount's maximum TTL value; issued tokens' max TTL value will be truncated"]`},
			{write, "role/x", bound(object{"token_max_ttl": "1h", "token_ttl": "2h"}),
				"400 'token_ttl' cannot be greater than 'token_max_ttl'"},
			{engines.Delete, "role/x", nil, "204"},
			{write, "role/x", bound(object{"max_ttl": "1h", "ttl": "2h"}),
				"400 token ttl should not be greater than token max ttl"},
			{engines.Delete, "role/x", nil, "204"},
			{write, "role/x", bound(object{"policies": "a,B", "ttl": "1h", "max_ttl": "7200", "num_uses": "3",
				"bound_cidrs": "10.0.0.0/8"}), "204"},
			{write, "role/x", object{"token_policies": "c", "bound_service_account_namespaces": "q,r"}, "204"},
			{read, "role/x", nil, `200 {"alias_name_source":"serviceaccount_uid","audience":"vault","bound_cidrs":["10.0.0.0/8"],` +
				`"bound_service_account_names":["eso"],"bound_service_account_namespace_selector":"",` +
				`"bound_service_account_namespaces":["q","r"],"max_ttl":7200,"num_uses":3,"token_bound_cidrs":["10.0.0.0/8"],` +
				`"token_explicit_max_ttl":0,"token_max_ttl":7200,"token_no_default_policy":false,"token_num_uses":3,` +
				`"token_period":0,"token_policies":["c"],"token_ttl":3600,"token_type":"default","ttl":3600}`},
		},
	} {
		t.Run(name, func(t *testing.T) { newMount(t).play(t, steps) })
	}
}

// TestSelectors: a selector that lost its labels would let everybody in.
func TestSelectors(t *testing.T) {
	const invalid = `400 invalid "bound_service_account_namespace_selector" configured`
	for text, want := range map[string]string{
		`{"matchLabels":{"a":"b"}}`: "204",
		"matchLabels:\n  a: b":      "204",
		`{}`:                        "204",
		`nonsense`:                  invalid,
		`null`:                      invalid,
		` `:                         invalid,
		`[]`:                        invalid,
		`{"matchLabel":{"a":"b"}}`:  invalid,
		`{"matchLabels":{"a":{}}}`:  invalid,
		`{"matchExpressions":[{"key":"a","operator":"Exists"}]}`: invalid,
		"matchLabels:\n  a: b\nmatchLabels: {}":                  invalid,
	} {
		m := newMount(t)
		got := m.do(t, write, "role/x", bound(object{"bound_service_account_namespace_selector": text}))
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	a := newAPI(t)
	key := keyPEM(t, &newKey(t).PublicKey)
	m := newMount(t)
	large := keyPEM(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8192, 1), E: 65537})
	const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
	m.play(t, []step{
		{read, "config", nil, "404"},
		{write, "config", object{}, "400 no host provided"},
		{write, "config", object{"kubernetes_host": "h", "kubernetes_ca_cert": "bad"},
			"400 The provided CA PEM data contains no valid certificates"},
		{write, "config", object{"kubernetes_host": "h", "pem_keys": "bad", "disable_local_ca_jwt": true},
			"400 data does not contain any valid RSA or ECDSA public keys"},
		{write, "config", object{"kubernetes_host": "h", "pem_keys": []any{broken}, "disable_local_ca_jwt": true},
			"400 x509: malformed certificate"},
		{write, "config", object{"kubernetes_host": "h", "pem_keys": large, "disable_local_ca_jwt": true},
			"400 RSA keys of more than 8192 bits are not supported"},
		{write, "config", object{"kubernetes_host": "ftp://h", "disable_local_ca_jwt": true},
			"400 kubernetes_host is not a host, a host:port pair or a URL"},
		{write, "config", object{"kubernetes_host": "https://user:word@h", "disable_local_ca_jwt": true},
			"400 kubernetes_host is not a host, a host:port pair or a URL"},
		{read, "config", nil, "404"},
		{write, "config", object{"kubernetes_host": "h", "disable_local_ca_jwt": true}, "204"},
		{write, "config", object{"kubernetes_host": "10.0.0.1:6443", "kubernetes_ca_cert": broken, "token_reviewer_jwt": reviewer,
			"issuer": "i", "disable_iss_validation": false, "disable_local_ca_jwt": true, "pem_keys": key,
			"use_annotations_as_alias_metadata": true}, "204"},
		{read, "config", nil, `200 {"disable_iss_validation":false,"disable_local_ca_jwt":true,"issuer":"i",` +
			`"kubernetes_ca_cert":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",` +
			`"kubernetes_host":"10.0.0.1:6443","pem_keys":["` + strings.ReplaceAll(strings.TrimSpace(key), "\n", `\n`) + `"],` +
			`"token_reviewer_jwt_set":true,"use_annotations_as_alias_metadata":true}`},
		// What is not sent gets its default.
		{write, "config", object{"kubernetes_host": a.URL, "kubernetes_ca_cert": a.ca()}, "204"},
		{read, "config", nil, `200 {"disable_iss_validation":true,"disable_local_ca_jwt":false,"issuer":"",` +
			`"kubernetes_ca_cert":"` + strings.ReplaceAll(a.ca(), "\n", `\n`) + `","kubernetes_host":"` + a.URL + `",` +
			`"pem_keys":[],"token_reviewer_jwt_set":false,"use_annotations_as_alias_metadata":false}`},
		{engines.Delete, "config", nil, "405 unsupported operation"},
	})
}

// TestConfigSurvives: a mount that is opened again reads what the last one wrote.
func TestConfigSurvives(t *testing.T) {
	a := newAPI(t)
	m := configured(t, a, object{"token_reviewer_jwt": reviewer + "\n"})
	m.config.Store(nil)
	if got := m.login(t, "app", accepted(t, a)); got != loggedIn {
		t.Fatalf("got %q", got)
	}
	if diff := cmp.Diff([]string{"Bearer " + reviewer}, a.bearers); diff != "" {
		t.Errorf("bearers (-want +got):\n%s", diff)
	}
}

func TestHosts(t *testing.T) {
	for host, want := range map[string]string{
		"10.0.0.1":                      "https://10.0.0.1",
		"k8s:6443":                      "https://k8s:6443",
		"[::1]:6443":                    "https://[::1]:6443",
		" https://k8s/ ":                "https://k8s",
		"http://127.0.0.1:8001":         "http://127.0.0.1:8001",
		"https://rancher/k8s/clusters/": "https://rancher/k8s/clusters",
		"https://":                      "",
		"a b":                           "",
		"unix:///x":                     "",
	} {
		u, err := apiURL(host)
		if err != nil {
			if want != "" {
				t.Errorf("%q: %v", host, err)
			}
			continue
		}
		if u.String() != want {
			t.Errorf("%q: %s, want %q", host, u, want)
		}
	}
}

func TestRenewal(t *testing.T) {
	m := newMount(t)
	m.must(t, "role/x", bound(object{"token_ttl": "10m"}))
	renewal := &engines.Renewal{Holder: &engines.Caller{}, Internal: object{"role": "X"}}
	renew := func() string {
		login, err := m.RenewLogin(t.Context(), renewal)
		if err != nil {
			return line(nil, err)
		}
		return strings.Join([]string{login.TTL.String(), login.MaxTTL.String(), login.Period.String()}, " ")
	}
	for _, s := range []struct {
		body object
		want string
	}{
		{object{}, "10m0s 0s 0s"},
		{object{"token_ttl": "20m", "token_max_ttl": "1h"}, "20m0s 1h0m0s 0s"},
		{object{"token_period": "5m"}, "20m0s 1h0m0s 5m0s"},
		{object{"token_ttl": "0", "token_max_ttl": "0", "token_period": "0"}, (768 * time.Hour).String() + " 0s 0s"},
	} {
		m.must(t, "role/x", s.body)
		if got := renew(); got != s.want {
			t.Errorf("after %v: %s, want %s", s.body, got, s.want)
		}
	}
	m.do(t, engines.Delete, "role/x", nil)
	if got, want := renew(), "500 role X does not exist during renewal"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	renewal.Internal = nil
	if got, want := renew(), "500 role  does not exist during renewal"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
