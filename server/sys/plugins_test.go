package sys_test

import (
	"testing"

	"coffer/server/mounts"
)

func TestReload(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`POST mounts/kv {"type":"kv"}`, `204`},
		{`POST auth/userpass {"type":"userpass"}`, `204`},
		{`POST plugins/reload/backend {"plugin":"kv"}`, `{"reload_id":""}`},
		{`POST plugins/reload/backend {"plugin":"nope"}`, `{"reload_id":""} | warning: no plugins were reloaded`},
		{`POST plugins/reload/backend {"mounts":["kv","auth/userpass/"]}`, `{"reload_id":""}`},
		{`POST plugins/reload/backend {"mounts":["kv","nope"]}`, "500 1 error occurred:\n\t* cannot fetch mount entry on \"nope/\"\n\n"},
		{`POST plugins/reload/backend {"plugin":"nope","scope":"global"}`,
			`{"reload_id":""} | status 202 | warning: no plugins were reloaded locally (but they may be reloaded on other nodes)`},
		{`POST plugins/reload/auth/kv`, `{"reload_id":""} | warning: no plugins were reloaded`},
		{`POST plugins/reload/unknown/userpass`, `{"reload_id":""}`},
		{`POST plugins/reload/secret/kv {"scope":"x"}`, `400 reload scope must be omitted or 'global'`},
		{`POST plugins/reload/nope/kv`, `404 path`},
	})
}

func TestRuntimes(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`GET plugins/runtimes/catalog`, `{"runtimes":[]}`},
		{`GET plugins/runtimes/catalog {"type":"x"}`, `400 "x" is not a supported plugin runtime type`},
		{`POST plugins/runtimes/catalog/container/r {"memory_bytes":-1}`, `400 runtime memory in bytes cannot be negative`},
		{`POST plugins/runtimes/catalog/container/r`, `400 there are no plugins in containers, so no runtime can be registered`},
		{`GET plugins/runtimes/catalog/container/r`, `404`},
	})
}

// The types that are modules of their own in Vault have those modules' versions.
func TestVersionsOfTypes(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`POST mounts/gen {"type":"generic","options":{"version":"2"}}`,
			`400 secrets engine "generic" does not allow setting a version`},
		{`POST mounts/kv {"type":"plugin","plugin_name":"kv"}`, `204`},
		{`POST mounts/none {"type":"plugin"}`, `400 plugin_name must be provided for plugin backend`},
	})
	for typ, want := range map[string]string{
		"kv": "v0.25.0+builtin", "jwt": "v0.25.0+builtin", "kubernetes": "v0.23.1+builtin", "oidc": "v1.21.2+builtin.vault",
		"userpass": "v1.21.2+builtin.vault", "generic": "v1.21.2+builtin.vault",
	} {
		if got := b.versionOf(typ); got != want {
			t.Errorf("%s: %s, want %s", typ, got, want)
		}
	}
}

func (b *bench) versionOf(typ string) any {
	b.t.Helper()
	b.mounts.entries["of-"+typ+"/"] = mounts.Entry{Kind: mounts.Secret, Path: "of-" + typ + "/", Type: typ}
	resp, err := b.do(`GET mounts/of-` + typ)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.Data["running_plugin_version"]
}

func TestDecodeToken(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`- POST decode-token {"encoded_token":"CQcPCAo","otp":"hello"}`, `{"token":"abcde"}`},
		{`- POST decode-token {"encoded_token":"AAAA","otp":"BB"}`,
			`500 error xoring token: length of byte slices is not equivalent: 3 != 2`},
		{`- POST decode-token {"encoded_token":"AAAA"}`, `500 error xoring token: decoded second base64 value is nil or empty`},
		{`- POST decode-token`, `500 error xoring token: decoded first base64 value is nil or empty`},
	})
}
