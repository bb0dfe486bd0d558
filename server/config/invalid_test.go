package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every row is a file of three good lines and a bad fourth one; the error says where and why.
func TestLoadInvalid(t *testing.T) {
	const head = "storage \"inmem\" {}\nlistener \"tcp\" { tls_disable = true }\n\n"
	for _, test := range []struct{ line, want string }{
		// Unknown keys.
		{`colour = "blue"`, `:4: colour: unknown key`},
		{`telemetry { statsd = "x" }`, `:4: telemetry.statsd: unknown key`},
		{`listener "tcp" { tls_disable = true tls_cert = "x" }`, `:4: listener.tcp.tls_cert: unknown key`},
		{`listener "tcp" { tls_disable = true telemetry { metrics = 1 } }`, `:4: listener.tcp.telemetry.metrics: unknown`},
		{`user_lockout "all" { threshold = 1 }`, `:4: user_lockout.all.threshold: unknown key`},
		{`seal "shamir" { key = "x" }`, `:4: seal.shamir.key: unknown key`},
		// Wrong types.
		{`ui = "perhaps"`, `:4: ui: expected true or false, got "perhaps"`},
		{`ui = 2`, `:4: ui: expected true or false, got "2"`},
		{`ui = []`, `:4: ui: expected true or false, got a list`},
		{`cluster_name = 7`, `:4: cluster_name: expected a string, got a number`},
		{`cluster_name = true`, `:4: cluster_name: expected a string, got a boolean`},
		{`cluster_name = ["a"]`, `:4: cluster_name: expected a string, got a list`},
		{`cluster_name { a = 1 }`, `:4: cluster_name: expected a string, got a block`},
		{`telemetry = "on"`, `:4: telemetry: expected a block`},
		{`telemetry "x" {}`, `:4: telemetry: expected a block without a label`},
		{`listener = "tcp"`, `:4: listener: expected blocks such as`},
		{`listener "tcp" "udp" {}`, `:4: listener: expected blocks such as`},
		{`seal { x = 1 }`, `:4: seal: expected a type`},
		{`user_lockout "all" { lockout_threshold = "few" }`, `lockout_threshold: expected a whole number, got "few"`},
		{`listener "tcp" { tls_disable = 1 x_forwarded_for_authorized_addrs = [1] }`, `expected a list of strings, got`},
		// Durations and sizes.
		{`default_lease_ttl = "soon"`, `:4: default_lease_ttl: expected a duration such as "1h" or 3600, got "soon"`},
		{`default_lease_ttl = "-1h"`, `:4: default_lease_ttl: must be between 0s and`},
		{`default_lease_ttl = 1.5`, `:4: default_lease_ttl: expected a duration`},
		{`default_lease_ttl = "1000h"`, `default_lease_ttl (1000h0m0s) is above max_lease_ttl (768h0m0s)`},
		{`max_lease_ttl = "1h"`, `:4: max_lease_ttl: default_lease_ttl (768h0m0s) is above`},
		{`max_lease_ttl = "99999999999999d"`, `:4: max_lease_ttl: expected a duration`},
		{`listener "tcp" { tls_disable = 1 max_request_size = "big" }`, `max_request_size: expected a size`},
		{`listener "tcp" { tls_disable = 1 max_request_size = -1 }`, `max_request_size: must be between 0 and 1073741824`},
		{`listener "tcp" { tls_disable = 1 max_request_size = "17000000tib" }`, `max_request_size: expected a size`},
		{`listener "tcp" { tls_disable = 1 max_json_depth = -1 }`, `max_json_depth: must be between 0 and`},
		{`listener "tcp" { tls_disable = 1 x_forwarded_for_hop_skips = -1 }`, `x_forwarded_for_hop_skips: must be between`},
		// Ceremonies without a token.
		{`enable_unauthenticated_access = ["root"]`, `:4: enable_unauthenticated_access: expected "generate-root" or "rekey", got "root"`},
		{`enable_unauthenticated_access = [true]`, `:4: enable_unauthenticated_access: expected a list of strings`},
		{`enable_unauthenticated_access = true`, `:4: enable_unauthenticated_access: expected a list of strings`},
		{`listener "tcp" { tls_disable = 1 disable_unauthed_rekey_endpoints = "no way" }`,
			`:4: listener.tcp.disable_unauthed_rekey_endpoints: expected true or false`},
		{`listener "tcp" { tls_disable = 1 disable_unauthed_generate_root_endpoints = [] }`,
			`:4: listener.tcp.disable_unauthed_generate_root_endpoints: expected true or false`},
		// Addresses.
		{`listener "tcp" { tls_disable = 1 address = "8200" }`, `listener.tcp.address: expected host:port`},
		{`listener "tcp" { tls_disable = 1 address = "::1:8200" }`, `listener.tcp.address: expected host:port`},
		{`listener "tcp" { tls_disable = 1 address = "a:http" }`, `listener.tcp.address: expected host:port`},
		{`listener "tcp" { tls_disable = 1 address = "a:70000" }`, `listener.tcp.address: expected host:port`},
		{`listener "tcp" { tls_disable = 1 address = "http://a:1" }`, `listener.tcp.address: expected host:port`},
		{`listener "tcp" { tls_disable = 1 address = "{{ Sort }}:1" }`, `listener.tcp.address: expected {{ GetPrivateIP }}`},
		{`listener "tcp" { tls_disable = 1 address = "{{:1" }`, `listener.tcp.address: expected {{ GetPrivateIP }}`},
		{`listener "tcp" { tls_disable = 1 cluster_address = "x" }`, `listener.tcp.cluster_address: expected host:port`},
		{`listener "tcp" { tls_disable = 1 }`, `listener.tcp.address: 127.0.0.1:8200 is used by two listeners`},
		{`listener "tcp" { tls_disable = 1 x_forwarded_for_authorized_addrs = "here" }`, `expected addresses or CIDR blocks`},
		{`api_addr = "vault:8200"`, `:4: api_addr: expected a URL`},
		{`api_addr = "ftp://vault"`, `:4: api_addr: expected a URL`},
		{`api_addr = "https://user:hunter2@vault"`, `:4: api_addr: expected a URL`},
		{`api_addr = "https://user:hunter2%@vault"`, `:4: api_addr: expected a URL`},
		{`cluster_addr = "https://"`, `:4: cluster_addr: expected a URL`},
		// TLS.
		{`listener "tcp" {}`, `:4: listener.tcp.tls_cert_file: required unless tls_disable is true`},
		{`listener "tcp" { tls_cert_file = "testdata/cert.pem" }`, `:4: listener.tcp.tls_key_file: required`},
		{`listener "tcp" { tls_cert_file = "testdata/none" }`, `tls_cert_file: stat testdata/none: no such file`},
		{`listener "tcp" { tls_key_file = "testdata" }`, `tls_key_file: expected a file, testdata is a folder`},
		{`listener "tcp" { tls_min_version = "ssl3" }`, `tls_min_version: expected "tls12" or "tls13", got "ssl3"`},
		{`listener "tcp" { tls_min_version = "tls13" tls_max_version = "tls12" }`, `tls_max_version: is below`},
		{`listener "tcp" { tls_cipher_suites = "TLS_RSA_WITH_RC4_128_SHA" }`, `unknown or insecure cipher suite`},
		{`listener "tcp" { tls_require_and_verify_client_cert = 1 tls_disable_client_certs = 1 }`, `cannot be combined`},
		// Storage, seal, other stanzas.
		{`storage "inmem" {}`, `:4: storage.inmem: only one storage stanza is possible`},
		{`ha_storage "consul" {}`, `:4: ha_storage: is not supported`},
		{`seal "awskms" { secret_key = "hunter2" }`, `:4: seal.awskms: unsupported seal; coffer supports "shamir" and "static"`},
		{"seal \"shamir\" {}\nseal \"shamir\" {}", `:5: seal.shamir: only one seal can be enabled`},
		{`seal "awskms" { disabled = true }`, `:4: seal.awskms: unsupported seal; coffer supports "shamir" and "static"`},
		{`seal "static" { current_key = "file:///k" }`, `:4: seal.static.current_key_id: required: a name of your choice`},
		{`seal "static" { current_key_id = "k1" }`, `:4: seal.static.current_key: required, such as "file:///etc/coffer/seal.key"`},
		{"seal \"static\" {\n current_key_id = \"k1\"\n current_key = \"hunter2\"\n}", `:6: seal.static.current_key: ` +
			`expected a key of 32 bytes as hex (64 digits) or base64 (44 characters), got 7 characters`},
		{"seal \"static\" {\n current_key_id = \"k1\"\n current_key = \"file://\"\n}", `:6: seal.static.current_key: expected a path`},
		{"seal \"static\" {\n current_key_id = \"k1\"\n current_key = \"env://\"\n}", `:6: seal.static.current_key: expected the name of a variable`},
		{"seal \"static\" {\n current_key_id = \"k1\"\n current_key = 7\n}", `:6: seal.static.current_key: expected a string`},
		{"seal \"static\" {\n current_key_id = \"k1\"\n current_key = \"file:///k\"\n previous_key = \"file:///l\"\n}",
			`:7: seal.static.previous_key: previous_key and previous_key_id go together`},
		{"seal \"static\" {\n current_key_id = \"k1\"\n current_key = \"file:///k\"\n previous_key_id = \"k0\"\n}",
			`:4: seal.static.previous_key: previous_key and previous_key_id go together`},
		{"seal \"static\" {\n current_key_id = \"k1\"\n current_key = \"file:///k\"\n previous_key_id = \"k1\"\n previous_key = \"file:///l\"\n}",
			`:7: seal.static.previous_key_id: is the id of the current key too`},
		{"seal \"static\" {\n current_key_id = \"k\\n1\"\n current_key = \"file:///k\"\n}", `:5: seal.static.current_key_id: at most 64 printable characters`},
		{`seal "static" { current_keyid = "k1" }`, `:4: seal.static.current_keyid: unknown key`},
		{"seal \"shamir\" {}\nseal \"static\" {\n current_key_id = \"k1\"\n current_key = \"file:///k\"\n}", `:5: seal.static: only one seal can be enabled`},
		{`hsm "pkcs11" {}`, `:4: hsm.pkcs11: unsupported seal; coffer supports "shamir" and "static"`},
		{`listener "udp" { address = "/run/x" }`, `:4: listener.udp: unsupported listener type; coffer supports`},
		{`user_lockout "kerberos" {}`, `:4: user_lockout.kerberos: expected "all"`},
		{`log_level = "loud"`, `:4: log_level: expected "trace", "debug", "info", "warn" or "error", got "loud"`},
		{`log_format = "xml"`, `:4: log_format: expected "standard" or "json", got "xml"`},
		// Syntax.
		{"ui = true\nui = false", `:5: ui: set twice; first on line 4`},
		{`ui = `, `:4: expected a value, got the end of the file`},
		{`}`, `:4: `},
		{`cluster_name = "open`, `:4: literal not terminated`},
		{`cluster_name = 99999999999999999999`, `:4: number is malformed or too large`},
		{"cluster_name = " + strings.Repeat("[", 600), `more than 500 blocks and lists inside each other`},
	} {
		t.Run(strings.ReplaceAll(test.line[:min(len(test.line), 60)], "hunter2", "…"), func(t *testing.T) {
			path := write(t, "bad.hcl", head+test.line+"\n")
			c, _, err := Load([]string{path}, noEnv)
			if c != nil || !errors.Is(err, ErrInvalid) {
				t.Fatalf("Load = %v, %v, want ErrInvalid", c, err)
			}
			if text := err.Error(); !strings.Contains(text, test.want) || !strings.Contains(text, "bad.hcl") {
				t.Errorf("error %q does not say %q", text, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error shows a secret: %v", err)
			}
		})
	}
}

func TestLoadInvalidJSON(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"{\n\"ui\": 7\n}", `bad.json:2: ui: expected true or false, got "7"`},
		{"{\n\n\"colour\": 7}", `bad.json:3: colour: unknown key`},
		{"{\n\"listener\": {\"tcp\": {\n\"port\": 1, \"tls_disable\": true}}}", `bad.json:3: listener.tcp.port: unknown key`},
		{"{\"ui\": true,\n\"ui\": true}", `bad.json:2: ui: set twice; first on line 1`},
		{"{\"ui\": true,\n}", `bad.json:2: malformed JSON`},
		{"{\"ui\": true", `bad.json:1: unexpected end of the JSON text`},
		{"{}\n{}", `text after the end of the JSON object`},
		{"{\"ui\": " + strings.Repeat("[", 600), `more than 500 blocks and lists inside each other`},
	} {
		t.Run(test.want, func(t *testing.T) {
			_, _, err := Load([]string{write(t, "bad.json", test.text)}, noEnv)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not say %q", err, test.want)
			}
		})
	}
}

// One run shows all mistakes, each of them an *Error.
func TestLoadReportsEverything(t *testing.T) {
	_, _, err := Load([]string{write(t, "bad.hcl", "ui = 5\nlog_level = \"x\"\n")}, noEnv)
	for _, want := range []string{
		"bad.hcl:1: ui:", "bad.hcl:2: log_level:", "bad.hcl: listener: required", "bad.hcl: storage: required",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	var one *Error
	if !errors.As(err, &one) || one.Line != 1 || one.Key != "ui" {
		t.Errorf("first error: %+v", one)
	}
	many := "x = 1\n"
	for i := range 500 {
		many += "key" + strings.Repeat("x", i) + " = 1\n"
	}
	_, _, err = Load([]string{write(t, "many.hcl", many)}, noEnv)
	if err == nil || strings.Count(err.Error(), "\n") > maxProblems {
		t.Errorf("the number of errors should be bounded")
	}
}

func TestWarnings(t *testing.T) {
	path := write(t, "a.hcl", minimal+`plugin_directory = "/plugins"
cache_size = 7
service_registration "kubernetes" {}
seal "shamir" {
  disabled = true
}
telemetry {
  statsd_address = "x"
  prefix_filter = ["+a"]
}
listener "tcp" {
  address = "127.0.0.1:1"
  tls_disable = true
  proxy_protocol_behavior = "use_always"
  custom_response_headers { default = { A = ["b"] } }
}
`)
	_, warnings, err := Load([]string{path}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, strings.TrimPrefix(w.String(), filepath.Dir(path)+"/"))
	}
	const ignored = "has no effect in coffer and is ignored"
	want := []string{
		"a.hcl:4: plugin_directory: " + ignored,
		"a.hcl:5: cache_size: " + ignored,
		"a.hcl:6: service_registration: " + ignored,
		"a.hcl:7: seal.shamir: is disabled and ignored",
		"a.hcl:11: telemetry.statsd_address: " + ignored,
		"a.hcl:12: telemetry.prefix_filter: " + ignored,
		"a.hcl:17: listener.tcp.proxy_protocol_behavior: " + ignored,
		"a.hcl:18: listener.tcp.custom_response_headers: " + ignored,
	}
	compare(t, got, want)
}

func TestOldTLSVersion(t *testing.T) {
	path := write(t, "a.hcl", `storage "inmem" {}
listener "tcp" {
  tls_cert_file   = "testdata/cert.pem"
  tls_key_file    = "testdata/key.pem"
  tls_min_version = "tls10"
}`)
	c, warnings, err := Load([]string{path}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || warnings[0].Line != 5 || c.Listeners[0].TLS.MinVersion != 0x0303 {
		t.Errorf("warnings %v, TLS %+v", warnings, c.Listeners[0].TLS)
	}
}

// What Vault's own storages leave on disk is refused; everything else is not our business.
func TestCheckDataFolder(t *testing.T) {
	for _, test := range []struct {
		name    string
		files   []string
		refused bool
	}{
		{"empty", nil, false},
		{"coffer's own", []string{"coffer.db"}, false},
		{"lost+found", []string{"lost+found/x"}, false},
		{"a folder called core", []string{"core/readme.txt"}, false},
		{"Vault raft", []string{"vault.db"}, true},
		{"Vault raft log", []string{"raft/raft.db"}, true},
		{"Vault file", []string{"core/_keyring"}, true},
		{"Vault file, seal only", []string{"core/_seal-config"}, true},
		{"Vault file, policies", []string{"sys/policy/_default"}, true},
		{"Vault file, engines", []string{"logical/5c4b/_casesensitivity"}, true},
		{"Vault file, deeper", []string{"logical/5c4b/0a1b/_salt"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "with [brackets]")
			for _, name := range append(test.files, "x") {
				path := filepath.Join(folder, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := CheckDataFolder(folder); errors.Is(err, ErrVaultData) != test.refused {
				t.Errorf("CheckDataFolder = %v, want refused %v", err, test.refused)
			}
			path := write(t, "a.hcl", `listener "tcp" { tls_disable = 1 }`+"\n"+`storage "file" { path = "`+folder+`" }`)
			_, _, err := Load([]string{path}, noEnv)
			if (err != nil) != test.refused {
				t.Errorf("Load = %v, want refused %v", err, test.refused)
			}
			if err != nil && !strings.Contains(err.Error(), "a.hcl:2: storage.file.path: "+folder+": the folder holds data") {
				t.Errorf("Load = %v", err)
			}
		})
	}
	if err := CheckDataFolder(filepath.Join(t.TempDir(), "absent")); err != nil {
		t.Errorf("absent folder: %v", err)
	}
	if err := CheckDataFolder("testdata/cert.pem"); err == nil {
		t.Error("a file is not a folder")
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "-5": -5, "5kb": 5000, "5 KiB": 5120, "2mb": 2_000_000, "2MiB": 2 << 20, "1gib": 1 << 30, "1TB": 1e12,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "kb", "1.5mb", "5kbit", "99999999999999999999", "18446744073709551615kb", "16777216tib",
	} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestExpandTemplate(t *testing.T) {
	lookup := func(function, argument string) (string, error) {
		if argument == "none" {
			return "", errTemplate
		}
		return function + "(" + argument + ")", nil
	}
	for _, test := range []struct{ text, want string }{
		{`[::]:8200`, `[::]:8200`},
		{`{{ GetPrivateIP }}:8200`, `GetPrivateIP():8200`},
		{`{{GetInterfaceIP "eth0"}}:8200`, `GetInterfaceIP(eth0):8200`},
		{"http://{{- GetInterfaceIP `eth0` -}}:8200", `http://GetInterfaceIP(eth0):8200`},
		{`{{ GetInterfaceIP "none" }}`, ``},
		{`{{ GetAllInterfaces | include "name" "eth0" }}`, ``},
	} {
		got, err := expandTemplate(test.text, lookup)
		if (err != nil) != (test.want == "") || (err == nil && got != test.want) {
			t.Errorf("expandTemplate(%q) = %q, %v, want %q", test.text, got, err, test.want)
		}
	}
	if _, err := hostAddress("GetInterfaceIP", "no such interface"); err == nil {
		t.Error("an interface that does not exist has no address")
	}
}

// FuzzLoad feeds the readers of both dialects with anything: no panic, and an error is always ErrInvalid.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{"testdata/full.hcl", "testdata/helm-standalone.hcl", "testdata/helm-standalone.json"} {
		text, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, seed := range []string{
		"", "{", "a \"b\" \"c\" {}", "a = <<X\nb\nX\n", "a = 08", "a = \"${b}\"",
		"seal \"static\" {\n current_key_id = \"a\"\n current_key = \"env://A\"\n}\n", "seal = [{static={current_key=7}}]",
		"listener = [{tcp={}}]", `{"a":[true,{"b":null}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		rep := &report{}
		entries, err := parse("fuzz", src)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("error %v is no ErrInvalid", err)
			}
			return
		}
		c := decode(entries, Position{File: "fuzz"}, rep)
		if err := rep.err(); err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("error %v is no ErrInvalid", err)
			}
			return
		}
		if c.Leases.DefaultTTL <= 0 || c.Leases.DefaultTTL > c.Leases.MaxTTL {
			t.Errorf("leases %+v", c.Leases)
		}
		for _, l := range c.Listeners {
			if l.Address == "" || l.Limits.RequestSize <= 0 || l.Limits.JSON.Depth <= 0 {
				t.Errorf("listener %+v", l)
			}
		}
	})
}
