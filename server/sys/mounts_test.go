package sys_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMounting(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`POST mounts/secret {"type":"kv","description":"d","options":{"version":2},"bogus":1}`, `204`},
		{`GET mounts/secret`, `{"accessor":"a-secret/","config":{"default_lease_ttl":0,"force_no_cache":false,"max_lease_ttl":0},` +
			`"deprecation_status":"supported","description":"d","external_entropy_access":false,"local":false,"options":{"version":"2"},` +
			`"plugin_version":"","running_plugin_version":"v0.25.0+builtin","running_sha256":"","seal_wrap":false,"type":"kv","uuid":"u-secret/"} | flat`},
		{`GET mounts/nope`, `400 No secret engine mount at nope/`},
		{`GET auth/nope`, `400 No auth engine at nope/`},
		{`LIST mounts`, `404 path`},
		{`LIST mounts/secret`, `405`},
		{`GET mounts/`, `404 path`},
		{`DELETE mounts/nope`, `204`},
		{`DELETE mounts/secret`, `204`},
		{`GET mounts/secret`, `400 No secret engine mount at secret/`},
		{`POST auth/up {"type":"userpass"}`, `204`},
		{`POST auth/up {"type":"userpass"}`, `400 path is already in use at up/`},
		{`POST auth/up/x {"type":"userpass"}`, `400 path is already in use at up/`},
		{`DELETE auth/up`, `204`},
		{`DELETE auth/nope`, `204`},
	})
}

func TestPathsOfOneMount(t *testing.T) {
	b := newBench(t)
	for _, spelling := range []string{`GET mounts/auth/token/`, `GET auth/token`, `GET auth/token/`} {
		if got, want := answer(b.do(spelling)), answer(b.do(`GET mounts/auth/token`)); got != want {
			t.Errorf("%s\n got %s\nwant %s", spelling, got, want)
		}
	}
}

func TestMountsThatAreRefused(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`POST mounts/a/b {"type":"kv"}`, `204`},
		{`POST auth/up {"type":"userpass"}`, `204`},
	})
	before := len(b.mounts.entries)
	b.run([]step{
		{`POST mounts/foo {}`, `400 backend type must be specified as a string`},
		{`POST mounts/foo {"type":"nope"}`, `400 plugin not found in the catalog: nope`},
		{`POST mounts/foo {"type":"cubbyhole"}`, `400 mount type of "cubbyhole" is not mountable`},
		{`POST mounts/foo {"type":"token"}`, `400 mount type of "token" is not mountable`},
		{`POST auth/foo {"type":"token"}`, `400 token credential backend cannot be instantiated`},
		{`POST auth/token {"type":"token"}`, `400 path is already in use at token/`},
		{`POST mounts/sys {"type":"kv"}`, `400 cannot mount "sys/"`},
		{`POST mounts/sys/foo {"type":"kv"}`, `400 cannot mount "sys/foo/"`},
		{`POST mounts/auth/foo {"type":"kv"}`, `400 cannot mount "auth/foo/"`},
		{`POST mounts/cubbyhole/x {"type":"kv"}`, `400 cannot mount "cubbyhole/x/"`},
		{`POST mounts/identity {"type":"kv"}`, `400 cannot mount "identity/"`},
		{`POST mounts/a {"type":"kv"}`, `400 path is already in use at a/b/`},
		{`POST mounts/a/b {"type":"kv"}`, `400 path is already in use at a/b/`},
		{`POST mounts/a/b/c {"type":"kv"}`, `400 path is already in use at a/b/`},
		{`POST mounts/foo {"type":"kv","config":{"default_lease_ttl":"x"}}`, `400 unable to parse default TTL of x: time: invalid duration "x"`},
		{`POST mounts/foo {"type":"kv","config":{"max_lease_ttl":"x"}}`, `400 unable to parse max TTL of x: time: invalid duration "x"`},
		{`POST mounts/foo {"type":"kv","config":{"max_lease_ttl":9223372036}}`, `400 unable to parse max TTL of 9223372036: duration is out of range`},
		{`POST mounts/foo {"type":"kv","config":{"default_lease_ttl":"2h","max_lease_ttl":"1h"}}`,
			`400 given default lease TTL greater than given max lease TTL`},
		{`POST mounts/foo {"type":"kv","config":{"default_lease_ttl":"9000h"}}`,
			`400 given default lease TTL greater than system max lease TTL of 2764800`},
		{`POST mounts/foo {"type":"kv","config":{"listing_visibility":"bad"}}`, `400 invalid listing_visibility bad`},
		{`POST mounts/foo {"type":"kv","config":{"force_no_cache":"bad"}}`, `400 unable to convert given mount config information`},
		{`POST auth/foo {"type":"userpass","config":{"token_type":"bad"}}`, `400 invalid value for 'token_type'`},
		{`DELETE mounts/sys`, `400 cannot unmount "sys/"`},
		{`DELETE mounts/cubbyhole`, `400 cannot unmount "cubbyhole/"`},
		{`DELETE mounts/auth/token`, `400 cannot unmount "auth/token/"`},
		{`DELETE mounts/auth/up`, `400 cannot unmount "auth/up/"`},
		{`DELETE mounts/auth/up/`, `400 cannot unmount "auth/up/"`},
		{`DELETE auth/token`, `400 token credential backend cannot be disabled`},
	})
	if after := len(b.mounts.entries); after != before {
		t.Errorf("%d mounts; want %d", after, before)
	}
}

func TestTuning(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`POST mounts/a/t {"type":"kv","options":{"version":"1"}}`, `204`},
		{`GET mounts/a/t/tune`, `{"default_lease_ttl":2764800,"description":"","force_no_cache":false,"max_lease_ttl":2764800,"options":{"version":"1"}} | flat`},
		{`POST mounts/a/t/tune {}`, `204`},
		{`POST mounts/a/t/tune {"default_lease_ttl":"1h","max_lease_ttl":7200,"description":"new","listing_visibility":"hidden","audit_non_hmac_request_keys":"a,b","passthrough_request_headers":["c"]}`, `204`},
		{`GET mounts/a/t/tune`, `{"audit_non_hmac_request_keys":["a","b"],"default_lease_ttl":3600,"description":"new","force_no_cache":false,` +
			`"listing_visibility":"hidden","max_lease_ttl":7200,"options":{"version":"1"},"passthrough_request_headers":["c"]} | flat`},
		{`POST mounts/a/t/tune {"default_lease_ttl":"3h"}`, `400 backend max lease TTL of 7200 would be less than backend default lease TTL of 10800`},
		{`POST mounts/a/t/tune {"max_lease_ttl":"30m"}`, `400 backend max lease TTL of 1800 would be less than backend default lease TTL of 3600`},
		{`POST mounts/a/t/tune {"default_lease_ttl":"bad"}`, `400 strconv.ParseInt: parsing "ba": invalid syntax`},
		{`POST mounts/a/t/tune {"listing_visibility":"bad","description":"not this"}`, `400 invalid listing_visibility bad`},
		{`POST mounts/a/t/tune {"token_type":"service"}`, `400 'token_type' can only be modified on auth mounts`},
		{`POST mounts/a/t/tune {"user_lockout_config":{"lockout_threshold":"3"}}`, `400 tuning of user lockout configuration for auth type "kv" not allowed`},
		{`POST mounts/a/t/tune {"plugin_version":"v9.9.9"}`, `400 plugin not found in the catalog: kv, version=v9.9.9`},
		{`POST mounts/a/t/tune {"default_lease_ttl":"system","max_lease_ttl":"0","description":"","listing_visibility":"","audit_non_hmac_request_keys":[],"passthrough_request_headers":""}`, `204`},
		{`GET mounts/a/t/tune`, `{"default_lease_ttl":2764800,"description":"","force_no_cache":false,"max_lease_ttl":2764800,"options":{"version":"1"}} | flat`},
		{`GET mounts/nope/tune`, `400 cannot fetch sysview for path "nope/"`},
		{`GET auth/nope/tune`, `400 cannot fetch sysview for path "auth/nope/"`},
		{`POST auth/nope/tune {"default_lease_ttl":1}`, `400 tune of path "auth/nope/" failed: no mount entry found`},
		{`POST mounts/sys/tune {"default_lease_ttl":1}`, `400 cannot tune "sys/"`},
		{`POST mounts/cubbyhole/tune {}`, `400 cannot tune "cubbyhole/"`},
		{`DELETE mounts/a/t/tune`, `405`},
	})
}

func TestTuningOfAuthMethods(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`POST auth/up {"type":"userpass","config":{"token_type":"batch"}}`, `204`},
		{`POST auth/up/tune {"token_type":"default-service","user_lockout_config":{"lockout_threshold":"3","lockout_duration":"5m","lockout_disable":true}}`, `204`},
		{`GET auth/up/tune`, `{"default_lease_ttl":2764800,"description":"","force_no_cache":false,"max_lease_ttl":2764800,"token_type":"default-service",` +
			`"user_lockout_counter_reset_duration":0,"user_lockout_disable":true,"user_lockout_duration":300,"user_lockout_threshold":3} | flat`},
		{`POST auth/up/tune {"token_type":"bad"}`, `400 invalid value for 'token_type'`},
		{`POST auth/up/tune {"user_lockout_config":{"lockout_disable":"x"}}`, `400 unable to convert given user lockout config information`},
		{`POST auth/up/tune {"user_lockout_config":{"lockout_duration":"x"}}`, `400 time: invalid duration "x"`},
		{`POST auth/up/tune {"user_lockout_config":{"lockout_threshold":"x"}}`,
			"500 1 error occurred:\n\t* unable to parse user lockout threshold: strconv.ParseUint: parsing \"x\": invalid syntax\n\n"},
		{`POST auth/token/tune {"token_type":"batch"}`, `400 'token_type' cannot be set for 'token' or 'ns_token' auth mounts`},
		{`POST auth/token/tune {"description":"hey"}`, `204`},
		{`GET mounts/auth/token/tune`, `{"default_lease_ttl":2764800,"description":"hey","force_no_cache":false,"max_lease_ttl":2764800,"token_type":"default-service"} | flat`},
	})
}

func TestVersionsOfTheKeyValueEngineGoUp(t *testing.T) {
	const wait = ". This mount will be unavailable for a brief period and will resume service shortly."
	b := newBench(t)
	b.run([]step{
		{`POST mounts/t {"type":"kv","options":{"a":"1"}}`, `204`},
		{`POST mounts/t/tune {"options":{"version":"x"}}`, `400 unable to parse options: strconv.ParseInt: parsing "x": invalid syntax`},
		{`POST mounts/t/tune {"options":{"version":"1"}}`, `warning: Upgrading mount from version 0 to version 1` + wait},
		{`POST mounts/t/tune {"options":{"version":"2"}}`, `warning: Upgrading mount from version 1 to version 2` + wait},
		{`POST mounts/t/tune {"options":{"version":"1"}}`, `400 cannot downgrade mount from version 2`},
		{`POST mounts/t/tune {"options":{"version":"3"}}`, `400 invalid version provided: 3`},
		{`POST mounts/t/tune {"options":{"version":""}}`, `400 invalid version provided: 0`},
		{`POST mounts/t/tune {"options":{"a":"","b":"2"}}`, `204`},
	})
	want := map[string]string{"b": "2", "version": "2"}
	if diff := cmp.Diff(want, b.mounts.entries["t/"].Options); diff != "" {
		t.Errorf("options: -want +got\n%s", diff)
	}
}

func TestRemounting(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`POST mounts/a {"type":"kv"}`, `204`},
		{`POST mounts/b {"type":"kv"}`, `204`},
		{`POST auth/up {"type":"userpass"}`, `204`},
		{`POST remount {}`, `400 both 'from' and 'to' path must be specified as a string`},
		{`POST remount {"from":"a"}`, `400 both 'from' and 'to' path must be specified as a string`},
		{`POST remount {"from":"nope","to":"c"}`, `400 no matching mount at "nope/"`},
		{`POST remount {"from":"a","to":"a"}`, `400 path already in use at "a/"`},
		{`POST remount {"from":"a","to":"b/x"}`, `400 path already in use at "b/"`},
		{`POST remount {"from":"a","to":"sys/x"}`, `400 cannot remount to destination sys/x/`},
		{`POST remount {"from":"a","to":"auth/x"}`, `400 cannot remount to destination auth/x/`},
		{`POST remount {"from":"a","to":"x "}`, `400 'to' path cannot contain trailing whitespace`},
		{`POST remount {"from":"a ","to":"x"}`, `400 'from' path cannot contain trailing whitespace`},
		{`POST remount {"from":"a","to":"x\ny"}`, `400 invalid destination mount: path cannot contain non-printable characters`},
		{`POST remount {"from":"a","to":"x/../sys/y"}`, `400 invalid destination mount: path is not clean`},
		{`POST remount {"from":"a","to":"x//y"}`, `400 invalid destination mount: path is not clean`},
		{`POST remount {"from":"cubbyhole","to":"x"}`, `400 cannot remount "cubbyhole/"`},
		{`POST remount {"from":"auth/token","to":"auth/x"}`, `400 cannot remount "auth/token/"`},
		{`POST remount {"from":"auth/up","to":"x"}`, `400 cannot remount auth mount to non-auth mount "x/"`},
		{`POST remount {"from":"auth/up","to":"auth/token"}`, `400 cannot remount to destination "auth/token/"`},
		{`POST remount {"from":"auth/nope","to":"auth/x"}`, `400 no matching mount at "auth/nope/"`},
		{`GET remount/status/nope`, `404`},
		{`GET remount/status/under-way`, `{"migration_id":"under-way","migration_info":{"source_mount":"a/","target_mount":"c/","status":"in-progress"}}`},
	})
	resp, err := b.do(`POST remount {"from":"/a/","to":"moved/here/"}`)
	if err != nil || !resp.Flatten || len(resp.Warnings) != 1 {
		t.Fatalf("%s", answer(resp, err))
	}
	id, _ := resp.Data["migration_id"].(string)
	b.run([]step{
		{`GET remount/status/` + id, `{"migration_id":"` + id + `","migration_info":{"source_mount":"a/","target_mount":"moved/here/","status":"success"}}`},
		{`GET mounts/a`, `400 No secret engine mount at a/`},
	})
	if got := answer(b.do(`GET mounts/moved/here`)); !strings.Contains(got, `"uuid":"u-a/"`) {
		t.Errorf("the moved mount is %s", got)
	}
}

func TestMountsTheCallerSees(t *testing.T) {
	b := newBench(t)
	b.acls.tokens["t-app"] = []string{"app"}
	b.run([]step{
		{`POST policy/app {"policy":"path \"secret/data/x\" { capabilities = [\"read\"] }"}`, `204`},
		{`POST mounts/secret {"type":"kv"}`, `204`},
		{`POST mounts/hidden {"type":"kv"}`, `204`},
		{`POST auth/open {"type":"userpass","description":"d","config":{"listing_visibility":"unauth"}}`, `204`},
		{`- GET internal/ui/mounts`, `{"auth":{"open/":{"description":"d","options":{},"type":"userpass"}},"secret":{}}`},
		{`@bad GET internal/ui/mounts`, "403 2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"},
		{`- GET internal/ui/mounts/secret`, `403 permission denied`},
		{`@bad GET internal/ui/mounts/secret`, "403 2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"},
		{`@app GET internal/ui/mounts/hidden/x`, `403 preflight capability check returned 403, please ensure client's policies grant access to path "hidden/x/"`},
		{`GET internal/ui/mounts/nope`, `403 preflight capability check returned 403, please ensure client's policies grant access to path "nope/"`},
		{`GET internal/ui/mounts/`, `404 path`},
		{`GET internal/ui/resultant-acl`, `{"chroot_namespace":"","root":true}`},
		{`- GET internal/ui/namespaces`, `500 client token empty`},
		{`@app GET internal/ui/namespaces`, `{"keys":[""]}`},
		{`- GET internal/ui/feature-flags`, `{"feature_flags":null}`},
	})
	seen := func(line string) []string {
		resp, err := b.do(line)
		if err != nil || !resp.NoMountType {
			t.Fatalf("%s: %s", line, answer(resp, err))
		}
		var names []string
		for _, kind := range []string{"auth", "secret"} {
			mounts, _ := resp.Data[kind].(map[string]any)
			for _, name := range []string{"open/", "token/", "secret/", "hidden/", "sys/", "cubbyhole/"} {
				if _, ok := mounts[name]; ok {
					names = append(names, kind+" "+name)
				}
			}
		}
		return names
	}
	if diff := cmp.Diff([]string{"auth open/", "secret secret/"}, seen(`@app GET internal/ui/mounts`)); diff != "" {
		t.Errorf("the app sees: -want +got\n%s", diff)
	}
	all := []string{"auth open/", "auth token/", "secret secret/", "secret hidden/", "secret sys/", "secret cubbyhole/"}
	if diff := cmp.Diff(all, seen(`GET internal/ui/mounts`)); diff != "" {
		t.Errorf("root sees: -want +got\n%s", diff)
	}
	for line, want := range map[string]string{
		`@app GET internal/ui/mounts/secret/data/x`: `"path":"secret/"`,
		`GET internal/ui/mounts/auth/token/create`:  `"path":"token/"`,
		`GET internal/ui/mounts/secret`:             `"config":{"default_lease_ttl":2764800`,
	} {
		if got := answer(b.do(line)); !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %s in it", line, got, want)
		}
	}
}

func TestCatalog(t *testing.T) {
	b := newBench(t)
	const kv = `"deprecation_status":"supported","name":"kv"`
	b.run([]step{
		{`GET plugins/catalog`, `{"auth":["userpass"],"detailed":[` +
			`{"builtin":true,"deprecation_status":"supported","name":"userpass","type":"auth","version":"v1.21.2+builtin.vault"},` +
			`{"builtin":true,` + kv + `,"type":"secret","version":"v0.25.0+builtin"}],"secret":["kv"]}`},
		{`LIST plugins/catalog/secret`, `{"keys":["kv"]}`},
		{`LIST plugins/catalog/database`, `404`},
		{`LIST plugins/catalog/bad`, `405`},
		{`GET plugins/catalog/secret/kv`, `{"args":null,"builtin":true,"command":"",` + kv + `,"sha256":"","version":"v0.25.0+builtin"}`},
		{`GET plugins/catalog/secret/kv {"version":"v9"}`, `404`},
		{`GET plugins/catalog/secret/cubbyhole`, `404`},
		{`GET plugins/catalog/kv`, `warning: Deprecated API endpoint, cannot read plugin information from catalog for "kv"`},
		{`GET plugins/catalog/bad/kv`, `warning: Deprecated API endpoint, cannot read plugin information from catalog for "bad/kv"`},
		{`GET plugins/catalog/auth`, `405`},
		{`POST plugins/catalog/secret/x {"command":"x"}`, "500 1 error occurred:\n\t* could not set plugin, plugin directory is not configured\n\n"},
	})
}
