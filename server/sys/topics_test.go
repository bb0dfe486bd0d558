package sys_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
	"coffer/server/sys"
	"coffer/storage"
)

func TestPolicies(t *testing.T) {
	const text = `path \"x\" { capabilities = [\"read\"] }`
	b := newBench(t)
	b.run([]step{
		{`GET policy`, `{"keys":["default","root"],"policies":["default","root"]} | flat`},
		{`LIST policy`, `{"keys":["default","root"],"policies":["default","root"]} | flat`},
		{`GET policy/`, `{"keys":["default","root"],"policies":["default","root"]} | flat`},
		{`LIST policies/acl`, `{"keys":["default","root"]}`},
		{`GET policies/acl`, `405`},
		{`GET policies/acl/`, `405`},
		{`LIST policies/acl/a`, `405`},
		{`GET policies`, `404 path`},
		{`LIST policies`, `404 path`},
		{`POST policies/acl/a {"policy":"` + text + `","bogus":1}`, `204`},
		{`GET policies/acl/a`, `{"name":"a","policy":"` + text + `"}`},
		{`GET policy/A`, `{"name":"a","rules":"` + text + `"} | flat`},
		{`GET policies/acl/a/`, `{"name":"a","policy":"` + text + `"}`},
		{`POST policy/UPPER {"policy":"` + text + `"}`, `warning: policy name was converted to upper`},
		{`POST policies/acl/x/y {"policy":"` + text + `"}`, `204`},
		{`POST policy/old {"rules":"` + text + `"}`, `warning: 'rules' is deprecated, please use 'policy' instead`},
		{`POST policies/acl/b64 {"policy":"cGF0aCAieCIge2NhcGFiaWxpdGllcz1bInJlYWQiXX0="}`, `204`},
		{`GET policies/acl/b64`, `{"name":"b64","policy":"path \"x\" {capabilities=[\"read\"]}"}`},
		{`LIST policies/acl`, `{"keys":["a","b64","default","old","upper","x/y","root"]}`},
		{`GET policy/root`, `{"name":"root","rules":""} | flat`},
		{`GET policies/acl/nope`, `404`},
		{`DELETE policy/nope`, `204`},
		{`DELETE policy/Upper`, `204`},
		{`GET policy/upper`, `404`},
	})
}

func TestPoliciesThatAreRefused(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`POST policies/acl/a {}`, `400 'policy' parameter not supplied or empty`},
		{`POST policies/acl/a {"policy":""}`, `400 'policy' parameter not supplied or empty`},
		{`POST policies/acl/a {"rules":"path \"x\" {}"}`, `400 'policy' parameter not supplied or empty`},
		{`POST policies/acl/a {"policy":"path \"x\" {foo=1}"}`, "400 failed to parse policy: 1 error occurred:\n\t* path \"x\": invalid key \"foo\" on line 1\n\n"},
		{`POST policies/acl/root {"policy":"path \"x\" {}"}`, `400 cannot update "root" policy`},
		{`POST policy/ROOT {"policy":"path \"x\" {}"}`, `400 cannot update "root" policy`},
		{`DELETE policies/acl/root`, `400 cannot delete "root" policy`},
		{`DELETE policy/Default`, `400 cannot delete default policy`},
		{`POST policies/acl/response-wrapping {"policy":"path \"x\" {}"}`, `400 cannot update "response-wrapping" policy`},
		{`DELETE policies/acl/control-group`, `400 cannot delete "control-group" policy`},
		{`POST policies/acl/../a {"policy":"path \"x\" {}"}`, `400 relative paths not supported`},
		{`LIST policies/acl`, `{"keys":["default","root"]}`},
	})
}

func TestCapabilities(t *testing.T) {
	b := newBench(t)
	b.acls.tokens["t-app"] = []string{"app", "default"}
	b.run([]step{
		{`POST policy/app {"policy":"path \"x\" { capabilities = [\"update\", \"read\"] }"}`, `204`},
		{`POST capabilities-self {"path":"x"}`, `{"capabilities":["root"],"x":["root"]} | flat`},
		{`@app POST capabilities-self {"paths":["x","y","/x"]}`, `{"/x":["read","update"],"x":["read","update"],"y":["deny"]} | flat`},
		{`@app POST capabilities-self {"paths":"x,y"}`, `{"x":["read","update"],"y":["deny"]} | flat`},
		{`@app POST capabilities-self {"paths":["x","x"]}`, `{"x":["read","update"]} | flat`},
		{`POST capabilities-self {}`, `400 paths must be supplied`},
		{`POST capabilities-self {"paths":[]}`, `400 paths must be supplied`},
		{`POST capabilities-self {"paths":[""]}`, "400 1 error occurred:\n\t* missing path\n\n"},
		{`POST capabilities-self {"paths":["x"],"bogus":1}`,
			`{"capabilities":["root"],"x":["root"]} | warning: Endpoint ignored these unrecognized parameters: [bogus] | flat`},
		{`GET capabilities-self`, `405`},
		{`- POST capabilities-self {"paths":["x"]}`, `403 permission denied`},
		{`POST capabilities {"paths":["x"],"token":"t-app"}`, `{"capabilities":["read","update"],"x":["read","update"]} | flat`},
		{`POST capabilities {"paths":["x"]}`, "500 1 error occurred:\n\t* no token found\n\n"},
		{`POST capabilities {"token":"t-app"}`, `400 paths must be supplied`},
		{`POST capabilities {"paths":["x"],"token":"bad"}`, "400 1 error occurred:\n\t* invalid token\n\n"},
		{`POST capabilities-accessor {"paths":["x"],"accessor":"app"}`, `{"capabilities":["read","update"],"x":["read","update"]} | flat`},
		{`POST capabilities-accessor {"paths":["x"],"accessor":"bad"}`, "400 1 error occurred:\n\t* invalid accessor\n\n"},
		{`POST capabilities-accessor {"paths":["x"]}`, `400 missing accessor`},
		{`POST capabilities-accessor {"accessor":"app"}`, `400 paths must be supplied`},
	})
}

func TestKeys(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`GET key-status`, `{"encryptions":7,"install_time":"2026-05-04T10:00:00Z","term":1} | flat`},
		{`POST rotate`, `204`},
		{`GET key-status`, `{"encryptions":0,"install_time":"2026-05-04T10:00:00Z","term":2} | flat`},
		{`GET rotate`, `405`},
		{`GET rotate/config`, `{"enabled":true,"interval":0,"max_operations":3865470566}`},
		{`POST rotate/config {"max_operations":1}`, `400 max_operations must be in the range [1000000,3865470566]`},
		{`POST rotate/config {"max_operations":99999999999}`, `400 max_operations must be in the range [1000000,3865470566]`},
		{`POST rotate/config {"interval":"1h"}`, `400 interval must be greater or equal to 24h0m0s`},
		{`POST rotate/config {"interval":"48h"}`, `204`},
		{`POST rotate/config {"max_operations":2000000}`, `204`},
		{`GET rotate/config`, `{"enabled":true,"interval":"48h0m0s","max_operations":2000000}`},
		{`POST rotate/config {"enabled":false,"interval":0}`, `204`},
		{`GET rotate/config`, `{"enabled":false,"interval":0,"max_operations":2000000}`},
	})
}

func TestLeases(t *testing.T) {
	const started = `status 202 | warning: Tidy operation successfully started. Any information from the operation will be printed to Vault's server logs.`
	b := newBench(t)
	b.run([]step{
		{`POST leases/lookup {"lease_id":"db/creds/app/l1"}`, `{"expire_time":"2026-05-04T11:00:00Z","id":"db/creds/app/l1",` +
			`"issue_time":"2026-05-04T09:59:00Z","last_renewal":null,"renewable":true,"ttl":3600}`},
		{`POST leases/lookup {"lease_id":"nope"}`, `400 invalid lease`},
		{`POST leases/lookup {"lease_id":"/nope/"}`, `400 invalid lease`},
		{`POST leases/lookup {}`, `400 lease_id must be specified`},
		{`GET leases/lookup`, `405`},
		{`LIST leases/lookup`, `{"keys":["auth/","db/"]}`},
		{`LIST leases/lookup/db/creds/app`, `{"keys":["l1"]}`},
		{`LIST leases/lookup/nope`, `404`},
		{`POST leases/renew {"lease_id":"db/creds/app/l1","increment":"10m"}`, `lease db/creds/app/l1 10m0s`},
		{`POST renew/db/creds/app/l1`, `lease db/creds/app/l1 1h0m0s`},
		{`POST leases/renew/x {"lease_id":"db/creds/app/l1"}`, `400 lease not found`},
		{`POST leases/renew {}`, `400 lease_id must be specified`},
		{`POST leases/renew {"lease_id":"nope"}`, `400 lease not found`},
		{`POST sys/renew`, `404 path`},
		{`POST leases/renew {"lease_id":"auth/token/create/h1"}`, `400 tokens cannot be renewed through this endpoint`},
		{`POST leases/revoke {}`, `400 lease_id must be specified`},
		{`POST leases/revoke {"lease_id":"//"}`, `204`},
		{`POST leases/revoke {"lease_id":"a","sync":true}`, `204`},
		{`POST revoke/b`, `204`},
		{`POST revoke/b {"sync":false}`, ` | status 202`},
		{`POST leases/revoke-prefix/c/d`, `204`},
		{`POST leases/revoke-prefix/c/d {"sync":false}`, ` | status 202`},
		{`POST revoke-prefix/c/d {"sync":true}`, `204`},
		{`POST leases/revoke-force/e`, `204`},
		{`POST leases/revoke-prefix`, `404 path`},
		{`POST leases/tidy`, started},
		{`GET leases`, `404`},
		{`GET leases {"type":"irrevocable"}`, `{"lease_count":1,"leases":[{"error":"refused","lease_id":"db/creds/app/stuck"}]}`},
		{`GET leases {"type":"irrevocable","limit":"x"}`, "500 1 error occurred:\n\t* invalid 'limit' provided: strconv.Atoi: parsing \"x\": invalid syntax\n\n"},
		{`GET leases/count {"type":"irrevocable"}`, `{"counts":{},"lease_count":1}`},
		{`GET leases/count`, `404`},
		{`LIST leases`, `404 path`},
	})
	want := []string{"revoke a", "revoke b", "later b", "prefix c/d", "prefix later c/d", "prefix c/d", "force e", "tidy"}
	if diff := cmp.Diff(want, b.leases.calls); diff != "" {
		t.Errorf("calls: -want +got\n%s", diff)
	}
}

func TestWrapping(t *testing.T) {
	const held = `{"data":{"a":1}}`
	const lookup = `{"creation_path":"sys/wrapping/wrap","creation_time":"2026-05-04T10:00:00Z","creation_ttl":60}`
	const invalid = `400 wrapping token is not valid or does not exist`
	b := newBench(t)
	b.acls.tokens["t-none"] = []string{"nothing"}
	for _, name := range []string{"t-1", "t-2", "t-3", "t-4", "t-5"} {
		b.wrapping.held[name] = held
	}
	// A wrapping token in the header is authenticated like any other.
	b.acls.tokens["t-2"], b.acls.tokens["t-3"] = []string{"response-wrapping"}, []string{"response-wrapping"}
	b.run([]step{
		{`POST wrapping/wrap {"a":1}`, `400 endpoint requires response wrapping to be used`},
		{`- POST wrapping/wrap {"a":1}`, `403 permission denied`},
		{`- POST wrapping/lookup {"token":"t-1"}`, lookup},
		{`@2 GET wrapping/lookup`, lookup},
		{`- POST wrapping/lookup`, `403 error validating wrapping token: token is empty`},
		{`- POST wrapping/lookup {"token":""}`, `403 error validating wrapping token: empty token in request body`},
		{`POST wrapping/lookup`, invalid},
		{`@bad POST wrapping/unwrap`, invalid},
		{`POST wrapping/unwrap {"token":"bad"}`, invalid},
		{`- POST wrapping/unwrap`, `403 error validating wrapping token: token is empty`},

		// Whoever asks with a token of his own needs a policy, and a refusal leaves the wrapping token usable.
		{`- POST wrapping/unwrap {"token":"t-1"}`, `403 permission denied`},
		{`@bad POST wrapping/unwrap {"token":"t-1"}`, "403 2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"},
		{`@none POST wrapping/unwrap {"token":"t-1"}`, "403 1 error occurred:\n\t* permission denied\n\n"},
		{`@none POST wrapping/rewrap {"token":"t-1"}`, "403 1 error occurred:\n\t* permission denied\n\n"},
		{`@default POST wrapping/unwrap {"token":"t-1"}`, held},
		{`@default POST wrapping/unwrap {"token":"t-1"}`, invalid},

		// The holder may unwrap; any other use is the last one.
		{`@2 POST wrapping/unwrap`, held},
		{`@2 POST wrapping/unwrap`, invalid},
		{`@3 POST wrapping/rewrap`, "403 1 error occurred:\n\t* permission denied\n\n"},
		{`@3 POST wrapping/unwrap`, invalid},

		{`- POST wrapping/rewrap {"token":"t-4"}`, `403 permission denied`},
		{`POST wrapping/rewrap {"token":"t-4"}`, `wrapped t-4-again`},
		{`POST wrapping/unwrap {"token":"t-4"}`, invalid},
		{`POST wrapping/unwrap {"token":"t-4-again","bogus":1}`, held},
		{`@5 POST wrapping/unwrap {"token":"t-5"}`, held},
	})
	r := parse(t, `POST wrapping/wrap {"a":1.50}`)
	r.wrap = time.Minute
	if got := answer(b.send(r)); got != `{"a":1.50}` {
		t.Errorf("wrap: %s", got)
	}
}

func TestAuditDevices(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`GET audit`, `{} | flat`},
		{`POST audit/f {"type":"bad"}`, `400 unknown backend type: "bad": invalid configuration`},
		{`POST audit/f {"type":"file","description":"d","options":{"file_path":"stdout"}}`, `204`},
		{`POST audit/f {"type":"file"}`, `400 path already in use: invalid configuration`},
		{`POST audit/f/x {"type":"file"}`, `400 path already in use: invalid configuration`},
		{`POST audit/a/b {"type":"file","local":true}`, `204`},
		{`GET audit`, `{"a/b/":{"description":"","local":true,"options":{},"path":"a/b/","type":"file"},` +
			`"f/":{"description":"d","local":false,"options":{"file_path":"stdout"},"path":"f/","type":"file"}} | flat`},
		{`GET audit/f`, `405`},
		{`LIST audit`, `404 path`},
		{`POST audit-hash/f {"input":"x"}`, `{"hash":"hmac-sha256:of-x"} | flat`},
		{`POST audit-hash/f {}`, `400 the "input" parameter is empty`},
		{`POST audit-hash/nope {"input":"x"}`, `400 unknown audit backend "nope/"`},
		{`DELETE audit/f`, `204`},
		{`DELETE audit/nope`, `204`},
		{`POST audit-hash/f {"input":"x"}`, `400 unknown audit backend "f/"`},
	})
}

func TestCORS(t *testing.T) {
	const usual = `"Content-Type","X-Requested-With","X-Vault-AWS-IAM-Server-ID","X-Vault-MFA","X-Vault-No-Request-Forwarding",` +
		`"X-Vault-Wrap-Format","X-Vault-Wrap-TTL","X-Vault-Policy-Override","Authorization","X-Vault-Token"`
	const enabled = `{"allowed_headers":[` + usual + `,"X-Foo"],"allowed_origins":["http://a.b"],"enabled":true} | flat`
	b := newBench(t)
	b.run([]step{
		{`GET config/cors`, `{"enabled":false} | flat`},
		{`POST config/cors {}`, "500 1 error occurred:\n\t* at least one origin or the wildcard must be provided\n\n"},
		{`POST config/cors {"allowed_origins":["*","http://a.b"]}`,
			"500 1 error occurred:\n\t* to allow all origins the '*' must be the only value for allowed_origins\n\n"},
		{`POST config/cors {"allowed_origins":"http://a.b","allowed_headers":"X-Foo"}`, `204`},
		{`GET config/cors`, enabled},
	})
	b.reopen()
	b.run([]step{{`GET config/cors`, enabled}, {`DELETE config/cors`, `204`}, {`GET config/cors`, `{"enabled":false} | flat`}})
}

// reopen opens the settings again, as after sealing.
func (b *bench) reopen() {
	b.t.Helper()
	settings, err := sys.OpenSettings(b.t.Context(), b.base, sys.VersionRecord{Version: "1.21.3", BuildDate: "later", Installed: now.Add(time.Hour)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.cfg.Settings = settings
	b.open()
}

func TestHeaders(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`GET config/auditing/request-headers`,
			`{"headers":{"correlation-id":{"hmac":false},"user-agent":{"hmac":false},"x-correlation-id":{"hmac":false}}} | flat`},
		{`POST config/auditing/request-headers/X-Foo {"hmac":true}`, `204`},
		{`POST config/auditing/request-headers/X-Vault-Token {"hmac":false}`,
			`400 the values of x-vault-token are secrets, which are audited with hmac=true only`},
		{`POST config/auditing/request-headers/AUTHORIZATION`,
			`400 the values of authorization are secrets, which are audited with hmac=true only`},
		{`POST config/auditing/request-headers/X-Vault-MFA {"hmac":"false"}`,
			`400 the values of x-vault-mfa are secrets, which are audited with hmac=true only`},
		{`POST config/auditing/request-headers/Cookie {"hmac":true}`, `204`},
		{`DELETE config/auditing/request-headers/Cookie`, `204`},
		{`GET config/auditing/request-headers/X-Foo`, `{"X-Foo":{"hmac":true}} | flat`},
		{`GET config/auditing/request-headers/x-foo`, `{"x-foo":{"hmac":true}} | flat`},
		{`DELETE config/auditing/request-headers/X-FOO`, `204`},
		{`DELETE config/auditing/request-headers/nope`, `204`},
		{`GET config/auditing/request-headers/X-Foo`, `400 Could not find header in config`},
		{`LIST config/ui/headers`, `404`},
		{`GET config/ui/headers`, `405`},
		{`POST config/ui/headers/x-foo {"values":["a","b"]}`, `status 200`},
		{`POST config/ui/headers/X-Bar {"values":"a, b"}`, `status 200`},
		{`GET config/ui/headers/X-Foo`, `{"value":"a"}`},
		{`GET config/ui/headers/x-foo {"multivalue":"true"}`, `{"values":["a","b"]}`},
		{`GET config/ui/headers/X-Bar`, `{"value":"a, b"}`},
		{`LIST config/ui/headers`, `{"keys":["X-Bar","X-Foo"]}`},
		{`POST config/ui/headers/X-Foo {}`, `400 header and values must be specified`},
		{`POST config/ui/headers/X-Foo {"values":"a\r\nSet-Cookie: x"}`, `400 header values cannot contain line breaks`},
		{`POST config/ui/headers/x-vault-foo {"values":"a"}`, `400 X-Vault headers cannot be set`},
		{`POST config/ui/headers/Content-Security-Policy {"values":"a"}`,
			`status 200 | warning: overriding default Content-Security-Policy which is secure by default, proceed with caution`},
		{`DELETE config/ui/headers/x-FOO`, `204`},
		{`GET config/ui/headers/X-Foo`, `404`},
	})
	for i := range 200 {
		if _, err := b.do(`POST config/auditing/request-headers/X-` + strings.Repeat("x", i+1)); err != nil {
			break
		}
	}
	if n := len(b.cfg.Settings.AuditHeaders()); n != 128 {
		t.Errorf("%d headers are kept; want the limit, 128", n)
	}
}

func TestTools(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`POST tools/hash {"input":"YWJj"}`, `{"sum":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}`},
		{`POST tools/hash {}`, `{"sum":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}`},
		{`POST tools/hash {"input":"YWJj","format":"base64"}`, `{"sum":"ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="}`},
		{`POST tools/hash/sha2-224 {"input":"YWJj","algorithm":"bad"}`, `{"sum":"23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"}`},
		{`POST tools/hash/sha3-256 {"input":"YWJj"}`, `{"sum":"3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"}`},
		{`POST tools/hash/sha3-224 {"input":"YWJj"}`, `{"sum":"e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf"}`},
		{`POST tools/hash {"input":"abc!"}`, `400 unable to decode input as base64: illegal base64 data at input byte 3`},
		{`POST tools/hash {"input":"YWJj","format":"bad"}`, `400 unsupported encoding format bad; must be "hex" or "base64"`},
		{`POST tools/hash {"input":"YWJj","algorithm":"bad"}`, `400 unsupported algorithm bad`},
		{`POST tools/random/bad/4`, `400 unsupported entropy source "bad"; must be "platform" or "seal", or "all"`},
		{`POST tools/random/bad`, `400 error parsing url-set byte count: strconv.Atoi: parsing "bad": invalid syntax`},
		{`POST tools/random {"format":"bad"}`, `400 unsupported encoding format "bad"; must be "hex" or "base64"`},
		{`POST tools/random {"bytes":0}`, `400 "bytes" cannot be less than 1`},
		{`POST tools/random {"bytes":131073}`, `400 "bytes" should be less than 131072`},
		{`POST tools/random/seal/131073`, `400 "bytes" should be less than 131072`},
		{`GET tools/random`, `405`},
	})
	const replaced = `warning: Endpoint replaced the value of these parameters with the values captured from the endpoint's path: `
	for line, want := range map[string]string{
		`POST tools/random {"source":"bad"}`:                       replaced + `[source]`,
		`POST tools/random {"source":"seal","urlbytes":"4"}`:       replaced + `[source urlbytes]`,
		`POST tools/random/4 {"source":"bad"}`:                     replaced + `[source]`,
		`POST tools/random/platform/4 {"source":"platform"}`:       replaced + `[source]`,
		`POST tools/hash {"urlalgorithm":"x"}`:                     replaced + `[urlalgorithm]`,
		`POST tools/hash/sha2-256 {"urlalgorithm":"x","input":""}`: replaced + `[urlalgorithm]`,
	} {
		if got := answer(b.do(line)); !strings.HasSuffix(got, want) || strings.Contains(got, "ignored") {
			t.Errorf("%s: %s; want %s", line, got, want)
		}
	}
	for line, length := range map[string]int{
		`POST tools/random`: 44, `POST tools/random {"bytes":4,"format":"hex"}`: 8, `POST tools/random/8 {"format":"hex"}`: 16,
		`POST tools/random/all/4 {"format":"hex"}`: 8, `POST tools/random/platform {"format":"hex"}`: 64,
		`POST tools/random {"bytes":131072,"format":"hex"}`: 262144,
	} {
		resp, err := b.do(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if text, _ := resp.Data["random_bytes"].(string); len(text) != length {
			t.Errorf("%s: %d characters; want %d", line, len(text), length)
		}
	}
	if got := answer(b.do(`POST tools/random/seal/1`)); !strings.Contains(got, "no seal/entropy augmentation available") {
		t.Errorf("the seal's randomness comes without a warning: %s", got)
	}
}

func TestLoggers(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`GET loggers`, `{"core":"info"}`},
		{`POST loggers {}`, `400 level is required`},
		{`POST loggers {"level":"bad"}`, `400 invalid level provided: unknown log level: bad`},
		{`POST loggers {"level":"TRACE"}`, `204`},
		{`GET loggers/core`, `{"core":"trace"}`},
		{`GET loggers/nope`, `{}`},
		{`POST loggers/nope {"level":"info"}`, `400 logger "nope" not found`},
		{`DELETE loggers/nope`, `400 logger "nope" not found`},
		{`POST loggers/core {"level":"error"}`, `204`},
		{`GET loggers`, `{"core":"error"}`},
		{`DELETE loggers`, `204`},
	})
	if level := b.cfg.LogLevel.Level(); level != slog.LevelInfo {
		t.Errorf("the level is %s; want INFO", level)
	}
}

func TestNode(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`LIST version-history`, `{"key_info":{"1.21.2":{"build_date":"2026-05-01T00:00:00Z","previous_version":null,"timestamp_installed":"2026-05-04T10:00:00Z"}},"keys":["1.21.2"]}`},
		{`GET version-history`, `405`},
		{`GET config/state/sanitized`, `{}`},
		{`GET in-flight-req`, `{"r1":{"start_time":"2026-05-04T10:00:00Z","client_remote_address":"127.0.0.1:1","request_path":"/v1/sys/in-flight-req","request_method":"GET","client_id":""}}`},
		{`- GET replication/status`, `{"mode":"disabled"}`},
		{`GET internal/counters/requests`, `404 The functionality has been removed on this path`},
		{`GET internal/counters/tokens`, `404 path`},
		{`GET nope`, `404 path`},
		{`GET `, `404 path`},
	})
	b.reopen()
	if got := answer(b.do(`LIST version-history`)); !strings.Contains(got, `"previous_version":"1.21.2"`) ||
		!strings.Contains(got, `"keys":["1.21.2","1.21.3"]`) {
		t.Errorf("after an upgrade: %s", got)
	}
	for line, want := range map[string]string{`GET ha-status`: `"active_node":true`, `GET host-info`: `"timestamp":"2026-05-04T10:00:00Z"`} {
		if got := answer(b.do(line)); !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %s in it", line, got, want)
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`GET license/status`, `404 enterprise-only feature`},
		{`LIST namespaces`, `404 enterprise-only feature`},
		{`LIST policies/rgp`, `404 enterprise-only feature`},
		{`LIST policies/egp`, `404 enterprise-only feature`},
		{`LIST quotas/rate-limit`, `404`},
	})
}

func TestRaw(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`POST raw/foo/bar {"value":"hello"}`, `204`},
		{`GET raw/foo/bar`, `{"value":"hello"}`},
		{`GET raw/foo/bar {"encoding":"base64"}`, `{"value":"aGVsbG8="}`},
		{`GET raw/foo/bar {"encoding":"x"}`, `400 invalid encoding "x"`},
		{`POST raw/foo/b64 {"value":"aGVsbG8=","encoding":"base64"}`, `204`},
		{`GET raw/foo/b64`, `{"value":"hello"}`},
		{`POST raw/foo/b64 {"value":"!!!","encoding":"base64"}`, `400 illegal base64 data at input byte 0`},
		{`LIST raw/foo`, `{"keys":["b64","bar"]}`},
		{`LIST raw`, `{"keys":["foo/","sys/"]}`},
		{`LIST raw/nope`, `404`},
		{`GET raw/nope`, `404`},
		{`GET raw/`, `404`},
		{`DELETE raw/foo/bar`, `204`},
		{`GET raw/foo/bar`, `404`},
		{`POST raw/foo/empty {"value":""}`, `204`},
		{`GET raw/foo/empty`, `400 'data' being decompressed is empty`},
		{`GET raw/foo/empty {"compressed":"false"}`, `{"value":""}`},
		{`POST raw/foo/z {"value":"x","compression_type":"gzip"}`, `400 invalid compression type "gzip"`},
	})
	for _, key := range []string{"core/keyring", "core/root-key", "core/seal-config", "core/recovery-key", "sys/token/keys",
		"sys/token/keys/", "core/cluster/local/info"} {
		b.run([]step{
			{`GET raw/` + key, `400 cannot read "` + key + `"`},
			{`GET raw/` + key + ` {"encoding":"base64"}`, `400 cannot read "` + key + `"`},
			{`DELETE raw/` + key, `400 cannot delete "` + key + `"`},
			{`POST raw/` + key + ` {"value":"x"}`, `400 cannot write "` + key + `"`},
		})
	}
	b.cfg.Raw = nil
	b.open()
	b.run([]step{{`GET raw/foo/b64`, `404 path`}, {`LIST raw`, `404 path`}})
}

// What a route asks for besides the operation's own capability, as seen on Vault 1.21.2.
func TestSudoAndOpenRoutes(t *testing.T) {
	const sudo, open = "sudo", "open"
	b := newBench(t)
	for line, want := range map[string]string{
		`GET mounts`: "", `GET mounts/x`: "", `POST mounts/x/tune`: "", `GET auth`: "", `GET auth/x`: sudo, `POST auth/x/tune`: sudo,
		`POST remount`: sudo, `GET remount/status/x`: "", `GET audit`: sudo, `POST audit/x`: sudo, `POST audit-hash/x`: "",
		`GET raw/x`: sudo, `LIST raw`: sudo, `GET config/cors`: sudo, `GET config/auditing/request-headers`: sudo,
		`POST config/auditing/request-headers/x`: sudo, `LIST config/ui/headers`: sudo, `GET config/ui/headers/x`: sudo,
		`GET config/state/sanitized`: "", `GET plugins/catalog`: "", `LIST plugins/catalog/auth`: sudo, `GET plugins/catalog/auth/x`: sudo,
		`GET policy`: "", `POST policies/acl/x`: "", `POST capabilities`: "", `POST leases/lookup`: "", `LIST leases/lookup`: sudo,
		`LIST leases/lookup/x`: sudo, `POST leases/renew`: "", `POST leases/revoke`: "", `POST leases/revoke-prefix/x`: sudo,
		`POST leases/revoke-force/x`: sudo, `POST revoke-prefix/x`: sudo, `POST revoke-force/x`: sudo, `POST leases/tidy`: "",
		`GET leases`: sudo, `GET leases/count`: "", `GET key-status`: "", `POST rotate`: sudo, `POST rotate/config`: "", `GET host-info`: "",
		`GET loggers`: "", `GET ha-status`: "", `POST tools/random`: "", `POST wrapping/wrap`: "", `POST wrapping/lookup`: open,
		`POST wrapping/unwrap`: open, `POST wrapping/rewrap`: open, `GET internal/ui/mounts`: open, `GET internal/ui/resultant-acl`: "",
		`GET replication/status`: open, `GET replication/dr/status`: open, `GET replication/performance/status`: open,
		`GET pprof/heap`: "", `GET pprof/`: "", `GET pprof/profile`: "", `GET monitor`: "", `GET in-flight-req`: "", `POST decode-token`: open, `GET experiments`: "", `GET activation-flags`: "", `GET well-known/x`: "",
		`POST plugins/reload/backend`: "", `POST plugins/reload/secret/x`: "", `GET plugins/runtimes/catalog`: "",
		`GET plugins/runtimes/catalog/container/x`: sudo, `POST plugins/runtimes/catalog/container/x`: sudo,
	} {
		r := parse(t, line)
		m, ok := b.router.Match(t.Context(), r.op, r.path)
		got := ""
		switch {
		case !ok || !m.Supports(r.op):
			got = "not served"
		case m.Sudo():
			got = sudo
		case m.Unauthenticated():
			got = open
		}
		if got != want {
			t.Errorf("%s: %q; want %q", line, got, want)
		}
	}
}

// Every route but the open ones of this list needs a token.
func TestNoOtherRouteIsOpen(t *testing.T) {
	open := map[string]bool{
		"internal/ui/mounts": true, "internal/ui/mounts/{path+}": true, "internal/ui/namespaces": true,
		"internal/ui/feature-flags": true, "internal/ui/unauthenticated-messages": true, "wrapping/lookup": true,
		"wrapping/unwrap": true, "wrapping/rewrap": true, "replication/status": true, "rekey-recovery-key/init": true,
		"replication/dr/status": true, "replication/performance/status": true,
		"decode-token": true, // the answer is made of the request alone
		"mfa/validate": true, // it ends a login, which has no token yet
	}
	b := newBench(t)
	for _, route := range b.router.Help() {
		path := strings.NewReplacer("{path...}", "x", "{path+}", "x", "{", "", "}", "", "+", "", "...", "").Replace(route.Pattern)
		m, ok := b.router.Match(t.Context(), engines.Read, path)
		if !ok {
			t.Errorf("%s: no route for %s", route.Pattern, path)
			continue
		}
		if m.Unauthenticated() != open[route.Pattern] {
			t.Errorf("%s: open is %v", route.Pattern, m.Unauthenticated())
		}
		if route.Synopsis == "" || len(route.Operations) == 0 {
			t.Errorf("%s: no help or no handlers", route.Pattern)
		}
	}
}

// A damaged record is an error that names it, never a panic, and what is accepted can be used.
func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"cors":{"enabled":true,"origins":["*"]},"audit_headers":{"x":true},"versions":[]}`))
	f.Add([]byte(`{"ui_headers":{"X-Foo":[]},"audit_headers":null,"versions":[{"version":"1"}]}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, record []byte) {
		b := newBench(t)
		if err := b.base.Apply(t.Context(), storage.Put("sys/settings", record)); err != nil {
			t.Fatal(err)
		}
		settings, err := sys.OpenSettings(t.Context(), b.base, sys.VersionRecord{Version: "1.21.3", Installed: now})
		if err != nil {
			if !strings.Contains(err.Error(), "sys/settings") {
				t.Errorf("the error does not name the record: %v", err)
			}
			return
		}
		b.cfg.Settings = settings
		b.open()
		for _, line := range []string{
			`GET config/cors`, `GET config/auditing/request-headers`, `POST config/auditing/request-headers/x`,
			`LIST config/ui/headers`, `POST config/ui/headers/x {"values":"a"}`, `LIST version-history`,
		} {
			_, _ = b.do(line)
		}
	})
}

// Which levels and formats the log can be followed in. Those that are fine fail later here: nobody reads the answer.
func TestMonitorParameters(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`GET monitor`, `405`},
		{`GET monitor {"log_level":" Info"}`, `405`},
		{`GET monitor {"log_level":"TRACE","log_format":"JSON"}`, `405`},
		{`GET monitor {"log_level":"off","log_format":"Standard"}`, `405`},
		{`GET monitor {"log_level":"warning"}`, `400 unknown log level`},
		{`GET monitor {"log_level":"err"}`, `400 unknown log level`},
		{`GET monitor {"log_level":"5"}`, `400 unknown log level`},
		{`GET monitor {"log_format":""}`, `400 unknown log format`},
		{`GET monitor {"log_format":" json"}`, `400 unknown log format`},
		{`POST monitor {"log_level":"info"}`, `405`},
		{`LIST monitor`, `404 path`},
	})
}
